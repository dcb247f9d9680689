"""The stages of dvc.yaml: a file each; read params and inputs, call a package, write outputs whole."""
