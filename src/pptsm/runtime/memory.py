"""What was found out about files and this machine, and is not found out again: small JSON files in the user's cache.

Each is named by a hash of what it is about. It may be lost at any time, and what cannot be written is not remembered.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from pptsm.runtime.errors import UserError
from pptsm.runtime.files import atomic_file, cache_home


def recall(kind: str, key: str) -> dict[str, Any]:
    """What is remembered under a key; empty if nothing is."""
    try:
        found = json.loads(_place(kind, key).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def remember(kind: str, key: str, **values: Any) -> None:
    """Add values to what is remembered under a key."""
    known = recall(kind, key)
    if known == known | values:
        return
    with suppress(OSError, UserError), atomic_file(_place(kind, key), settle=False) as partial:
        partial.write_text(json.dumps(known | values, sort_keys=True) + "\n", encoding="utf-8")


def all_remembered(kind: str) -> dict[str, dict[str, Any]]:
    """All that is remembered of a kind, by its keys."""
    return {path.stem: recall(kind, path.stem) for path in sorted((cache_home() / kind).glob("*.json"))}


def _place(kind: str, key: str) -> Path:
    return cache_home() / kind / f"{key}.json"
