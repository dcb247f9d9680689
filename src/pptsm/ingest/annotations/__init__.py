"""Annotations: files in which people, and published datasets, say which clip shows what, and is for which split.

A file a format; this one checks what they have in common. `read_annotations` opens no video.
"""

import re
from collections.abc import Collection
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd

from pptsm.ingest.annotations import hmdb51, kinetics, lists, own, ssv2, ucf101
from pptsm.ingest.annotations.choice import format_of
from pptsm.ingest.annotations.matching import Root
from pptsm.ingest.annotations.reading import Faults, annotation_files
from pptsm.ingest.texts import plain
from pptsm.params.schema import AnnotationFormat, Index
from pptsm.runtime.console import note
from pptsm.runtime.errors import UserError

COLUMNS = {"path": "", "label": "", "split": "", "group": "", "start_sec": np.nan, "end_sec": np.nan, "where": ""}


def read_annotations(params: Index, found: Collection[str]) -> pd.DataFrame:
    """The clips that index.annotations names.

    Args:
        params: section index.
        found: ids (paths below the root) of all videos and folders of frames that are there.

    Returns:
        A row a clip: `path` (an id of `found`, or what the annotation names, as an id would be written), `label` ("" in
        a test without labels), `split` (train, val, test; "" in all rows: it is to be drawn), `group` ("": not said),
        `start_sec` and `end_sec` (NaN for a whole file), `where` ("mine.csv line 12").

    Raises:
        UserError: a file is missing or is of another format, or lines are wrong; with file and line.
    """
    files = _files(params)
    form = _format(params, files)
    if params.format == "auto":
        note(f"index: {', '.join(params.annotations)}: read as index.format {form} ({len(files)} files)")
    faults = Faults()
    clips = _complete(_read(form, files, params, _root(params, found), faults))
    if clips.empty and not faults.count:
        raise UserError(f"index.annotations name no clips: {', '.join(map(str, files[:5]))} have no line of one.")
    _find_faults(clips, faults)
    faults.raise_any()
    return clips


def read_split_lists(train_list: str, test_list: str, params: Index, found: Collection[str]) -> pd.DataFrame:
    """The clips of index.train_list and index.test_list: those of `read_annotations`, their labels left to the names.

    The pattern may join classes that the lists number, and tells none apart that they give one number.

    Raises:
        UserError: a list cannot be read, names a video twice, or gives one another class than its path does.
    """
    faults = Faults()
    splits = {Path(train_list): "train", Path(test_list): "test"}
    listed = ucf101.read_lists(splits, _root(params, found), faults)
    matches = [re.fullmatch(params.pattern, path) for path in listed["path"]]
    listed["label"] = [(match and match["label"]) or "" for match in matches]
    if len(set(listed["given"]) - {""}) > 1:  # the same behind all paths tells no classes apart
        ucf101.require_agreement(listed, None, faults, by_pattern=True)
    clips = _complete(listed.drop(columns="label"))
    _find_faults(clips, faults)
    faults.raise_any()
    return clips


def annotated_labels(params: Index, found: Collection[str]) -> list[str] | None:
    """The classes in the order that the annotations give them by numbers; None where they only name them.

    Args:
        params: section index.
        found: as for `read_annotations`.

    Raises:
        UserError: as `read_annotations`.
    """
    files = _files(params)
    match _format(params, files):
        case "ucf101":
            return ucf101.labels(files)
        case "ssv2":
            return ssv2.labels(files)
        case "paddlex" | "list" as form:
            names = lists.class_names(files, params.label_file if form == "list" else None)
            if names is not None:
                return names.labels
            return lists.numbers(files, params.frame_name is not None, _root(params, found))
        case _:
            return None


def _root(params: Index, found: Collection[str]) -> Root:
    aside = {name for pattern in params.exclude for name in found if fnmatchcase(name, pattern)}
    return Root(params.root, frozenset(found) - aside, frozenset(aside))


def _complete(clips: pd.DataFrame) -> pd.DataFrame:
    """All columns, of those that a format does not have empty ones."""
    return pd.DataFrame({name: clips.get(name, missing) for name, missing in COLUMNS.items()}, index=clips.index)


def _files(params: Index) -> list[Path]:
    return annotation_files(params.annotations, params.official_split, params.frame_name is not None)


def _format(params: Index, files: list[Path]) -> AnnotationFormat:
    return format_of(files, params.frame_name is not None) if params.format == "auto" else params.format


def _read(form: AnnotationFormat, files: list[Path], params: Index, root: Root, faults: Faults) -> pd.DataFrame:
    match form:
        case "csv":
            return own.read(files, root, faults)
        case "kinetics":
            return kinetics.read(files, root, faults)
        case "ucf101":
            return ucf101.read(files, root, faults)
        case "hmdb51":
            return hmdb51.read(files, root, faults)
        case "ssv2":
            return ssv2.read(files, root, faults)
        case "paddlex":
            lists.require_labels(files)
    names = lists.class_names(files, params.label_file)
    return lists.read(files, names, params.first_class, params.frame_name is not None, root, faults)


def _find_faults(clips: pd.DataFrame, faults: Faults) -> None:
    """What must hold whatever the format: no clip twice, a split for all or for none, no class only in the test."""
    same = ["path", "start_sec", "end_sec"]
    faults.add_rows(clips, clips.duplicated(same), lambda row: _again(row, clips, same))
    undecided = clips["split"] == ""
    if undecided.all():
        return
    faults.add_rows(clips, undecided, lambda row: f"gives {row['path']!r} no split, where other lines have one")
    spelling = {label: plain(label) for label in clips["label"].unique()}
    classes = clips["label"].map(spelling)
    learned = set(classes[clips["split"] == "train"])
    if learned:
        unknown = ~classes.isin([*learned, ""]) & ~undecided
        first = clips[unknown].drop_duplicates("label").index
        faults.add_rows(
            clips,
            clips.index.isin(first),
            lambda row: f"has the class {row['label']!r} in {row['split']}, which no clip for training has",
        )


def _again(row: pd.Series, clips: pd.DataFrame, same: list[str]) -> str:
    """Where the clip of a row was named before."""
    of_path = clips[clips["path"] == row["path"]]
    clip = of_path.groupby(same, dropna=False).ngroup()
    before = of_path[clip == clip[row.name]].iloc[0]
    span = "" if np.isnan(row["start_sec"]) else f" from {row['start_sec']:g} to {row['end_sec']:g} s"
    splits = "" if before["split"] == row["split"] else f" ({before['split']} there, {row['split']} here)"
    return f"names {row['path']!r}{span} again, which {before['where']} has{splits}"
