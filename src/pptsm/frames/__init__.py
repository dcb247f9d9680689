"""Frames that are stored beside the videos: archives of JPEGs, short-GOP files, and where they lie."""
