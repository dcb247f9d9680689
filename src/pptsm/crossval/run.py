"""Folds in turn, each kept when it is finished: a run that was stopped or killed goes on where it was."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import FrameType
from typing import Any

import paddle
import pandas as pd
from ruamel.yaml import YAML

from pptsm.crossval import child
from pptsm.crossval.folds import SHARES, Fold, of_one_group, require_groups, split_videos
from pptsm.data.clips import clips_of_a_video
from pptsm.data.spec import clip_spec
from pptsm.data.table import SPLITS, load_index, load_labels, save_index, save_labels
from pptsm.frames.store import Kept
from pptsm.params.checking import check_params
from pptsm.params.reading import read_sections
from pptsm.params.schema import Clip, Params
from pptsm.presets.compose import merged
from pptsm.runtime.console import note, one_line, progress
from pptsm.runtime.errors import Stopped, UserError, unusable
from pptsm.runtime.files import atomic_file, remove, sha256_of
from pptsm.training.deciding import LearnsFrom, deciding_parameters, digest_of_kept
from pptsm.training.eta import in_words, remembered
from pptsm.training.provenance import PROVENANCE, Provenance, code_of, listed, read_provenance
from pptsm.training.workload import FORWARD, Videos, measured_macs_per_sec, trainings, work_of
from pptsm.weights.state_dict import WEIGHTS

STATE, LOG = "state", "log.txt"
BE_CHILD = "from pptsm.crossval.child import main; main()"
START_SEC = 5.0  # of a training's process, for its imports
LOOK_SEC = 0.5  # how often the table of the epochs is looked at
LAST_LINES = 5


@dataclass(frozen=True)
class Places:
    """Files of the pipeline, and where finished folds are kept."""

    params: Path
    index: Path
    labels: Path
    frames: Path
    starts: Path  # a folder per role
    kept: Path


@dataclass(frozen=True)
class Asked:
    """What was asked for."""

    folds: int
    seeds: int
    teacher: bool = True  # False: the student learns from the labels alone
    keep_test: bool = False  # whether the index's test videos take no part
    curve: bool = False  # a learning curve: also trained on parts of the training groups


@dataclass(frozen=True)
class CrossValidation:
    """What is done: the recipe, the videos, and the folds in their order."""

    asked: Asked
    places: Places
    sections: dict[Any, Any]  # of params.yaml, as the folds have them but for the seed
    params: Params
    videos: pd.DataFrame  # usable rows of the index that take part
    classes: list[str]
    left_out: int  # videos of the test split that take no part
    folder: Path
    provenance: Provenance

    @property
    def folds(self) -> list[Fold]:
        """The whole ones first: a learning curve is asked for beside them."""
        seeds = [(self.params.seed + more) % 2**32 for more in range(self.asked.seeds)]
        shares = [100, *SHARES[:-1]] if self.asked.curve else [100]
        return [Fold(seed, fold, share) for share in shares for seed in seeds for fold in range(self.asked.folds)]

    @property
    def roles(self) -> list[str]:
        """The stages of each fold."""
        how = self.params.student.distillation
        return ["teacher", "student"] if how.weight > 0 and how.kind == "hinton" else ["student"]

    @property
    def val_share(self) -> float:
        """Of a fold's other groups: none where the recipe takes the last epoch, and validation would only cost."""
        return max(0.05, self.params.index.val_share) if self.params.training.keep == "best" else 0.0

    def place_of(self, fold: Fold) -> Path:
        """The folder of a fold."""
        return self.folder / fold.name

    def videos_of(self, fold: Fold) -> pd.DataFrame:
        """The index of a fold."""
        return split_videos(self.videos, fold, self.asked.folds, self.val_share)


