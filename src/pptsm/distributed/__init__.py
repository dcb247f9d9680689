"""Processes that train together, and what they compute on."""
