"""The extracted frames, before anything is trained on them: kept files by their directories, copies by their looks."""

import os
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from pptsm.data.clips import FrameSource
from pptsm.frames.store import Kept
from pptsm.params.schema import Validate
from pptsm.runtime.console import note, progress
from pptsm.runtime.files import MARKER
from pptsm.validation.expectations import Table, ask
from pptsm.validation.leakage import frame_hashes, nearest_copies
from pptsm.validation.result import ROWS_KEPT, Lines, Result, Row, clip_line
from pptsm.validation.rules import COPIES, FRAMES
from pptsm.video.types import VideoError


def validate_frames(
    clips: pd.DataFrame,
    source: FrameSource,
    short_side_px: int | None,
    params: Validate,
    docs: Path,
    workers: Literal["auto"] | int,
) -> Result:
    """Check the frames of usable clips and write the Data Docs pages.

    No frame is decoded but the three of each clip that are compared. Straight from video files nothing is kept that
    could be checked.

    Args:
        clips: usable rows of the index.
        source: where frames come from.
        short_side_px: what they were kept with, section frames.
        params: limits.
        docs: folder for the HTML.
        workers: processes that decode what is compared.

    Raises:
        UserError: a clip cannot be read.
    """
    clips = clips.reset_index(drop=True)
    bits = params.near_duplicate_bits
    limits = {
        "leakage": params.leakage,
        "near_duplicate_bits": bits,
        "copy_beyond_bits": None if bits is None else bits + 1,
        "short_side_px": short_side_px or "native",
    }
    rules: list[Any] = []
    tables: dict[str, Table] = {}
    facts: dict[str, Any] = {"kept": 0, "bytes": 0, "compared": 0}
    whole = clips
    if source.kept is not None:
        kept = _kept(clips, source.kept, short_side_px)
        whole = clips[kept.rows["fault"] == ""].reset_index(drop=True)
        rules += FRAMES
        tables |= {"kept": kept, "folder": _folder(clips, source.kept)}
        facts |= {"kept": len(whole), "bytes": int(kept.rows["bytes"].sum())}
    if bits is not None and params.leakage != "off" and whole["split"].nunique() > 1:
        note(f"validate_frames: comparing the looks of {len(whole)} clips across splits")
        rules += COPIES
        tables["copies"] = _copies(whole, source, bits, workers)
        facts["compared"] = len(whole)
    found = ask(rules, tables, limits, docs)
    return Result(found.suites, found.faults, found.warnings, facts)


def _kept(clips: pd.DataFrame, stored: Kept, short_side_px: int | None) -> Table:
    """A row for each clip: what the directory of its file says, beside what the index says."""
    rows = [
        _beside_the_index(row, stored, short_side_px)
        for row in progress(clips.to_dict("records"), "validate_frames", "clips", total=len(clips))
    ]
    table = pd.DataFrame(rows, columns=["fault", "frames_off", "native", "short_side_off", "bytes"])

    def explain(row: Row, column: str) -> Lines:
        clip = clips.loc[row.name]
        said = {
            "fault": row["fault"],
            "native": f"its frames are of {row['native']}, the index says {clip['width']} x {clip['height']}",
            "frames_off": f"its file has {clip['num_frames'] + row['frames_off']} frames, the index says "
            f"{clip['num_frames']}",
            "short_side_off": f"its frames' short side is {row['short_side_off']:+d} pixels off",
        }
        return Lines([f"{clip_line(clip)}: {said[column]}"])

    return Table(table.astype({"fault": "str", "native": "str"}), explain)


def _beside_the_index(clip: Row, stored: Kept, short_side_px: int | None) -> dict[str, Any]:
    try:
        facts = stored.facts(clip["id"])
    except VideoError as error:
        return {"fault": str(error), "frames_off": 0, "native": "", "short_side_off": 0, "bytes": 0}
    width, height = facts.native
    expected = min(*facts.native, short_side_px or width)
    expected -= expected % 2 if stored.kind == "short_gop" else 0  # an encoder takes even sides only
    return {
        "fault": "",
        "frames_off": facts.num_frames - clip["num_frames"],
        "native": "" if (width, height) == (clip["width"], clip["height"]) else f"{width} x {height}",
        "short_side_off": facts.short_side_px - expected,
        "bytes": facts.bytes,
    }


def _folder(clips: pd.DataFrame, stored: Kept) -> Table:
    """The folder in one row: how many files in it belong to no clip."""
    folder = stored.folder
    expected = {stored.file_of(name).relative_to(folder).as_posix() for name in clips["id"]}
    found = (Path(place, name).relative_to(folder).as_posix() for place, _, names in os.walk(folder) for name in names)
    strays = sorted(set(found) - expected - {MARKER})

    def explain(*_: Any) -> Lines:
        return Lines(strays[:ROWS_KEPT], max(0, len(strays) - ROWS_KEPT))

    return Table(pd.DataFrame([{"id": "all files", "strays": len(strays)}]), explain)


def _copies(clips: pd.DataFrame, source: FrameSource, most_bits: int, workers: Literal["auto"] | int) -> Table:
    """The clips of validation and test, with the bits to the clip of another split that looks most like each."""
    hashes = frame_hashes(clips, source, workers)
    nearest, bits = nearest_copies(hashes, clips["split"].tolist(), clips["sha256"].tolist(), most_bits)
    rows = clips[["id", "split"]].assign(nearest=nearest, nearest_bits=bits)

    def explain(row: Row, _: str) -> Lines:
        other = clips.loc[row["nearest"]]
        return Lines(
            [f"{row['id']} ({row['split']}) looks like {other['id']} ({other['split']}): {row['nearest_bits']} bits"]
        )

    return Table(rows[rows["split"] != "train"].reset_index(drop=True), explain)