def prepare(asked: Asked, places: Places) -> CrossValidation:
    """Read what the pipeline has made, and see whether it can be cross-validated.

    Raises:
        UserError: a file is missing or damaged, or there are too few groups.
    """
    sections, params = _recipe(asked, places.params)
    table = load_index(places.index)
    classes = load_labels(places.labels, table)
    usable = table[table["split"].isin(SPLITS)]
    held_out = usable["split"] == "test" if asked.keep_test else pd.Series(False, index=usable.index)
    videos = usable[~held_out & ~usable["group"].isin(set(usable.loc[held_out, "group"]))].reset_index(drop=True)
    require_groups(videos, asked.folds, asked.curve)
    if alone := of_one_group(videos):
        named = ", ".join(map(one_line, alone[:5])) + (f" and {len(alone) - 5} more" if len(alone) > 5 else "")
        note(f"crossval: all videos of {named} are of one group each: where it is tested, nothing of it was trained on")
    for role in ("teacher", "student"):
        start = getattr(params, role).start.weights
        if start is not None and not (places.starts / role / WEIGHTS).is_file():
            raise unusable("the starting weights", places.starts / role, f"{role}.start.weights is {start!r}", "start")
    provenance = _provenance(asked, places, params, videos)
    folder = places.kept / provenance.key("crossval")
    if not folder.exists():
        _say_why_anew(places.kept, provenance)
        folder.mkdir(parents=True)
        with atomic_file(folder / PROVENANCE) as partial:
            partial.write_text(json.dumps(vars(provenance), indent=1), encoding="utf-8")
    left_out = len(usable) - len(videos)
    return CrossValidation(asked, places, sections, params, videos, classes, left_out, folder, provenance)


def _recipe(asked: Asked, path: Path) -> tuple[dict[Any, Any], Params]:
    """The sections of params.yaml as the folds have them: no baseline, no idle teacher, no exported files."""
    sections = read_sections(path)
    params = check_params(sections, str(path))
    changes: dict[str, Any] = {"student": {"baseline": False}, "evaluate": {"engine": "paddle", "temperature": False}}
    if not asked.teacher or params.student.distillation.weight == 0:
        changes["student"] |= {"distillation": {"kind": "hinton", "weight": 0.0}}
        changes["teacher"] = {"enabled": False, "start": {"weights": None, "sha256": None}}
    sections = merged(sections, changes)
    return sections, check_params(sections, str(path))


def _provenance(asked: Asked, places: Places, params: Params, videos: pd.DataFrame) -> Provenance:
    """All that decides the result of a fold but its seed, number and share."""
    how = params.student.distillation
    learns_from: LearnsFrom = "labels" if how.weight == 0 else "peer" if how.kind == "mutual" else "teacher"
    values = deciding_parameters(params, {"student": params.student}, learns_from)
    if learns_from != "labels":
        values |= deciding_parameters(params, {"teacher": params.teacher}, "labels")
    values |= {f"clip.{name}": getattr(params.clip, name) for name in Clip.model_fields}
    values |= {"training.min_clips": params.training.min_clips, "evaluate.sampling": params.evaluate.sampling}
    values |= {"--folds": asked.folds, "--no-teacher": not asked.teacher, "--keep-test": asked.keep_test}
    values["index.val_share"] = params.index.val_share if params.training.keep == "best" else None
    values["student.distillation.weak_teacher"] = how.weak_teacher if learns_from == "teacher" else None
    del values["seed"]
    columns = ["id", "label", "group", "first_frame", "num_frames", "sha256"]
    rows = videos[columns].to_csv(index=False).encode("utf-8", "surrogateescape")
    inputs = {"the index": hashlib.sha256(rows).hexdigest(), "the class names": sha256_of(places.labels)}
    for role in ("teacher", "student"):
        file = places.starts / role / WEIGHTS
        inputs[f"the {role}'s starting weights"] = sha256_of(file) if file.is_file() else "random"
    source = params.frames.source
    if source != "video":
        inputs["the kept frames"] = digest_of_kept(Kept(source, places.frames), videos.assign(split="train"))
    code = code_of("teacher", source) | code_of("student", source) | code_of("evaluate", source)
    return Provenance(values, inputs, code)


def _say_why_anew(kept: Path, provenance: Provenance) -> None:
    """Say what differs from the newest cross-validation that is kept, if there is one."""
    found = sorted(kept.glob(f"crossval-*/{PROVENANCE}"), key=lambda path: path.stat().st_mtime)
    before = read_provenance(found[-1].parent) if found else None
    if before is not None:
        note(
            f"crossval: starts anew, because the last one, {found[-1].parent}, differs in "
            f"{listed(provenance.differences(before))}. Its folds stay there until you delete that folder"
        )


