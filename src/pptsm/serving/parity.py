"""Served accuracy: whether the exported file, called as its users call it, answers as it did in the evaluation.

Nothing else compares the two ways of a video: evaluation reads what the stages before prepared (archives, counted
frames), `pptsm predict` opens the original file, in a process of its own.
"""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pptsm.data.table import spread_over_classes
from pptsm.evaluation.tables import TOP
from pptsm.params.choices import Sampling
from pptsm.params.schema import Params
from pptsm.runtime.console import note, progress
from pptsm.runtime.cores import cores
from pptsm.runtime.errors import UserError
from pptsm.serving.decode import decoders
from pptsm.serving.predictor import Predictor
from pptsm.video.image_sequence import source_path
from pptsm.video.types import FrameRange

if TYPE_CHECKING:
    from pptsm.evaluation.run import Evaluated

SHOWN = 5  # videos that a failure names
# Answers of the evaluation are as good as equal where the second has at least this share of the first's probability.
TIE = 0.95


@dataclass(frozen=True)
class Served:
    """What `pptsm predict` answers of videos that were evaluated too."""

    # one row per video: id, label, top1 and score1 (evaluation), served and score, or the error; and tied: whether the
    # evaluation held what was served as good as equal to its own answer
    answers: pd.DataFrame

    @property
    def top1(self) -> float:
        """Share of the videos that were recognised, 0 to 1; one without an answer was not."""
        return float((self.answers["served"] == self.answers["label"]).mean())

    @property
    def tied(self) -> int:
        """Videos with another answer than evaluation gave that are not counted as different: there it was a tie."""
        return int((self.answers["tied"] & (self.answers["served"] != self.answers["top1"])).sum())

    @property
    def agreement(self) -> float:
        """Share of the videos with the answer that evaluation gave, 0 to 1."""
        return float((self.answers["served"] == self.answers["top1"]).mean())

    def values(self) -> dict[str, object]:
        """What metrics.json has of it, rounded for reading."""
        return {
            "served_videos": len(self.answers),
            "served_top1": round(self.top1, 6),
            "served_agreement": round(self.agreement, 6),
        }

    def rule(self, least_agreement: float) -> dict[str, object]:
        """What metrics.json has of the gate (`require`): what it asks for, and how many videos its ties let through."""
        return {"served_least": least_agreement, "served_tied": self.tied, "served_tie_share": TIE}

    def in_words(self) -> str:
        """The line that the evaluation prints of it."""
        return (
            f"served from {len(self.answers)} original files: top-1 {self.top1:.2%}, the evaluation's answer for "
            f"{self.agreement:.2%}"
        )

    def require_answers(self) -> None:
        """Refuse a served file that answered nothing, however little its agreement matters.

        Raises:
            UserError: with what it said of the first video.
        """
        if not self.answers["served"].notna().any():
            said = f" It says of the first: {self.answers['error'].iloc[0]}." if len(self.answers) else ""
            raise UserError(
                f"the exported file, asked through `pptsm predict`, answered none of {len(self.answers)} original "
                f"videos, so nothing is known of what is served.{said} See that the videos below index.root are those "
                "of the index."
            )

    def require(self, least_agreement: float) -> None:
        """The gate; one video may always differ, and so may those where the evaluation had no answer but a tie.

        An archive's JPEGs decide a tie: a network without the shift gives both classes of a pair the same probability.

        Raises:
            UserError: nothing was answered, whatever the share asked for; or naming the videos that differ: those
                without an answer first, then those where both were surest.
        """
        self.require_answers()
        different = self.answers[(self.answers["served"] != self.answers["top1"]) & ~self.answers["tied"]]
        if len(different) <= 1 or 1 - len(different) / len(self.answers) >= least_agreement:
            return
        sureness = different[["score1", "score"]].min(axis=1, skipna=False)
        order = sureness.sort_values(ascending=False, kind="stable", na_position="first").index[:SHOWN]
        worst = "\n".join(_in_words(row) for row in different.loc[order].to_dict("records"))
        raise UserError(
            f"the exported file, asked through `pptsm predict` from the original files, answers {len(different)} of "
            f"{len(self.answers)} videos differently from the evaluation (evaluate.served_agreement: at least "
            f"{least_agreement:.1%} must be alike). The worst:\n{worst}\nNothing was written. If "
            "these videos changed since the index, run `dvc repro -f -s index` and then `dvc repro`; if their "
            "probabilities are all low, the network hardly knows them: train it further, or lower "
            "evaluate.served_agreement."
        )


