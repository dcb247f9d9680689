"""The index: one row a video file, with label, group, split and what decoding it showed.

Nothing found under the root vanishes: a file that cannot be used stays in the table with status and
reason, and takes part in no split.
"""

import concurrent.futures
import multiprocessing
import os
import re
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import diskcache
import numpy as np
import pandas as pd
from pebble import ProcessExpired, ProcessPool

from pptsm.console import progress
from pptsm.data.table import COLUMNS, SPLITS
from pptsm.data.video import VIDEO_SUFFIXES, Probe, probe
from pptsm.errors import UserError
from pptsm.files import sha256_of, state_dir
from pptsm.params import Index

PROBE_VERSION = 1  # raise it when a probe finds out other things: stored ones are then not used
SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def build_index(params: Index, seed: int) -> tuple[pd.DataFrame, list[str]]:
    """Find, probe, label and split the videos under `params.root`.

    Returns:
        The table (columns as `COLUMNS`, sorted by id) and the class names in the order of `label_index`.

    Raises:
        UserError: the root, a list or the label file is missing, or no file there can be used.
    """
    root = Path(params.root)
    ids = find_videos(root)
    table = pd.DataFrame({"id": ids})
    matches = [re.fullmatch(params.pattern, name) for name in ids]
    if not any(matches):
        raise UserError(
            f"index.pattern matches none of the {len(ids)} videos in {root} (for example {ids[0]!r}). "
            f"It is {params.pattern!r} and must match the whole path below that folder."
        )
    parts = [match.groupdict() if match else {} for match in matches]
    table["label"] = [part.get("label") or "" for part in parts]
    # without a group each video is its own
    table["group"] = [part.get("group") or name for part, name in zip(parts, ids, strict=True)]
    table = table.join(_probe_all(root, ids, params))
    unmatched = [match is None for match in matches]
    table.loc[unmatched, ["status", "reason"]] = "unmatched", "the path does not match index.pattern"

    labels = _name_classes(params, table)
    numbers = {label: number for number, label in enumerate(labels)}
    table["label_index"] = [numbers.get(label, -1) for label in table["label"]]

    usable = table["status"] == "ok"
    given = pd.Series([SPLIT_NAMES.get((part.get("split") or "").lower(), "") for part in parts], index=table.index)
    listed: dict[str, str] = {}
    if params.train_list and params.test_list:
        train, test = _read_list(params.train_list), _read_list(params.test_list)
        if both := sorted(set(train) & set(test)):
            raise UserError(f"{len(both)} videos stand in both split lists, for example {both[0]!r}.")
        listed = dict.fromkeys(train, "train") | dict.fromkeys(test, "test")
        given = pd.Series([listed.get(name, "") for name in ids], index=table.index)
        table.loc[usable & (given == ""), "reason"] = "in neither split list"
        usable &= given != ""
    table["split"] = ""
    table.loc[usable, "split"] = given[usable]
    free = usable & (given == "")
    table.loc[free, "split"] = assign_splits(table[free], params, seed)
    table = pd.concat([table, _missing_rows(sorted(set(listed) - set(ids)), params, numbers)])
    return table[list(COLUMNS)].astype(dict(COLUMNS)).sort_values("id", ignore_index=True), labels


def find_videos(root: Path) -> list[str]:
    """Paths below `root` of all files with a video suffix, sorted, with / between folders.

    Raises:
        UserError: no such folder, or no video in it.
    """
    if not root.is_dir():
        raise UserError(f"index.root is {str(root)!r}, but there is no such folder (looked from {Path.cwd()}).")
    found = sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() and not path.name.startswith(".")
    )
    if not found:
        others = sum(path.is_file() for path in root.rglob("*"))
        raise UserError(
            f"no video in {root}: looked for {' '.join(VIDEO_SUFFIXES)} in it and its folders, found {others} "
            "other files. Put videos there in a folder per class, or set index.root in params.yaml."
        )
    return found


def assign_splits(videos: pd.DataFrame, params: Index, seed: int) -> pd.Series:
    """Give each group to train, val or test, so that shares and classes come out as evenly as they can.

    Groups named in `val_groups` and `test_groups` go there; if any are named, all others are for
    training. Otherwise groups are dealt out in random order, each to the split that lacks most of the
    classes it holds.

    Args:
        videos: columns `label` and `group`.

    Returns:
        The split of each row, with the index of `videos`.
    """
    groups = sorted(set(videos["group"]))
    if params.val_groups or params.test_groups:
        if missing := {*params.val_groups, *params.test_groups} - set(groups):
            raise UserError(
                f"index.val_groups or index.test_groups name {sorted(missing)}, but the videos' groups are "
                f"{groups[:20]}{' ...' if len(groups) > 20 else ''}."
            )
        named = dict.fromkeys(params.val_groups, "val") | dict.fromkeys(params.test_groups, "test")
        return videos["group"].map(lambda group: named.get(group, "train"))

    shares = np.array([params.train_share, params.val_share, params.test_share])
    counts = pd.crosstab(videos["group"], videos["label"])
    wanted = shares[:, None] * counts.to_numpy().sum(axis=0)  # [split, class]
    have = np.zeros_like(wanted)
    order = np.random.default_rng(seed).permutation(len(counts))
    chosen = {}
    for row in order:
        group_counts = counts.to_numpy()[row]
        # how much of what is wanted is still lacking, in the classes of this group
        lack = ((wanted - have) / np.maximum(wanted, 1e-9))[:, group_counts > 0].mean(axis=1)
        lack[shares == 0] = -np.inf
        split = int(np.argmax(lack))
        have[split] += group_counts
        chosen[counts.index[row]] = SPLITS[split]
    return videos["group"].map(chosen)