def run(what: CrossValidation) -> None:
    """Train and score the folds that are not finished.

    Raises:
        UserError: a training failed; the sentence names the fold and its log.
        Stopped: by Ctrl-C or SIGTERM; the same command goes on.
    """
    folds = what.folds
    to_do = [fold for fold in folds if child.read_result(what.place_of(fold)) is None]
    note(_begun(what, len(folds) - len(to_do)))
    if not to_do:
        return
    epochs = sum(getattr(what.params, role).epochs for role in what.roles)
    note(f"crossval: {len(to_do)} trainings to do, {_expected(what, to_do)}")
    with _Children() as children, progress(None, "crossval", "epochs", total=len(folds) * max(1, epochs)) as bar:
        bar.update((len(folds) - len(to_do)) * max(1, epochs))
        for number, fold in enumerate(to_do, start=len(folds) - len(to_do) + 1):
            bar.set_description_str(f"crossval: {_named(what, fold)}")
            _run_fold(what, fold, children, bar, max(1, epochs))
            note(f"crossval: {number} of {len(folds)}: {_outcome(what, fold)}")


def _begun(what: CrossValidation, done: int) -> str:
    asked, groups = what.asked, what.videos["group"].nunique()
    shares = f" on {', '.join(map(str, SHARES[:-1]))} and 100 % of the training groups" if asked.curve else ""
    out = f"; {what.left_out} videos of the test split's groups take no part (--keep-test)" if asked.keep_test else ""
    already = f"; {done} of {len(what.folds)} are finished already, in {what.folder}" if done else ""
    return (
        f"crossval: {len(what.videos)} videos of {groups} groups and {len(what.classes)} classes, {asked.folds} folds "
        f"by group, {asked.seeds} seeds{shares}{out}{already}"
    )


def _named(what: CrossValidation, fold: Fold) -> str:
    part = f", {fold.share} % of the groups" if what.asked.curve else ""
    return f"seed {fold.seed}, fold {fold.number + 1} of {what.asked.folds}{part}"


def _outcome(what: CrossValidation, fold: Fold) -> str:
    found = child.read_result(what.place_of(fold))
    assert found is not None, "a fold is finished when its process ends well"
    metrics, counted = found[0]["metrics"]["student"], found[0]["counted"]
    reached = ", ".join(f"{sampling} {values['top1']:.1%}" for sampling, values in metrics.items())
    return f"{_named(what, fold)}: {reached} of {counted['test_videos']} videos in {counted['test_groups']} groups"


def _expected(what: CrossValidation, to_do: list[Fold]) -> str:
    """How long the folds will take, in words: by the speed of such trainings before, or else of a step here."""
    paddle.set_device("cpu")  # this process computes nothing else, and a GPU's memory is for the folds
    videos = what.videos_of(Fold(to_do[0].seed, 0))
    sizes = videos["split"].value_counts()
    counts = Videos(int(sizes["train"]), int(sizes.get("val", 0)), len(what.classes))
    works = {role: work_of(role, what.params, counts) for role in trainings(what.params)}
    speeds = {role: rate * work.macs for role, work in works.items() if (rate := remembered(work))}
    how = "as fast as such trainings were before on this machine"
    if not speeds and works:
        speeds, how = {"": measured_macs_per_sec(what.params, len(what.classes))}, "by the time of one step"
    spec = clip_spec(what.params.clip, what.params.student.network.num_segments, what.params.sampling)
    views = sum(prod(spec.views[sampling]) for sampling in what.params.evaluate.samplings)
    seconds = 0.0
    for role, work in works.items():
        clips = work.clips + int(sizes["test"]) * views * FORWARD
        seconds += clips * work.macs / speeds.get(role, max(speeds.values())) + START_SEC
    return f"{in_words(seconds * len(to_do))} in all, {how}"


