"""What a person types beside the stages: one file per command, and none touches another."""