def _missing_rows(names: list[str], params: Index, numbers: dict[str, int]) -> pd.DataFrame:
    """Rows for videos that a split list names and the root has not: they count as unreadable, they do not vanish."""
    rows = []
    for name in names:
        match = re.fullmatch(params.pattern, name)
        label = (match.groupdict().get("label") if match else None) or ""
        rows.append(
            dict.fromkeys(COLUMNS, 0)
            | dict.fromkeys(("group", "split", "sha256"), "")
            | {"id": name, "label": label, "label_index": numbers.get(label, -1)}
            | {"status": "missing", "reason": "named in a split list, but not below index.root"}
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def read_label_file(name: str) -> list[str]:
    """Class names in the order of the logits; lines are "archery" or, as published lists have it, "17 archery".

    Raises:
        UserError: the file cannot be read, or names a class twice.
    """
    lines = [line.strip() for line in _read_lines(name, "index.label_file") if line.strip()]
    if all(re.match(r"\d+\s+\S", line) for line in lines):
        lines = [re.sub(r"^\d+\s+", "", line) for line in lines]
    if twice := sorted({line for line in lines if lines.count(line) > 1}):
        raise UserError(f"the label file {name!r} has {twice[:5]} more than once.")
    return lines


def _name_classes(params: Index, table: pd.DataFrame) -> list[str]:
    """All class names; labels in the table are put into the label file's spelling ("air drumming", "air_drumming")."""
    matched = table["status"] != "unmatched"
    if params.label_file is None:
        return sorted(set(table.loc[matched, "label"]))
    labels = read_label_file(params.label_file)
    spelling = {_plain(label): label for label in labels}
    if unknown := {label for label in table.loc[matched, "label"] if _plain(label) not in spelling}:
        raise UserError(f"classes {sorted(unknown)[:10]} are not in index.label_file {params.label_file!r}.")
    table.loc[matched, "label"] = [spelling[_plain(label)] for label in table.loc[matched, "label"]]
    return labels


def _plain(label: str) -> str:
    return label.replace(" ", "_").casefold()


def _read_list(name: str) -> list[str]:
    # "Class/video.avi 1": the number is the class, which the path tells as well
    return [re.sub(r" \d+$", "", line).strip() for line in _read_lines(name, "a split list") if line.strip()]


def _read_lines(name: str, what: str) -> list[str]:
    try:
        return Path(name).read_text(encoding="utf-8").split("\n")  # splitlines would break names at U+2028
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {what} {name!r} as UTF-8 text: {error}.") from None


def _hash_and_probe(path: Path) -> tuple[str, Probe]:
    """Runs in a worker. Decoding is skipped where the same bytes were probed before by the same decoder."""
    try:
        digest = sha256_of(path)
    except OSError as error:
        return "", Probe("unreadable", f"cannot be read: {error.strerror}", 0, 0.0, 0, 0)
    key = f"{PROBE_VERSION}-{version('decord')}-{digest}"
    with diskcache.Cache(str(state_dir("probes")), disk=diskcache.JSONDisk) as known:
        values = known.get(key)
        if values is None:
            values = asdict(probe(path))
            known[key] = values
    return digest, Probe(**values)


def _probe_all(root: Path, ids: list[str], params: Index) -> pd.DataFrame:
    rows = []
    # Killable processes: some broken containers keep the decoder busy for ever.
    with ProcessPool(params.workers or os.cpu_count() or 1, context=multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.schedule(_hash_and_probe, args=[root / name], timeout=params.probe_timeout_sec) for name in ids]
        try:
            for name, job in zip(progress(ids, "index", "videos"), jobs, strict=True):
                try:
                    digest, result = job.result()
                except concurrent.futures.TimeoutError:
                    digest, result = _broken(root / name, f"decoding took longer than {params.probe_timeout_sec:g} s")
                except ProcessExpired as error:
                    digest, result = _broken(root / name, f"the decoder crashed (exit code {error.exitcode})")
                size = (root / name).stat().st_size
                row = {"duration_sec": result.duration_sec, "size_bytes": size, "sha256": digest}
                rows.append(asdict(result) | row)
        except BaseException:
            pool.stop()  # otherwise the pool first finishes every file
            raise
    return pd.DataFrame(rows)


def _broken(path: Path, reason: str) -> tuple[str, Probe]:
    return sha256_of(path), Probe("unreadable", reason, 0, 0.0, 0, 0)
