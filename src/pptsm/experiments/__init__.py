"""Experiments of DVC: what git and DVC know of them, and how they compare."""
