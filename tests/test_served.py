"""Served accuracy: the exported file through the code of `pptsm predict`, against what evaluation answered."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import moving_square, pptsm
from helpers.exported import LABELS, exported
from pptsm.runtime.errors import UserError
from pptsm.serving.parity import Served, _is_tie, serve
from pptsm.serving.predictor import Predictor
from pptsm.video.encode import write_video
from pptsm.video.types import FrameRange


def answers(right: int, different: int, failed: int = 0) -> Served:
    """So many videos of class a, evaluated as a; the different ones are served as b, the surer the later."""
    count = right + different + failed
    served = ["a"] * right + ["b"] * different + [None] * failed
    scores = [0.9] * right + [0.5 + 0.01 * number for number in range(different)] + [float("nan")] * failed
    errors = [""] * (right + different) + ["it took longer than 600 s"] * failed
    table = pd.DataFrame({"id": [f"{number}.mp4" for number in range(count)], "label": "a", "top1": "a"})
    return Served(table.assign(score1=0.8, served=served, score=scores, error=errors, tied=False))


@pytest.mark.parametrize(("right", "different"), [(10, 0), (1, 1), (9, 1), (198, 2), (0, 1)])
def test_one_video_may_differ_or_one_in_a_hundred(right: int, different: int) -> None:
    """Nothing is raised."""
    answers(right, different).require(0.99)


@pytest.mark.parametrize(("right", "different", "failed"), [(8, 2, 0), (197, 3, 0), (8, 1, 1)])
def test_more_are_refused(right: int, different: int, failed: int) -> None:
    """A video without an answer is another answer."""
    with pytest.raises(UserError, match=f"answers {different + failed} of {right + different + failed} videos"):
        answers(right, different, failed).require(0.99)
    answers(right, different, failed).require(0)


@pytest.mark.parametrize("failed", [0, 1, 2])
def test_a_file_that_answers_nothing_is_refused_whatever_is_asked_for(failed: int) -> None:
    """Also where no video was asked about, and where one could differ."""
    with pytest.raises(UserError, match=f"answered none of {failed} original videos"):
        answers(0, 0, failed).require(0)


def test_the_worst_are_named_with_both_answers_and_probabilities() -> None:
    """Those without an answer first, then the surest; five in all."""
    with pytest.raises(UserError) as refused:
        answers(10, 6, 1).require(0.99)
    lines = [line.strip() for line in str(refused.value).splitlines() if line.startswith("  ")]
    assert lines[0] == "16.mp4: evaluated a (80.0%), served it took longer than 600 s"
    assert lines[1] == "15.mp4: evaluated a (80.0%), served b (55.0%)"
    assert [line.split(".")[0] for line in lines] == ["16", "15", "14", "13", "12"]


def test_what_the_evaluation_held_equal_may_differ() -> None:
    """The gate passes over ties; the shares in metrics.json count them."""
    served = answers(6, 4)
    served.answers.loc[6:8, "tied"] = True
    served.require(0.99)
    assert served.agreement == 0.6
    served.answers.loc[8, "tied"] = False
    with pytest.raises(UserError, match="answers 2 of 10 videos"):
        served.require(0.99)


@pytest.mark.parametrize(
    ("served", "score2", "tied"), [("b", 0.46, True), ("b", 0.3, False), ("c", 0.46, False), (None, 0.46, False)]
)
def test_a_tie_is_what_evaluation_gave_nearly_the_same_probability(served: str, score2: float, tied: bool) -> None:
    """0.47 for its own answer: 0.46 is as good, 0.3 is not, and what it never named is none."""
    row = {"id": "x", "label": "a", "top1": "a", "score1": 0.47, "top2": "b", "score2": score2}
    assert _is_tie(row, served) is tied


def test_shares_count_videos() -> None:
    """Recognised: served as the label; alike: served as evaluated; neither is rounded in between."""
    served = answers(5, 2, 1)
    assert served.values() == {"served_videos": 8, "served_top1": 0.625, "served_agreement": 0.625}
    served.answers["label"] = "b"
    assert (served.top1, served.agreement) == (0.25, 0.625)


def test_the_rule_of_the_gate_goes_with_the_figures() -> None:
    """What was asked for, and the answers that differ where evaluation had a tie."""
    served = answers(5, 2, 1)
    differs = served.answers["served"] != served.answers["top1"]
    served.answers["tied"] = True
    assert served.rule(0.99) == {"served_least": 0.99, "served_tied": int(differs.sum()), "served_tie_share": 0.95}
    assert differs.sum() == 3


@pytest.mark.parametrize("sampling", ["uniform", "dense"])
def test_what_is_asked_is_the_predictor_with_the_original_files(tmp_path: Path, sampling: str) -> None:
    """Its answers in the given order, with the sampling of the evaluation; a file that is text has an error."""
    model = exported(tmp_path)
    (tmp_path / "videos").mkdir()
    for number in range(4):
        write_video(tmp_path / "videos" / f"{number}.mp4", moving_square(9 + number, seed=9 * number), 10, "h264")
    (tmp_path / "videos" / "2.mp4").write_text("text")
    ids = ["3.mp4", "1.mp4", "2.mp4", "0.mp4"]
    rows = pd.DataFrame({"id": ids, "label": LABELS[0], "top1": LABELS[1], "score1": 0.5}, index=[7, 5, 3, 1])
    videos = pd.DataFrame({"id": ids, "path": ids, "first_frame": 0, "num_frames": 9})
    found = serve(model, tmp_path / "videos", videos, rows, sampling).answers  # type: ignore[arg-type]
    assert found["id"].tolist() == ids
    predictor = Predictor(model, sampling)  # type: ignore[arg-type]
    for row in found.drop(2).to_dict("records"):
        best = predictor.predict(tmp_path / "videos" / row["id"], 1)[0]
        assert (row["served"], row["score"]) == (best.label, best.score)
    assert "not a readable video" in found["error"][2]
    shutil.rmtree(tmp_path / "videos")


def test_a_part_of_a_file_is_asked_for_by_seconds(tmp_path: Path) -> None:
    """It is answered as the clip that an annotation cuts out, and otherwise than the whole file."""
    model = exported(tmp_path)
    video = tmp_path / "long.mp4"
    frames = np.concatenate([moving_square(30), moving_square(30, seed=150)[::-1]])
    write_video(video, frames, 10, "h264")
    done = pptsm("predict", video, "--model", model, "--json", "--start", 3, "--end", 5.5, cwd=tmp_path)
    said = [(guess["label"], guess["score"]) for guess in json.loads(done.stdout)[0]["top"]]
    predictor = Predictor(model)
    assert said == [(guess.label, guess.score) for guess in predictor.predict(video, 5, FrameRange(30, 25))]
    assert said != [(guess.label, guess.score) for guess in predictor.predict(video, 5)]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--start", 3], "--start (3.0) and --end (None) go together"),
        (["--start", 3, "--end", 3], "the start first"),
        (["--start", 3, "--end", 9], "it lasts 6.00 s, so nothing is at 3 to 9 s"),
    ],
)
def test_a_part_that_is_none_has_a_sentence(tmp_path: Path, options: list[object], sentence: str) -> None:
    """And the exit code says so."""
    model = exported(tmp_path)
    write_video(tmp_path / "long.mp4", moving_square(60), 10, "h264")
    done = pptsm("predict", "long.mp4", "--model", model, *options, cwd=tmp_path, check=False)
    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
