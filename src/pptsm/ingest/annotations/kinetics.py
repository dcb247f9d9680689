"""Format `kinetics`: the CSV files of Kinetics-400, -600 and -700, `label,youtube_id,time_start,time_end,split`.

A video is found by its name alone, in whatever folder: `ID_000012_000022.mp4` as the common downloaders cut it, or
`ID.mp4`; either file is the clip as a whole. The official test files have no labels. JSON files, which the packages
have beside, say the same and are left aside.
"""

from pathlib import Path

import pandas as pd

from pptsm.ingest.annotations.matching import Root, by_keys, stem
from pptsm.ingest.annotations.own import named_splits, read_table
from pptsm.ingest.annotations.reading import Faults, split_of_file
from pptsm.runtime.errors import UserError

NEEDED = ("youtube_id", "time_start", "time_end")


def read(files: list[Path], root: Root, faults: Faults) -> pd.DataFrame:
    """The clips of all files; columns beside the official ones (is_cc) do not count."""
    parts = []
    tables = [file for file in files if file.suffix.lower() != ".json"]
    if not tables:
        raise UserError(f"index.annotations: {files[0].name} is JSON; of Kinetics the CSV files beside it are read.")
    for file in tables:
        table = read_table(file, faults)
        if missing := [name for name in NEEDED if name not in table]:
            raise UserError(
                f"the annotations {str(file)!r} lack the column {missing[0]!r} of Kinetics; line 1 names "
                f"{', '.join(table.columns[:-1])}."
            )
        if "label" in table:
            faults.add_rows(table, table["label"] == "", lambda row: f"gives {row['youtube_id']!r} no label")
        parts.append({"label": "", "split": split_of_file(file)} | dict(table.items()))
    clips = pd.concat([pd.DataFrame(part)[["label", "split", "where", *NEEDED]] for part in parts], ignore_index=True)
    clips["split"] = named_splits(clips, faults)
    clips["path"] = _paths(clips, root, faults)
    return clips


def _paths(clips: pd.DataFrame, root: Root, faults: Faults) -> list[str]:
    """The id of each clip; where it is not there, as a downloader would name it."""
    starts, ends = (_six_digits(clips, column, faults) for column in ("time_start", "time_end"))
    bare = clips["youtube_id"].tolist()
    names = [f"{name}_{start}_{end}" for name, start, end in zip(bare, starts, ends, strict=True)]
    ids = by_keys(clips, root.by(stem), [names, bare], faults)
    gone = zip(ids, clips["label"].tolist(), names, strict=True)
    return [there or (f"{label}/{name}.mp4" if label else f"{name}.mp4") for there, label, name in gone]


def _six_digits(clips: pd.DataFrame, column: str, faults: Faults) -> list[str]:
    """Whole seconds as the file names have them."""
    seconds = pd.to_numeric(clips[column], errors="coerce")
    wrong = ~seconds.between(0, 999_999)
    faults.add_rows(clips, wrong, lambda row: f"has {column} {row[column]!r}, which is no number of seconds")
    return [f"{number:06d}" for number in seconds.mask(wrong, 0).astype(int).tolist()]
