"""What the Prefect flows stand on: access to the server, and the names of deployments."""
