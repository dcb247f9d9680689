"""The index: one row per clip (a video file, or a part of one), with label, group, split and what decoding it showed.

Nothing found under the root vanishes: a file that cannot be used stays in the table with status and
reason, and takes part in no split.
"""

import os
import re
from collections.abc import Collection
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd

from pptsm.data.table import COLUMNS, OTHER_CLASS, UNANNOTATED, UNLABELLED, UNLISTED, clip_id, refuse_unfit_names
from pptsm.ingest.annotations import annotated_labels, read_annotations, read_split_lists
from pptsm.ingest.probe import probe_all
from pptsm.ingest.splits import assign_splits, splits_of_folders
from pptsm.ingest.texts import by_folder, plain, read_groups, read_label_file, refuse_alike
from pptsm.ingest.time_spans import cut_into_parts
from pptsm.params.schema import Index
from pptsm.runtime.console import note
from pptsm.runtime.errors import UserError
from pptsm.runtime.jobs import Workers
from pptsm.runtime.paths import StrPath
from pptsm.video.decoders import has_decord
from pptsm.video.scan import is_folder, scan_for_videos, shut
from pptsm.video.types import shown
from pptsm.video.video import VIDEO_SUFFIXES

EMPTY = {name: "" if kind == "str" else 0 for name, kind in COLUMNS.items()}


def build_index(params: Index, min_frames: int, workers: Workers) -> tuple[pd.DataFrame, list[str]]:
    """Find, label, split and probe the videos under `params.root`; only those that take part are opened.

    Args:
        params: section index.
        min_frames: shorter videos are left out, if `params.short_videos` says so.
        workers: processes that probe.

    Returns:
        The table (columns as `COLUMNS`, sorted by id) and the class names in the order of `label_index`.

    Raises:
        UserError: the root has no videos, or as `plan_index`.
    """
    note(f"index: looking for videos in {params.root}")
    if not has_decord():
        note("index: decord is not installed here, so PyAV reads every file (column decoder says who reads which)")
    found = find_videos(Path(params.root), params.frame_name)
    closed = [name for name, path in found.items() if is_folder(path)]
    table, labels = plan_index([name for name in found if name not in closed], params)
    takes_part = table["status"] == "ok"
    planned = table[takes_part].drop(columns=["status", "reason"]).reset_index(drop=True)
    paths = planned["path"].unique()
    probes = probe_all([found[path] for path in paths], params, workers).set_axis(paths)
    probed = cut_into_parts(planned.join(probes, on="path"), found, workers, params.probe_timeout_sec)
    why = [f"a folder that cannot be looked into: {shut(found[name])}" for name in closed]
    folders = pd.DataFrame({"id": closed, "path": closed, "reason": why}).assign(status="unreadable", label_index=-1)
    table = pd.concat([probed, table[~takes_part], folders]).fillna(EMPTY)
    if params.short_videos == "leave_out":
        short = (table["status"] == "ok") & (table["num_frames"] < min_frames)
        frames = table.loc[short, "num_frames"].astype(int).astype(str)
        table.loc[short, "reason"] = frames + f" frames, fewer than validate.min_frames ({min_frames})"
        table.loc[short, "status"] = "short"
    table.loc[table["status"] != "ok", "split"] = ""
    return table[list(COLUMNS)].astype(dict(COLUMNS)).sort_values("id", ignore_index=True), labels