def _in_words(row: dict[Hashable, Any]) -> str:
    answer = row["error"] or f"{row['served']} ({row['score']:.1%})"
    return f"  {row['id']}: evaluated {row['top1']} ({row['score1']:.1%}), served {answer}"


def serve(
    model: Path,
    root: Path,
    videos: pd.DataFrame,
    predictions: pd.DataFrame,
    sampling: Sampling,
    frame_name: str | None = None,
    temperature: float = 1.0,
) -> Served:
    """Ask the exported file about original videos.

    Args:
        model: the ONNX file.
        root: folder of the videos.
        videos: rows of the index.
        predictions: evaluation's rows of them (`tables.prediction_rows`), in any order.
        sampling: the one of `predictions`.
        frame_name: of the frames, where a video is a folder of them.
        temperature: by which the probabilities of `predictions` were softened: a tie is one without it.
    """
    predictions = predictions.set_index("id").loc[videos["id"]].reset_index()
    files = [source_path(root, path, frame_name) for path in videos["path"]]
    part_of_file = videos["path"] != videos["id"]
    spans = zip(videos["first_frame"], videos["num_frames"], strict=True)
    parts = [FrameRange(*map(int, span)) if cut else None for span, cut in zip(spans, part_of_file, strict=True)]
    predictor = Predictor(model, sampling, "onnxruntime")
    with decoders(cores()) as processes:
        found = predictor.answers(files, processes, 1, parts=parts)
        rows = [
            {"served": answer.top[0].label, "score": answer.top[0].score, "error": ""}
            if answer.error is None
            else {"served": None, "score": math.nan, "error": answer.error}
            for answer in progress(found, f"served, {sampling}", "videos", total=len(files))
        ]
    columns = predictions[["id", "label", "top1", "score1"]].reset_index(drop=True)
    answers = pd.concat([columns, pd.DataFrame(rows)], axis=1)
    evaluated = predictions.to_dict("records")
    tied = [_is_tie(row, served, temperature) for row, served in zip(evaluated, answers["served"], strict=True)]
    return Served(answers.assign(tied=tied))


def check_served(model: Path, videos: pd.DataFrame, evaluated: "Evaluated", params: Params) -> dict[str, object]:
    """Ask the exported student about the original videos, as `pptsm predict` does, and compare with the evaluation.

    Args:
        model: the ONNX file.
        videos: rows of the index that were evaluated; `evaluate.served_videos` says how many are asked about.
        evaluated: what the evaluation found.
        params: all parameters.

    Returns:
        What metrics.json has of it.

    Raises:
        UserError: it answered nothing, or too many answers differ (`Served.require`).
    """
    note("evaluate: asking the exported file about the original videos, as `pptsm predict` does")
    settings, sampling = params.evaluate, params.sampling
    asked = spread_over_classes(videos, settings.served_videos or len(videos))
    asked = videos[videos["id"].isin(asked["id"])]
    root, predictions = Path(params.index.root), evaluated.predictions_of("student", sampling)
    temperature = (evaluated.calibration.get("calibration") or {}).get("temperature") or 1.0
    served = serve(model, root, asked, predictions, sampling, params.index.frame_name, temperature)
    note(f"evaluate: {served.in_words()}")
    served.require_answers()
    above = evaluated.metrics["student"][sampling]["above_chance"]
    if above is not False:  # else the last digit decides, and the report says why; of one group (None) it is asked
        served.require(settings.served_agreement)
    return served.values() | served.rule(settings.served_agreement)


def _is_tie(evaluated: dict[Hashable, Any], served: str | None, temperature: float = 1.0) -> bool:
    """Whether evaluation gave what was served nearly the probability of its own answer."""
    places = [place for place in range(1, TOP + 1) if served is not None and evaluated.get(f"top{place}") == served]
    least = TIE ** (1 / temperature)  # the ratio of two softened probabilities is a root of the ratio without
    return any(float(evaluated[f"score{place}"]) >= least * float(evaluated["score1"]) for place in places)
