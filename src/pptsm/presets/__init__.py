"""Presets: short files that say what sets a dataset or a recipe apart, and how they are composed."""