def plan_index(ids: list[str], params: Index) -> tuple[pd.DataFrame, list[str]]:
    """What names, lists, label file and shares say, before any video is opened.

    Args:
        ids: paths below the root, as `find_videos` gives them.
        params: section index.

    Returns:
        A row for each file or annotated part of one, and for each that a list names and the root has not: columns id,
        path, label, label_index, group, split, status and reason; and start_sec, end_sec and `where` the annotation
        stands, NaN and empty for a whole file. Status "ok" stands for: takes part if it decodes.

    Raises:
        UserError: pattern, annotations, lists, label file or groups do not fit the files, too many of them are left
            out, or fewer than two classes take part.
    """
    excluded = _excluded(ids, params)
    rest = [name for name in ids if name not in excluded]
    if params.annotations:
        table = _keep_named(_read_nothing(rest, params), read_annotations(params, ids), params)
    elif params.train_list and params.test_list:
        listed = read_split_lists(params.train_list, params.test_list, params, ids)
        table = _keep_named(_read_names(rest, len(excluded), params), listed, params)
    else:
        table = _read_names(rest, len(excluded), params).assign(start_sec=np.nan, end_sec=np.nan, where="")
    why = {name: f"index.exclude has {pattern!r}" for name, pattern in excluded.items()}
    aside = pd.DataFrame({"id": list(why), "path": list(why), "reason": list(why.values())}, dtype="str")
    table = pd.concat([table, aside.assign(status="excluded")], ignore_index=True) if excluded else table
    table = table.fillna(dict.fromkeys(("label", "group", "split", "where"), ""))
    labels = _name_classes(table, params, ids)
    table["label_index"] = table["label"].map({label: number for number, label in enumerate(labels)})
    table["label_index"] = table["label_index"].where(table["reason"] != OTHER_CLASS).fillna(-1)

    takes_part = table["status"] == "ok"
    classes = sorted(set(table.loc[takes_part, "label"]))
    if len(classes) < 2:
        raise UserError(
            f"at least two classes are needed, but {takes_part.sum()} of {len(table)} clips in {params.root} take "
            f"part, of {len(classes)} ({', '.join(classes)}). Look at index.pattern (its group `label` is the class), "
            "at the annotations or lists if there are any, and at the folders."
        )
    if params.group_file:
        requested = table.loc[takes_part, "path"]
        groups = read_groups(params.group_file, set(table["path"]), list(requested.unique()))
        table.loc[takes_part, "group"] = requested.map(groups)
    table.loc[takes_part, "split"] = assign_splits(table[takes_part], params)
    table.loc[~takes_part, "split"] = ""
    return table, labels


def find_videos(root: StrPath, frame_name: str | None = None) -> dict[str, Path]:
    """All videos below `root` by their id, sorted: the path of the file (or of the folder of such frames) below it.

    An id has / between folders and is always text: in place of bytes that are none it has a backslash and their
    numbers. A folder that cannot be looked into stands in the place of its videos.

    Raises:
        UserError: no such folder, or no video in it.
    """
    root = Path(root)
    if problem := shut(root):
        raise UserError(
            f"index.root is {str(root)!r}, but there is no such folder that can be looked into ({problem}; looked from "
            f"{Path.cwd()})."
        )
    paths = scan_for_videos(root, frame_name)
    found = {shown((path.parent if path.name == frame_name else path).relative_to(root)): path for path in paths}
    if all(map(is_folder, found.values())):
        others = sum(len(files) for *_, files in os.walk(root))
        sought, remedy = f"{' '.join(VIDEO_SUFFIXES)}", ""
        if frame_name is not None:
            sought, remedy = (
                f"folders of frames named like {frame_name}",
                ", or set index.frame_name to null or another",
            )
        raise UserError(
            f"no video in {root}: looked for {sought} in it and its folders, found {others} "
            f"other files. Put videos there in a folder per class, or set index.root in params.yaml{remedy}."
        )
    return dict(sorted(found.items()))


def _read_nothing(ids: list[str], params: Index) -> pd.DataFrame:
    """The files as they are where annotations label all of them; the pattern gives a group where it matches."""
    groups = list(ids)
    if "group" in re.compile(params.pattern).groupindex:
        matches = [re.fullmatch(params.pattern, name) for name in ids]
        groups = [(match and match["group"]) or name for match, name in zip(matches, ids, strict=True)]
    files = pd.DataFrame({"id": ids, "path": ids, "group": groups}, dtype="str")
    return files.assign(label="", split="", status="ok", reason="")


