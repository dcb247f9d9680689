"""Repeated cross-validation by group: every video is a test video once for each seed, and no group is ever divided."""
