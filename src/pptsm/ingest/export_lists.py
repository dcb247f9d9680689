"""The split as other toolboxes read it, so that they can be run on just the same clips.

All of them take a line at spaces, and none knows parts of files: what their lists cannot say is refused.
"""

from typing import Literal

import pandas as pd

from pptsm.data.table import SPLITS, in_split
from pptsm.ingest.annotations.reading import without_suffix
from pptsm.runtime.errors import UserError

Toolbox = Literal["paddlevideo", "paddlex", "mmaction2"]

SHOWN = 5
VIDEOS = "videos/"  # the folder of a PaddleX dataset


def lists_for(
    toolbox: Toolbox, table: pd.DataFrame, labels: list[str], frames: bool
) -> tuple[dict[str, str], list[str]]:
    """The text of each list by its file's name, and what a person must know of them.

    Args:
        toolbox: whose lists.
        table: the index.
        labels: classes in the order of their numbers.
        frames: whether lists name folders of frames, one a row, as `pptsm unpack` makes them, or the video files.

    Raises:
        UserError: the lists cannot say it: parts of files, folders, or paths with spaces.
    """
    used = table[table["split"] != ""]
    _require_sayable(used, toolbox, frames)
    parts = {split: part for split in SPLITS if len(part := in_split(used, split))}
    if toolbox == "paddlex":
        return _paddlex(parts, labels)
    name = {"paddlevideo": "{}.list", "mmaction2": "{}_list_rawframes.txt" if frames else "{}_list_videos.txt"}[toolbox]
    notes = [f"no clip is for {split}, so there is no {name.format(split)}" for split in SPLITS if split not in parts]
    return {name.format(split): _lines(part, "", frames) for split, part in parts.items()}, notes


def _paddlex(parts: dict[str, pd.DataFrame], labels: list[str]) -> tuple[dict[str, str], list[str]]:
    """label.txt, train.txt and val.txt; there is no test in a PaddleX dataset."""
    ids = pd.concat([part["id"] for part in parts.values()])
    prefix = "" if ids.str.startswith(VIDEOS).all() else VIDEOS
    notes = []
    if "val" in parts and "test" in parts:
        notes.append(f"PaddleX looks at one split beside train: val. The test ({len(parts['test'])} clips) is left out")
    elif "test" in parts:
        notes.append("no clip is for val, so val.txt has those of the test")
        parts = {"train": parts.get("train", parts["test"][:0]), "val": parts["test"]}
    missing = [split for split in ("train", "val") if not len(parts.get(split, ()))]
    if missing:
        raise UserError(
            f"PaddleX needs a train.txt and a val.txt, but the index has no clip for {' and '.join(missing)}."
        )
    texts = {f"{split}.txt": _lines(parts[split], prefix, frames=False) for split in ("train", "val")}
    return {"label.txt": "".join(f"{number} {label}\n" for number, label in enumerate(labels))} | texts, notes


def _lines(part: pd.DataFrame, prefix: str, frames: bool) -> str:
    counts = [f" {count}" for count in part["num_frames"]] if frames else [""] * len(part)
    rows = zip(part["id"], counts, part["label_index"], strict=True)
    return "".join(f"{prefix}{name}{count} {number}\n" for name, count, number in rows)


def _require_sayable(used: pd.DataFrame, toolbox: Toolbox, frames: bool) -> None:
    if used.empty:
        raise UserError("the index has no clip in any split, so there is nothing to list.")
    if frames and toolbox == "paddlex":
        raise UserError("PaddleX reads video files only: leave --frames away.")
    unpack = "`pptsm unpack` makes a folder of frames of each, which --frames lists"
    if not frames:
        _refuse(used[used["id"] != used["path"]], "are parts of files, which such lists cannot name", unpack)
        folders = used["path"] == [without_suffix(path) for path in used["path"]]
        _refuse(used[folders], "are folders of frames, not videos", "--frames lists those")
    spaced = used["id"].str.contains(r"\s")
    _refuse(used[spaced], f"have spaces in their paths, at which {toolbox} ends a path", "Rename them, folders too")


def _refuse(rows: pd.DataFrame, what: str, remedy: str) -> None:
    if len(rows):
        examples = ", ".join(map(repr, rows["id"].head(SHOWN)))
        more = f" ... and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
        raise UserError(f"{len(rows)} clips of the index {what}: {examples}{more}. {remedy}.")