def _read_names(ids: list[str], excluded: int, params: Index) -> pd.DataFrame:
    """Label, group and split of each path by index.pattern; "unmatched" where it does not match.

    What index.exclude names was set aside before, and counts in no share.
    """
    matches = [re.fullmatch(params.pattern, name) for name in ids]
    if not any(matches):
        example = f" (for example {ids[0]!r})" if ids else f" that index.exclude leaves of {excluded}"
        raise UserError(
            f"index.pattern matches none of the {len(ids)} videos in {params.root}{example}. "
            f"It is {params.pattern!r} and must match the whole path below that folder."
        )
    _require_share(
        [name for name, match in zip(ids, matches, strict=True) if not match],
        len(ids),
        params.max_unmatched_share,
        f"of the {len(ids)} videos in {params.root} are not matched by index.pattern ({params.pattern})",
        "Mend the pattern, or move these files away",
        "max_unmatched_share",
    )
    ignored = {"group" if params.group_file else "", "split" if params.train_list else ""}
    used = set(re.compile(params.pattern).groupindex) - ignored
    for part in sorted(used):
        if empty := [name for name, match in zip(ids, matches, strict=True) if match and not match[part]]:
            raise UserError(
                f"the group `{part}` of index.pattern ({params.pattern}) is empty for {len(empty)} of {len(ids)} "
                f"videos: {by_folder(empty)}. It must match a part of every path."
            )
    table = pd.DataFrame({"id": ids, "path": ids, "status": ["ok" if match else "unmatched" for match in matches]})
    table["reason"] = ["" if match else "the path does not match index.pattern" for match in matches]
    table["label"] = [match["label"] if match else "" for match in matches]
    # without a group each video is its own
    table["group"] = [
        match["group"] if match and "group" in used else name for name, match in zip(ids, matches, strict=True)
    ]
    table["split"] = ""
    if "split" in used:
        given = pd.Series({row: match["split"] for row, match in enumerate(matches) if match})
        table.loc[given.index, "split"] = splits_of_folders(given)
    return table


def _excluded(ids: list[str], params: Index) -> dict[str, str]:
    """Each path that a pattern of index.exclude matches, with the first that does; * matches / too."""
    found: dict[str, str] = {}
    for pattern in params.exclude:
        named = {name: pattern for name in ids if fnmatchcase(name, pattern)}
        if not named:
            note(f"index: warning: index.exclude has {pattern!r}, which no path is like (they are like {ids[0]!r})")
        found = named | found
    return found


def _keep_named(files: pd.DataFrame, clips: pd.DataFrame, params: Index) -> pd.DataFrame:
    """Set aside the files that no annotation and no list names, and add a row for each clip whose file is not there.

    Args:
        files: a row each, with what names say.
        clips: as `read_annotations` gives them; what they leave empty, names say.
        params: section index.
    """
    for pattern in params.exclude:
        clips = clips[[not fnmatchcase(path, pattern) for path in clips["path"]]]
    unlabelled: set[str] = set()
    if params.annotations:
        unlabelled = set(clips.loc[clips["label"] == "", "path"])
        clips = clips[clips["label"] != ""]
    there = clips["path"].isin(files["path"])
    missing = clips[~there]
    what = "index.annotations" if params.annotations else "index.train_list and index.test_list"
    example = f", where paths are like {files['path'].iloc[0]!r}" if len(files) else ""
    _require_share(
        list(missing["path"]),
        len(clips),
        params.max_missing_share,
        f"of the {len(clips)} videos in {what} are not in {params.root}{example}",
        "Fetch them, or mend the lists",
        "max_missing_share",
    )
    why = "named by an annotation or a list, but not below index.root"
    missing = missing.assign(status="missing", reason=why, group="", split="")
    if not params.annotations:
        matches = [re.fullmatch(params.pattern, path) for path in missing["path"]]
        missing["label"] = [(match and match["label"]) or "" for match in matches]
    named = clips[there].merge(files.drop(columns=["id", "split"]), on="path", suffixes=("", "_of_name"))
    for column in ("label", "group"):
        named[column] = named[column].mask(named[column] == "", named[f"{column}_of_name"])
    others = _set_aside(files[~files["path"].isin(clips["path"])].copy(), named, unlabelled, params)
    table = pd.concat([named, missing, others], ignore_index=True)
    part = table["start_sec"].notna()
    spans = zip(*(table.loc[part, name] for name in ("path", "start_sec", "end_sec")), strict=True)
    table["id"] = table["path"]
    table.loc[part, "id"] = [clip_id(*span) for span in spans]
    return table[["id", "path", "label", "group", "split", "status", "reason", "start_sec", "end_sec", "where"]]


