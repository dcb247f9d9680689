"""Which of the files on disk an annotation means: by its path, by its name, or by its name without the suffix."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pptsm.ingest.annotations.reading import Faults, as_ids, without_suffix


@dataclass(frozen=True)
class Root:
    """What lies below index.root.

    Attributes:
        path: of the root.
        ids: of all videos and folders of frames that may take part.
        aside: of those that index.exclude leaves out. One is meant only where none of the others can be.
    """

    path: str
    ids: frozenset[str]
    aside: frozenset[str]

    def by(self, key: Callable[[str], str]) -> dict[str, list[str]]:
        """The ids that have a key, by it."""
        return {name: ids[:1] for name, ids in ids_by(key, self.aside).items()} | ids_by(key, self.ids)


def by_path(clips: pd.DataFrame, root: Root, faults: Faults) -> list[str]:
    """The `path` of each clip as an id: that of the file of this path, or of the only one that has another suffix.

    Lists of frame folders have no suffixes. A path that is not there stays; one that leaves the root is a fault.
    """
    paths, outside = as_ids(clips["path"].tolist(), root.path)
    faults.add_rows(
        clips, outside, lambda row: f"names {row['path']!r}, which is no path below index.root ({root.path})"
    )
    if root.ids.issuperset(paths):
        return paths
    there, bare = root.ids | root.aside, root.by(without_suffix)
    return [path if path in there or not bare else _of_other_suffix(path, bare) for path in paths]


def by_keys(
    clips: pd.DataFrame, known: dict[str, list[str]], keys: Sequence[Sequence[str]], faults: Faults
) -> list[str]:
    """The id of each clip, by the first of its keys that is known; empty where none is.

    Args:
        clips: column `where`.
        known: key -> ids.
        keys: for each clip in turn its first keys, then its second ones, and so on.
        faults: gets a key that several ids have.
    """
    none: list[str] = []
    ids = [known.get(key, none) for key in keys[0]]
    for tried in keys[1:]:
        ids = [names or known.get(key, none) for names, key in zip(ids, tried, strict=True)]
    faults.add_rows(
        clips.assign(number=range(len(clips))),
        np.array([len(names) > 1 for names in ids], dtype=bool),
        lambda row: f"may mean each of {sorted(ids[row['number']])[:3]}: leave the others out with index.exclude",
    )
    return [names[0] if names else "" for names in ids]


def ids_by(key: Callable[[str], str], found: Collection[str]) -> dict[str, list[str]]:
    """The ids that have a key, by it."""
    ids: dict[str, list[str]] = {}
    for name in found:
        ids.setdefault(key(name), []).append(name)
    return ids


def file_name(path: str) -> str:
    """The last part of an id."""
    return path.rpartition("/")[2]


def stem(path: str) -> str:
    """The last part of an id, without a video's suffix."""
    return without_suffix(file_name(path))


def _of_other_suffix(path: str, bare: dict[str, list[str]]) -> str:
    names = bare.get(without_suffix(path), [])
    return names[0] if len(names) == 1 else path
