"""Where `probe` stood before version 1; it is in pptsm.video.video."""

from pptsm.video.video import probe

__all__ = ["probe"]