def _set_aside(others: pd.DataFrame, named: pd.DataFrame, unlabelled: Collection[str], params: Index) -> pd.DataFrame:
    """Give the files that are not named status and reason; of lists those of other classes are no part of the set."""
    others["split"] = ""
    free = others["status"] == "ok"
    if params.annotations:
        known = ~others["path"].isin(unlabelled)
        what, counted = "are named by no annotation", len(named["path"].unique()) + int(known.sum())
        others.loc[free, ["status", "reason"]] = "unlisted", UNANNOTATED
        others.loc[~known, "reason"] = UNLABELLED
        unlisted = free & known
    else:
        classes = set(map(plain, named["label"])) - {""}
        unlisted = free & others["label"].map(plain).isin(classes)
        counted = int((named["status"] == "ok").sum() + unlisted.sum())
        what = "of the lists' classes are in neither index.train_list nor index.test_list"
        others.loc[free, ["status", "reason"]] = "unlisted", OTHER_CLASS
        others.loc[unlisted, "reason"] = UNLISTED
    _require_share(
        list(others.loc[unlisted, "path"]),
        counted,
        params.max_unlisted_share,
        f"of the {counted} videos {what}",
        "Name them there, or move them away",
        "max_unlisted_share",
    )
    return others


def _require_share(names: list[str], of: int, limit: float, what: str, remedy: str, parameter: str) -> None:
    """Raise a UserError with folders and examples where these are more than the share that a parameter allows."""
    if names and len(names) / of > limit:
        raise UserError(
            f"{len(names)} {what}: {by_folder(names)}. That is {len(names) / of:.1%}, and index.{parameter} allows "
            f"{limit:.1%}. {remedy}; if it is meant to be so, raise index.{parameter}."
        )


def _name_classes(table: pd.DataFrame, params: Index, ids: Collection[str]) -> list[str]:
    """All class names; labels in the table are put into one spelling ("air drumming", "air_drumming").

    It is the label file's, or that of the annotations if they number the classes, or else that of the folders.
    `ids` are those of all files.
    """
    present = sorted(set(table.loc[table["status"] == "ok", "label"]))
    spelt = set(map(plain, present))
    where = "index.annotations" if params.annotations else f"the folder {params.root!r}"
    refuse_alike(sorted({*present, *table.loc[table["reason"] == UNLISTED, "label"]}), where)
    order = annotated_labels(params, ids) if params.annotations else None
    if params.label_file is not None:
        order, where = read_label_file(params.label_file), f"index.label_file {params.label_file!r}"
    if order is None:
        # a class that is missing altogether stays one, so that validation stops; one video's odd spelling makes none
        missing = set(table.loc[table["status"] == "missing", "label"]) - {""}
        labels = sorted({*present, *(label for label in missing if plain(label) not in spelt)})
    else:
        labels = order
        known = set(map(plain, labels))
        if unknown := [label for label in present if plain(label) not in known]:
            raise UserError(
                f"classes {unknown[:10]} are not in {where}, which names {labels[:5]}"
                f"{' ...' if len(labels) > 5 else ''}."
            )
    refuse_unfit_names(labels)  # now, not after hours of probing
    of_class = {plain(label): label for label in labels}
    spelling = {label: of_class.get(plain(label), label) for label in table["label"].unique()}
    table["label"] = table["label"].map(spelling).astype("str")
    return labels
