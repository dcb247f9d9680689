"""The stages of dvc.yaml: a file each; read params and inputs, call a wing, write outputs whole."""
