"""Which videos are for training, validation and test, where names, lists and shares say so.

A group's place follows from its name and index.split_seed alone (docs/decisions/0006): new videos and new
groups move no old one. The price is that shares come out by chance, and that a class with few groups may
miss a split; `advice` then says what to do.
"""

import hashlib
import re

import pandas as pd

from pptsm.data.table import SPLITS
from pptsm.params.schema import Index
from pptsm.runtime.console import one_line
from pptsm.runtime.errors import UserError

SPLIT_NAMES = {"train": "train", "training": "train", "test": "test"}
SPLIT_NAMES |= dict.fromkeys(("val", "valid", "validation", "validate"), "val")
SEEDS_TRIED = 10_000
MOST_HASHES = 2_000_000  # over all seeds that are tried
OFF_SHARE, OFF_VIDEOS = 0.4, 2  # a split may be off by such a part of its share, or so many videos, without a remark
SHOWN = 5  # examples in a sentence


def splits_of_folders(names: pd.Series) -> pd.Series:
    """train, val or test for what the pattern's group `split` matched.

    Raises:
        UserError: a name is not known; it would be a guess whether those videos may be trained on.
    """
    splits = names.str.lower().map(SPLIT_NAMES)
    if (unknown := names[splits.isna()]).size:
        found = ", ".join(f"{name!r} ({count} videos)" for name, count in unknown.value_counts().items())
        raise UserError(
            f"the group `split` of index.pattern matches {found}, which names no split. Known are "
            f"{', '.join(SPLIT_NAMES)}: rename the folders, or leave those out in the pattern."
        )
    return splits


def assign_splits(videos: pd.DataFrame, params: Index) -> pd.Series:
    """The split of each video.

    Where annotations, lists or the pattern have decided, `val_groups` takes groups out of the training videos.
    Otherwise groups named in `val_groups` and `test_groups` go there; if any are named, all others are for training.
    If none are, each group is placed by the hash of its name.

    Args:
        videos: columns `group` and `split`; the latter as annotations, lists or pattern give it, or empty throughout.
        params: section index.

    Returns:
        Values of `SPLITS`, with the index of `videos`.

    Raises:
        UserError: a named group is not there, or there are fewer groups than splits with a share.
    """
    groups = sorted(set(videos["group"]))
    few = f"{groups[:20]}{' ...' if len(groups) > 20 else ''}"
    if missing := {*params.val_groups, *params.test_groups} - set(groups):
        raise UserError(
            f"index.val_groups or index.test_groups name {sorted(missing)}, but the videos' groups are {few}."
        )
    if (videos["split"] != "").any():
        if params.test_groups:
            raise UserError(
                "index.test_groups is given, but the annotations already say which videos are for the test."
            )
        held = videos["group"].isin(params.val_groups) & (videos["split"] == "train")
        if idle := set(params.val_groups) - set(videos.loc[held, "group"]):
            raise UserError(f"index.val_groups names {sorted(idle)}, but no training video is of these groups.")
        return videos["split"].mask(held, "val")
    if not is_drawn(params):
        named = dict.fromkeys(params.val_groups, "val") | dict.fromkeys(params.test_groups, "test")
        return videos["group"].map(lambda group: named.get(group, "train"))
    shares = _shares(params)
    if len(groups) < len(shares):
        raise UserError(
            f"the groups are too coarse: {len(groups)} ({', '.join(groups)}) cannot fill {len(shares)} splits "
            f"({', '.join(f'{split} {share:g}' for split, share in shares.items())}) because a group is never divided. "
            "Name smaller groups by index.pattern or index.group_file, or set the share of a split to 0."
        )
    return videos["group"].map({group: place(group, shares, params.split_seed) for group in groups})


def is_drawn(params: Index) -> bool:
    """Whether shares decide the split (unless annotations do): no lists, no split in the pattern, no named groups."""
    in_pattern = "split" in re.compile(params.pattern).groupindex and not params.annotations
    return not (params.train_list or in_pattern or params.val_groups or params.test_groups)


def place(group: str, shares: dict[str, float], seed: int) -> str:
    """The split that a group falls to: a hash of seed and name is a point in [0, 1), each split a stretch of it.

    Test lies first and train last: another share for validation then moves no group into or out of the test.
    """
    digest = hashlib.sha256(f"{seed}/{group}".encode(errors="surrogateescape")).digest()
    point = int.from_bytes(digest[:6]) / 2**48
    for split in reversed(shares):
        point -= shares[split]
        if point < 0:
            return split
    return next(iter(shares))  # shares may add up to a hair below 1