def _run_fold(what: CrossValidation, fold: Fold, children: "_Children", bar: Any, epochs: int) -> None:
    folder = what.place_of(fold)
    videos = what.videos_of(fold)
    with atomic_file(folder / child.INDEX) as partial:
        save_index(videos, partial)
    with atomic_file(folder / child.LABELS) as partial:
        save_labels(what.classes, partial)
    with atomic_file(folder / child.PARAMS) as partial:
        _write_params(what, fold, videos, partial)
    shown = bar.n

    def look() -> None:
        done = sum(_rows(child.history(folder, role)) for role in what.roles)
        bar.update(shown + min(done, epochs) - bar.n)

    parts = [*what.roles, "score"]
    together = what.params.compute.devices == 1  # then no ranks join, and one process can do all
    for call in [parts] if together else [[part] for part in parts]:
        if call[0] != "score" and (folder / call[0] / "card.json").exists() and not together:
            continue
        children.run(what, fold, call, look)
    bar.update(shown + epochs - bar.n)
    for name in ("teacher", "student", STATE):  # weights are of no use to anybody: what was found is kept
        remove(folder / name)


def _rows(path: Path) -> int:
    try:
        return max(0, len(path.read_text(encoding="utf-8").splitlines()) - 1)
    except OSError:
        return 0


def _write_params(what: CrossValidation, fold: Fold, videos: pd.DataFrame, path: Path) -> None:
    """The recipe with the fold's seed. On fewer videos as many steps are made: more clips of each."""
    recipe, changes = what.params.training, {"seed": fold.seed}
    if fold.share < 100:
        whole = what.videos_of(Fold(fold.seed, fold.number))
        count, fewer = (int((table["split"] == "train").sum()) for table in (whole, videos))
        epochs = what.params.student.epochs
        drawn = clips_of_a_video(recipe, count, epochs)
        changes["training"] = {"clips_per_video": max(1, round(drawn * count / fewer))}  # type: ignore[assignment]
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump(merged(what.sections, changes), file)


class _Children:
    """The process that works on a fold: it gets the signals that this one gets, and ends with it."""

    def __init__(self) -> None:
        self.asked = 0  # the number of the signal that asked to stop; 0: none
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "_Children":
        """Signals are passed on from now on."""
        self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        """As it was before; nothing is left running."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _ask(self, number: int, _: FrameType | None) -> None:
        self.asked = number
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def run(self, what: CrossValidation, fold: Fold, parts: list[str], look: Any) -> None:
        """Work on a fold until it is done; `look` is called meanwhile.

        Raises:
            UserError: it failed.
            Stopped: a signal asked for it.
        """
        folder, places = what.place_of(fold), what.places
        remove(folder / child.ERROR)
        words = [str(os.getpid()), str(folder), str(places.frames), str(places.starts), *parts]
        environment = os.environ | {"PPTSM_STATE": str((folder / STATE).absolute())}
        with (folder / LOG).open("ab") as log:
            if not self.asked:
                self.process = subprocess.Popen(
                    [sys.executable, "-c", BE_CHILD, *words],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    process_group=0,  # Ctrl-C of a terminal reaches this process alone, which passes it on once
                )
                while self.process.poll() is None:
                    time.sleep(LOOK_SEC)
                    look()
        if self.asked:
            raise Stopped(
                f"crossval: stopped by {signal.Signals(self.asked).name} in {_named(what, fold)}; finished folds are "
                f"kept in {what.folder}, and the same command goes on from there.",
                self.asked,
            )
        assert self.process is not None, "it was started"
        if self.process.returncode:
            raise UserError(_failure(what, fold, self.process.returncode))


def _failure(what: CrossValidation, fold: Fold, code: int) -> str:
    folder = what.place_of(fold)
    if (folder / child.ERROR).is_file():
        reason = (folder / child.ERROR).read_text(encoding="utf-8", errors="replace")
    else:
        last = (folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        reason = f"its process was {how}. Its last lines:\n" + "\n".join(f"  {line}" for line in last)
    return (
        f"crossval: {_named(what, fold)}: {reason}\nIts log is {folder / LOG}. Finished folds are kept: the same "
        "command goes on from there."
    )
