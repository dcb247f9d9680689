"""With this folder on PYTHONPATH a process runs as on a machine without decord: no finder sees the package."""

import sys
from typing import Any


class Blind:
    """A finder that sees all but one package."""

    def __init__(self, finder: Any) -> None:
        self.finder = finder

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """As the finder's own."""
        return None if name.partition(".")[0] == "decord" else self.finder.find_spec(name, path, target)

    def __getattr__(self, name: str) -> Any:
        """What else a finder has."""
        return getattr(self.finder, name)


sys.meta_path[:] = [Blind(finder) for finder in sys.meta_path]
