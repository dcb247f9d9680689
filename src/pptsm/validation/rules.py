"""The rules as a table: one line each, in the order in which they are checked.

A text as `low`, `high`, `values` or `severity` is the name of a limit (section validate, and what `tables` and the
stages add to it); a limit of null, and the severity "off", take the rule out. Names in braces in a sentence are limits
too. A rule of severity "warning" does not stop the pipeline.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pptsm.data.table import COLUMNS, SPLITS, STATUSES

Kind = Literal["columns", "unique", "among", "between", "like", "unlike"]


@dataclass(frozen=True)
class Rule:
    """What must hold of a column of a table, and the sentence that says it."""

    suite: str
    table: str
    column: str
    kind: Kind = "between"
    low: float | str | None = None
    high: float | str | None = None
    values: Sequence[str] | str | None = None  # of "columns" and "among"
    pattern: str = ""  # of "like" and "unlike"
    severity: str = "error"
    says: str = ""


# fmt: off
INDEX = (
    Rule("index", "header", "", kind="columns", values=tuple(COLUMNS),
         says="the columns are those of an index"),
    Rule("index", "rows", "id", kind="unique",
         says="every clip has one row"),
    Rule("index", "rows", "status", kind="among", values=STATUSES,
         says=f"a status is one of {', '.join(STATUSES)}"),
    Rule("index", "rows", "sha256", kind="like", pattern="^(?:[0-9a-f]{64})?$",
         says="a hash is one of SHA-256"),
    Rule("index", "rows", "split", kind="among", values=(*SPLITS, ""),
         says=f"a split is one of {', '.join(SPLITS)}"),
    Rule("index", "rows", "first_frame", low=0,
         says="no clip begins before its file"),
    Rule("index", "clips", "label", kind="among", values="labels",
         says="every label is a known class"),
    Rule("index", "clips", "label", kind="unlike", pattern=r"^\s*$",
         says="no label is empty"),
    Rule("index", "clips", "num_frames", low="min_frames", high="max_frames",
         says="a video has {min_frames} to {max_frames} frames (validate.min_frames, max_frames)"),
    Rule("index", "clips", "duration_sec", low=0, high="max_duration_sec",
         says="a video lasts at most {max_duration_sec:g} s (validate.max_duration_sec)"),
    Rule("index", "clips", "width", low="min_side_px",
         says="width is at least {min_side_px} pixels"),
    Rule("index", "clips", "height", low="min_side_px",
         says="height is at least {min_side_px} pixels"),
    Rule("index", "classes", "videos", low="min_videos_per_class",
         says="a class has at least {min_videos_per_class} usable videos (validate.min_videos_per_class)"),
    Rule("index", "classes", "videos", low=1, severity="empty_classes",
         says="every class of the labels has a usable video (validate.min_videos_per_class: 0 allows it)"),
    Rule("index", "classes", "coverage", low="min_class_coverage",
         says="of a class's videos that lists name at least {min_class_coverage:.1%} are there "
              "(validate.min_class_coverage)"),
    Rule("index", "dataset", "unreadable_share", high="max_unreadable_share",
         says="at most {max_unreadable_share:.1%} of the files that take part are unreadable or cut off "
              "(validate.max_unreadable_share)"),
    Rule("index", "dataset", "classes", low=2,
         says="at least two classes have usable videos"),
    Rule("index", "dataset", "imbalance", high="max_imbalance", severity="warning",
         says="the largest class has at most {max_imbalance} times the videos of the smallest "
              "(validate.max_imbalance)"),
)

SPLIT = (
    Rule("splits", "needed", "videos", low=1,
         says="every split that training or evaluation needs has videos"),
    Rule("splits", "classes", "splits", low="splits",
         says="every class is in each split ({split_names}); where shares decide, another index.split_seed or named "
              "index.val_groups and test_groups do otherwise, else the folders or lists that give the split"),
    Rule("splits", "classes", "gaps", high=0, severity="warning",
         says="every class is also in the splits that nobody needs"),
    Rule("splits", "groups", "splits", high=1,
         says="no group is on two sides of the split"),
    Rule("splits", "clips", "shared", high=0, severity="leakage",
         says="no two clips of different splits are the same frames of the same content (validate.leakage)"),
)

FRAMES = (
    Rule("frames", "kept", "fault", kind="like", pattern="^$",
         says="the frames of every usable clip are there, and can be read"),
    Rule("frames", "kept", "frames_off", low=0, high=0,
         says="a clip has as many frames as the index says"),
    Rule("frames", "kept", "native", kind="like", pattern="^$",
         says="frames are of a video of the size that the index says"),
    Rule("frames", "kept", "short_side_off", low=0, high=0,
         says="frames are as large as frames.short_side_px ({short_side_px}) says"),
    Rule("frames", "folder", "strays", high=0,
         says="there is no file that no row of the index names"),
)

COPIES = (
    Rule("frames", "copies", "nearest_bits", low="copy_beyond_bits", severity="leakage",
         says="no clip looks like one of another split: some frame of three differs in more than {near_duplicate_bits} "
              "of 256 bits (validate.near_duplicate_bits, leakage)"),
)
# fmt: on


def asked(rules: Sequence[Rule], limits: Mapping[str, Any]) -> list[Rule]:
    """The rules that these limits leave, with values in the place of names."""

    def value(of: Any) -> Any:
        return limits[of] if isinstance(of, str) else of

    found = []
    for rule in rules:
        low, high, severity = value(rule.low), value(rule.high), limits.get(rule.severity, rule.severity)
        if severity == "off" or (rule.kind == "between" and low is None and high is None):
            continue
        says = rule.says.format(**limits)
        found.append(replace(rule, low=low, high=high, values=value(rule.values), severity=severity, says=says))
    return found
