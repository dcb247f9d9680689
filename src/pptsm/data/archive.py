"""Where `write_archive` stood before version 1; it is in pptsm.frames.store."""

from pptsm.frames.store import write_archive

__all__ = ["write_archive"]
