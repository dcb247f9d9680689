"""A finished run for others to see: in MLflow, or as a repository of the Hugging Face Hub."""
