"""Format `hmdb51`: the official files, `CLASS_test_split1.txt` with lines `name.avi 1`: 1 train, 2 test, 0 neither."""

import re
from pathlib import Path

import pandas as pd

from pptsm.ingest.annotations.matching import Root, by_keys, file_name
from pptsm.ingest.annotations.reading import HMDB51, Faults, read_lines
from pptsm.ingest.texts import plain

LINE = re.compile(r"(.*\S)\s+([012])")
SPLITS = {"0": "", "1": "train", "2": "test"}


def read(files: list[Path], root: Root, faults: Faults) -> pd.DataFrame:
    """The clips for training and test; a video is found by its class folder and name, or by its name alone."""
    parts = []
    for file in files:
        if HMDB51.search(file.stem) is None:
            faults.add(f"{file.name} is not named like brush_hair_test_split1.txt, so its class is unknown")
            continue
        lines = read_lines(file)
        matches = [LINE.fullmatch(line) for line in lines["text"]]
        bad = pd.Series([match is None for match in matches], dtype=bool)
        faults.add_rows(lines, bad, lambda row: f'is {row["text"]!r}, not "name.avi" and 0, 1 or 2')
        good = [match for match in matches if match]
        part = pd.DataFrame({"name": [match[1] for match in good], "split": [SPLITS[match[2]] for match in good]})
        part["where"] = list(lines.loc[~bad, "where"])
        parts.append(part.assign(label=HMDB51.sub("", file.stem)))
    faults.raise_any()
    clips = pd.concat(parts, ignore_index=True)
    clips = clips[clips["split"] != ""].reset_index(drop=True)
    named = [f"{label}/{name}" for label, name in zip(clips["label"], clips["name"], strict=True)]
    known = root.by(file_name) | root.by(_in_folder)
    ids = by_keys(clips, known, [list(map(_in_folder, named)), list(clips["name"])], faults)
    clips["path"] = [name or path for name, path in zip(ids, named, strict=True)]
    return clips


def _in_folder(path: str) -> str:
    """The last folder of an id, in whatever spelling, and the name."""
    folder, _, name = path.rpartition("/")
    return f"{plain(folder.rpartition('/')[2])}/{name}"