def advice(videos: pd.DataFrame, params: Index) -> str | None:
    """A sentence where a split by shares misses a class or is far from its share; None where all is well, or
    shares do not decide.

    Args:
        videos: the usable ones; columns `label`, `group` and `split`.
        params: section index.
    """
    if videos.empty or not is_drawn(params):
        return None
    shares = _shares(params)
    drawn = {group: place(group, shares, params.split_seed) for group in set(videos["group"])}
    if not videos["split"].equals(videos["group"].map(drawn)):  # annotations have decided
        return None
    found = set(zip(videos["label"], videos["split"], strict=True))
    lacking = {split: sorted({*videos["label"]} - {label for label, of in found if of == split}) for split in shares}
    gaps = [
        f"{split} has no video of {', '.join(map(repr, labels[:SHOWN]))}{' ...' if len(labels) > SHOWN else ''}"
        for split, labels in lacking.items()
        if labels
    ]
    of_group, count = _group_sizes(videos), len(videos)
    sizes = _sizes(of_group, params.split_seed, shares)
    off = [
        f"{split} has {sizes[split]} of {count} videos, {sizes[split] / count:.0%} where its share is {share:.0%}"
        for split, share in shares.items()
        if _is_off(sizes[split], share * count)
    ]
    if not (gaps or off):
        return None
    seed = covering_seed(videos, params)
    in_shares = seed is not None and not _any_off(_sizes(of_group, seed, shares), shares)
    if seed is not None and (gaps or in_shares):
        remedy = (
            f"With index.split_seed: {seed} each split has every class{' and about its share' if in_shares else ''}"
        )
        remedy += "; or name index.val_groups and test_groups"
    else:
        other = "set index.val_share to 0, or name" if gaps else "name"
        remedy = f"No seed near it does better: {other} groups in index.val_groups and test_groups"
    counted = "; shares count groups, of which some have many videos" if off else ""
    return f"{'; '.join([*gaps, *off])}{counted} (index.split_seed {params.split_seed}). {remedy}."


def covering_seed(videos: pd.DataFrame, params: Index) -> int | None:
    """The first split_seed, from the present one on, that gives each split every class and about its share of the
    videos, or else the first that gives it every class; None if none is near.

    Args:
        videos: columns `label` and `group`.
        params: section index.
    """
    shares = _shares(params)
    groups = sorted((set(of_class) for _, of_class in videos.groupby("label")["group"]), key=len)  # the hardest first
    if len(groups[0]) < len(shares):
        return None
    tried = min(SEEDS_TRIED, max(1, MOST_HASHES // videos["group"].nunique()))
    covering = [
        seed
        for seed in range(params.split_seed, min(params.split_seed + tried, 2**32))
        if all(len({place(group, shares, seed) for group in names}) == len(shares) for names in groups)
    ]
    of_group = _group_sizes(videos)
    for seed in covering:
        if not _any_off(_sizes(of_group, seed, shares), shares):
            return seed
    return covering[0] if covering else None


def _group_sizes(videos: pd.DataFrame) -> dict[str, int]:
    return {str(group): int(size) for group, size in videos["group"].value_counts().items()}


def _sizes(of_group: dict[str, int], seed: int, shares: dict[str, float]) -> dict[str, int]:
    """The videos that a seed gives each split."""
    sizes = dict.fromkeys(shares, 0)
    for group, size in of_group.items():
        sizes[place(group, shares, seed)] += size
    return sizes


def _any_off(sizes: dict[str, int], shares: dict[str, float]) -> bool:
    return any(_is_off(sizes[split], share * sum(sizes.values())) for split, share in shares.items())


def _is_off(size: int, requested: float) -> bool:
    return abs(size - requested) > max(OFF_VIDEOS, OFF_SHARE * requested)


def split_sizes(videos: pd.DataFrame) -> list[str]:
    """A line for each split: its videos, its groups, and a few of them by name."""
    lines = []
    for split in SPLITS:
        part = videos[videos["split"] == split]
        groups = sorted(set(part["group"]))
        shown = ", ".join(map(one_line, groups[:SHOWN]))
        names = f" ({shown}{', ...' if len(groups) > SHOWN else ''})" if groups else ""
        lines.append(f"{split}: {len(part)} videos of {len(groups)} groups{names}")
    return lines


def _shares(params: Index) -> dict[str, float]:
    """The splits that have a share, in the order of `SPLITS`."""
    shares = dict(zip(SPLITS, (params.train_share, params.val_share, params.test_share), strict=True))
    return {split: share for split, share in shares.items() if share > 0}
