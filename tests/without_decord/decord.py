"""Stands before the real package where tests run as on a machine without it."""

raise ModuleNotFoundError("No module named 'decord'", name="decord")
