"""params.yaml: the words that it may have, its sections with their ranges, and how it is read and checked."""

from typing import Any

__all__ = ["load_params"]


def __getattr__(name: str) -> Any:
    """Import `load_params` when it is asked for: the words alone need no models of sections."""
    if name == "load_params":
        from pptsm.params.checking import load_params

        return load_params
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
