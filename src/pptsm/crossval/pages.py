"""The files of reports/crossval: the table of the folds, the figures as JSON, and the page."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pptsm.crossval import child, summary
from pptsm.data.table import write_csv
from pptsm.evaluation.signs import Evidence, Sign, pairs_not_told_apart, signs
from pptsm.report import clips, figures
from pptsm.report.page import render, style
from pptsm.runtime.files import atomic_file

if TYPE_CHECKING:
    from pptsm.crossval.run import CrossValidation

SHOWN = 40  # labels to look at, on the page


def write(what: "CrossValidation", out: Path) -> dict[str, Any] | None:
    """Write what the finished folds say; None, and no file, where none is finished.

    Args:
        what: the cross-validation.
        out: the folder of the files, each of which is replaced whole.

    Returns:
        The content of crossval.json.
    """
    read = [(fold, child.read_result(what.place_of(fold))) for fold in what.folds]
    finished = [(fold, *found) for fold, found in read if found is not None]
    if not any(fold.share == 100 for fold, _, _ in finished):
        return None
    sampling, classes = what.params.sampling, what.classes
    groups = dict(zip(what.videos["id"], what.videos["group"], strict=True))
    rows = summary.fold_rows(finished)
    roles = rows[["role", "sampling"]].drop_duplicates().itertuples(index=False)
    by_role: dict[str, dict[str, Any]] = {}
    for role, of in roles:
        by_role.setdefault(role, {})[of] = summary.figures(summary.pooled(finished, groups, role, of), classes)
    student = summary.pooled(finished, groups, "student", sampling)
    doubtful = summary.doubtful(student)
    found: dict[str, Any] = {
        "videos": len(what.videos),
        "groups": int(what.videos["group"].nunique()),
        "classes": classes,
        "folds": what.asked.folds,
        "seeds": sorted({fold.seed for fold in what.folds}),
        "teacher": what.roles[0] == "teacher",
        "left_out": what.left_out,
        "folds_in_all": len(what.folds),
        "unfinished": len(what.folds) - len(finished),
        "sampling": sampling,
        "summary": by_role,
        "curve": summary.curve(finished, groups, sampling, classes),
        "agreement": summary.agreement(student),
        "doubtful": len(doubtful),
        "cautions": list(summary.CAUTIONS),
        "decided_by": vars(what.provenance),
    }
    found["signs"] = [asdict(sign) for sign in _signs(what, found, student, finished)]
    with atomic_file(out / "crossval.csv") as partial:
        write_csv(rows, partial, float_format="%.6g")
    with atomic_file(out / "doubtful.csv") as partial:
        write_csv(doubtful, partial, float_format="%.6g")
    with atomic_file(out / "crossval.json") as partial:
        partial.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    with atomic_file(out / "index.html") as partial:
        partial.write_text(render("crossval.html", _values(what, found, rows, student)), encoding="utf-8")
    return found


def _signs(
    what: "CrossValidation", found: dict[str, Any], student: pd.DataFrame, finished: summary.Finished
) -> list[Sign]:
    values = found["summary"]["student"][found["sampling"]]
    whole = [result for fold, result, _ in finished if fold.share == 100]
    seeds, section = len(values["by_seed"]), what.params.student
    several = seeds > 1
    return signs(
        Evidence(
            top1=values["top1"],
            low=values["low"] if values["groups"] > 1 else None,
            high=values["high"],
            low_by_video=values["low_by_video"],
            chance=values["chance"],
            videos=values["videos"],
            groups=values["groups"],
            train_top1=summary.train_top1(whole),
            rising=None,
            random_start=section.start.weights is None,
            segments=section.network.num_segments,
            crop_px=what.params.clip.test_crop_px,
            curve=[(row["share"], row["train_groups"], row["top1"]) for row in found["curve"]],
            agreement=found["agreement"],
            agreement_by_chance=summary.by_chance(student),
            doubtful=found["doubtful"] if several else None,
            pairs=pairs_not_told_apart(values["confusion"], found["classes"], seeds),
        )
    )


def _values(
    what: "CrossValidation", found: dict[str, Any], rows: pd.DataFrame, student: pd.DataFrame
) -> dict[str, Any]:
    suspects = pd.DataFrame(columns=["label", "answer"])
    if "loss" in student:  # folds of an earlier version were scored without it
        suspects = clips.suspects(student).head(SHOWN)
    values = found["summary"]["student"][found["sampling"]]
    per_class = [
        {"class": name, "videos": of["videos"], "accuracy": of["top1"]} for name, of in values["classes"].items()
    ]
    return {
        "title": what.params.report.title,
        "style": style(),
        "found": found,
        "rows": rows.to_dict("records"),
        "suspects": suspects[suspects["answer"] != suspects["label"]].to_dict("records"),
        "curve": figures.learning_curve(pd.DataFrame(found["curve"])) if found["curve"] else "",
        "bars": figures.class_bars(pd.DataFrame(per_class)),
        "confusion": figures.confusion(student["label"].tolist(), student["top1"].tolist()),
    }


def as_text(found: dict[str, Any], out: Path) -> str:
    """What a person reads at the end."""
    lines = []
    for role, samplings in found["summary"].items():
        for sampling, value in samplings.items():
            below = "" if value["low"] > value["chance"] else ", NOT ABOVE CHANCE"
            lines.append(
                f"{role}, {sampling}: {value['top1']:.1%} of {value['videos']} videos in {value['groups']} groups (95 "
                f"% interval {value['low']:.1%} to {value['high']:.1%}{below}; chance {value['chance']:.1%}; by seed: "
                f"{', '.join(f'{mean:.1%}' for mean in value['by_seed'].values())})"
            )
    lines += [
        f"student on {row['share']} % of the training groups ({row['train_groups']:.1f}): {row['top1']:.1%}"
        for row in found["curve"]
    ]
    lines += [f"{sign['kind']}: {sign['text']}" for sign in found["signs"]]
    lines.append(
        "Settings must not be chosen by these figures and then reported with them (--keep-test; docs/crossval.md)."
    )
    return "\n".join([*lines, f"The page: {out / 'index.html'}"])
