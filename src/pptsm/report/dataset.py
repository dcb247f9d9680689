"""What the index holds, per split and per class."""

from typing import Any

import pandas as pd

from pptsm.data.table import SPLITS, videos_by_split


def by_split(index: pd.DataFrame) -> list[dict[str, Any]]:
    """One row per split that has videos.

    Args:
        index: all rows; those of no split take no part.

    Returns:
        `split`; how many `videos`, `classes`, `groups`, `hours`; `sec`, the durations' median and ends; the most
        frequent `size`, and of how many `sizes`.
    """
    rows = []
    for split in SPLITS:
        videos = index[index["split"] == split]
        if videos.empty:
            continue
        sizes = (
            videos["width"].astype(int).astype(str) + " × " + videos["height"].astype(int).astype(str)
        ).value_counts()
        seconds = videos["duration_sec"]
        rows.append(
            {
                "split": split,
                "videos": len(videos),
                "classes": int(videos["label"].nunique()),
                "groups": int(videos["group"].nunique()),
                "hours": float(seconds.sum() / 3600),
                "sec": (float(seconds.median()), float(seconds.min()), float(seconds.max())),
                "size": str(sizes.index[0]),
                "sizes": len(sizes),
            }
        )
    return rows


def by_class_and_split(index: pd.DataFrame) -> list[dict[str, Any]]:
    """One row per class: `class`, videos of each split, `groups`, and the median duration `sec`."""
    used = index[index["split"].isin(SPLITS)]
    counts = videos_by_split(used, "label")
    grouped = used.groupby("label")
    groups, seconds = grouped["group"].nunique().to_dict(), grouped["duration_sec"].median().to_dict()
    return [
        {"class": name, **{split: int(row[split]) for split in SPLITS}, "groups": int(groups[name])}
        | {"sec": float(seconds[name])}
        for name, row in counts.to_dict("index").items()
    ]
