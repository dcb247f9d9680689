"""The report: from a folder of videos with hard class names to the page, and what the page says of a bad result."""

import base64
import contextlib
import csv
import html
import io
import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from flows.artifacts import accuracy_rows
from matplotlib.figure import Figure
from PIL import Image

import report_page
from conftest import TINY, moving_square, pptsm, spec_with, write_params
from pptsm.data.clips import FrameSource, evaluation_indices
from pptsm.data.predictions import of_network, read_predictions, surest_mistakes
from pptsm.data.table import ClipRef, load_labels, save_labels
from pptsm.evaluation.metrics import softmax
from pptsm.evaluation.tables import in_words, prediction_rows
from pptsm.params.checking import load_params
from pptsm.params.schema import Params
from pptsm.presets.compose import PRESETS, Choice, compose
from pptsm.report import confusion, figures
from pptsm.report.advice import sampling_gap, verdicts
from pptsm.report.clips import CELLS, pictures, suspects
from pptsm.report.gather import Sources, gather
from pptsm.report.page import render
from pptsm.report.settings import Setting, settings
from pptsm.report.why import of_time, with_reasons
from pptsm.runtime.errors import UserError
from pptsm.serving.metadata import ModelMetadata
from pptsm.stages import (
    also,
    baseline,
    evaluate,
    evaluate_also,
    explanations,
    export,
    frames,
    index,
    quantize,
    report,
    start,
    student,
    teacher,
    validate,
    validate_frames,
)
from pptsm.video.encode import write_video
from pptsm.video.types import Frames

NAMES = [
    "001", "1", "nan", "None", "$x$ and $y$", "$\\bad{$", "$HOME", "<b>bold &amp;", "line\u2028separator",
    "next\x85line", "quote \" and '", "a, comma", "division\u2215slash", "two  spaces", "trail.", "pipe | pipe",
    "long" + " long" * 39, "שלום עולם", "走る",
]  # fmt: skip
SETTINGS = {
    "index": {"root": "videos", "val_groups": ["g1"], "test_groups": ["g2", "g3"]},
    "clip": {"dense_clips": 3},
    "training": {"warmup_epochs": 0},
    "teacher": {"enabled": False, "epochs": 0},
    "student": {"epochs": 1, "distillation": {"weight": 0.0}},
    "validate": {"min_videos_per_class": 1},
    "report": {"wrong_clips": 3},
    "evaluate": {"also": ["<b>$x$.onnx", "./student"]},
}
AT_CHANCE = {"split": "val", "videos": 19, "groups": 19, "top1": 0.1, "low": 0.02, "guessing": 1 / 19} | {
    "largest_class": 1 / 19, "above_chance": False, "train_top1": 0.2, "low_by_video": 0.02, "compared": 1,
    "learning": {"train_top1": 0.2, "epochs": 1, "clips_per_video": 1, "floor_decides": False, "rising": None,
                 "random_start": True, "mirrored": False, "videos": 38, "groups": 2, "segments": 4, "crop_px": 32},
}  # fmt: skip
CARDS = {"student": {"role": "student", "epochs": 1, "distilled": False, "verdict": AT_CHANCE}}
VALUES = {  # a row of metrics.json
    "videos": 60, "groups": 6, "classes": 2, "top1": 0.56, "top1_low": 0.43, "top1_high": 0.68, "top5": 1.0,
    "top1_low_by_group": 0.31, "top1_high_by_group": 0.75, "mean_class_accuracy": 0.5, "loss": 0.7,
    "macro_f1": 0.5, "calibration_error": 0.1,
    "chance": 0.525, "largest_class": 0.525, "above_chance": False,
    "served_videos": 60, "served_top1": 0.55, "served_agreement": 0.983333, "compared": 1, "served_tied": 1,
    "served_tie_share": 0.95, "served_least": 0.99,
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the real stages have run over two test videos a class, its student one epoch old."""
    folder = tmp_path_factory.mktemp("names")
    table, labels, archives, checked = map(Path, ("index.csv", "labels.txt", "frames", "result.json"))
    trained, started, untrained = Path("student"), Path("start"), Path("teacher")
    with contextlib.chdir(folder):
        for number, name in enumerate(NAMES):
            (folder / "videos" / name).mkdir(parents=True)
            for group in range(4):
                frames_THWC = moving_square(20, seed=4 * number + group)
                write_video(folder / "videos" / name / f"g{group}_x.mp4", frames_THWC, 10, "h264")
        write_params(Path("params.yaml"), TINY, SETTINGS)
        index.run(table, labels)
        validate.run(table, labels, checked, Path("docs"))
        frames.run(table, checked, archives)
        validate_frames.run(table, archives, Path("frames_checked"), Path("frames.json"), Path("frames_docs"))
        start.run("student", started)
        teacher.run(table, labels, archives, started, untrained, Path("teacher.csv"))
        student.run(table, labels, archives, started, untrained, started, trained, Path("student.csv"))
        card = json.loads((trained / "card.json").read_text())
        (trained / "card.json").write_text(json.dumps(card | {"verdict": AT_CHANCE}))
        networks = untrained, trained, Path("baseline")
        baseline.run(table, labels, archives, start, networks[-1], Path("baseline.csv"))
        export.run(table, labels, archives, *networks, Path("export"), Path("export.json"))
        evaluate.run(table, labels, archives, *networks, Path("export"), Path("evaluation"))
        quantize.run(table, labels, archives, Path("export"), Path("quantized"), Path("runtimes.json"))
        shutil.copy("export/model.onnx", "<b>$x$.onnx")
        also.run(*networks, Path("export"), Path("found"))
        evaluate_also.run(table, labels, archives, Path("found"), Path("scored"))
        explanations.run(table, archives, Path("export"), Path("evaluation"), Path("explanations.json"))
        report.run(
            table, labels, archives, *networks, checked, Path("frames.json"),
            Path("evaluation"), Path("export.json"), Path("export/model.onnx"),
            Path("teacher.csv"), Path("student.csv"), Path("baseline.csv"), Path("runtimes.json"),
            Path("explanations.json"), Path("accuracy.md"), Path("index.html"), Path("confusion.csv"),
            Path("networks.csv"), Path("scored"),
        )  # fmt: skip
    return folder


def sources_of(run: Path, evaluation: Path | None = None) -> Sources:
    histories = {role: run / f"{role}.csv" for role in ("teacher", "baseline", "student")}
    files = [run / name for name in ("params.yaml", "index.csv", "labels.txt")]
    networks = [run / "teacher", run / "baseline", run / "student"]
    outcome = evaluation or run / "evaluation"
    exported = run / "export.json", run / "export/model.onnx"
    return Sources(
        *files, networks, run / "result.json", run / "frames.json", outcome, *exported, histories,
        run / "runtimes.json", run / "explanations.json", None if evaluation else run / "scored",
    )  # fmt: skip


def gathered(run: Path, params: Params | None = None, **metrics: dict[str, Any]) -> dict[str, Any]:
    """What the report shows of the run, with other figures of some roles in place of its own."""
    evaluation = run / "evaluation"
    if metrics:
        evaluation = run / "changed"
        evaluation.mkdir(exist_ok=True)
        for name in ("predictions.csv", "classes.csv"):
            lines = (run / "evaluation" / name).read_bytes().splitlines(keepends=True)
            (evaluation / name).write_bytes(b"".join(lines[:4]))  # small pictures: it is about the tables
        found = json.loads((run / "evaluation" / "metrics.json").read_text())
        (evaluation / "metrics.json").write_text(json.dumps(found | metrics))
        shutil.copy(run / "evaluation/calibration.json", evaluation)
    params = params or load_params(run / "params.yaml")
    return gather(params, sources_of(run, evaluation if metrics else None), FrameSource("archive", run / "frames"))


def both(**changes: Any) -> dict[str, Any]:
    """A role's figures, the same in both samplings."""
    return dict.fromkeys(("uniform", "dense"), VALUES | changes)


def column(file: Path, name: str) -> list[str]:
    """A column as Python's own reader has it."""
    with file.open(encoding="utf-8", newline="") as opened:
        return [row[name] for row in csv.DictReader(opened)]


# ---- class names ----------------------------------------------------------------------------------------------------


def test_class_names_of_any_letters_go_through_all_stages(run: Path) -> None:
    """From folder names to labels, tables, DVC's confusion plot and the metadata of the ONNX file, letter by letter."""
    assert load_labels(run / "labels.txt") == sorted(NAMES)
    assert column(run / "evaluation/classes.csv", "class") == 2 * sorted(NAMES)
    assert set(column(run / "evaluation/confusion.csv", "actual")) == set(NAMES)
    session = onnxruntime.InferenceSession(run / "export/model.onnx")
    metadata = ModelMetadata.from_properties(session.get_modelmeta().custom_metadata_map, "x")
    assert metadata.labels == sorted(NAMES)


def test_all_mistakes_are_listed_with_the_names_they_have(run: Path) -> None:
    """The page's table is predictions.csv's wrong rows, surest first; "001" and "1" are two classes."""
    with (run / "evaluation/predictions.csv").open(encoding="utf-8", newline="") as opened:
        rows = [row for row in csv.DictReader(opened) if row["sampling"] == "uniform"]
    wrong = sorted(
        (row for row in rows if row["label"] != row["top1"]), key=lambda row: (-float(row["score1"]), row["id"])
    )
    assert len(wrong) > 3  # more than have a strip
    page = render("index.html", gathered(run))
    name = '<bdi class="name">(.*?)</bdi>'
    listed = re.findall(
        f"<tr><td><code>{name}</code></td><td>{name}</td><td>{name}</td>",
        page.partition("the surest first</summary>")[2],
        flags=re.DOTALL,
    )
    assert [tuple(map(html.unescape, cells)) for cells in listed] == [(w["id"], w["label"], w["top1"]) for w in wrong]
    section = page[page.index('id="wrong"') : page.index("Right, but nearly not")]
    assert section.count('<img src="data:image/jpeg') == 2 * 3  # what was given, and the whole frames


def test_class_names_are_drawn_as_text(run: Path) -> None:
    """No formula, no mark-up, every class in the picture, long ones without their middle, and whole in the tables."""
    values = gathered(run)
    drawn = {html.unescape(text) for text in re.findall(r"<text [^>]*>(.*?)</text>", values["bars"], flags=re.DOTALL)}
    short = {name if len(name) < 100 else "long long long…long long long" for name in NAMES}
    assert {text.strip() for text in drawn} >= {name.strip() for name in short}
    page = render("index.html", values).partition('<h2 id="confusion">')[2]
    for head in ("row", "col"):
        found = re.findall(f'<th scope="{head}"><bdi class="name">(.*?)</bdi></th>', page, flags=re.DOTALL)
        assert [html.unescape(name) for name in found] == sorted(NAMES)


def test_classes_that_are_all_numbers_stay_words(run: Path) -> None:
    """Nothing guesses a type: "001", "01" and "1" are three classes in pictures and mistakes."""
    numbers = dict(zip(sorted(NAMES), ["001", "01", "1", *map(str, range(2, 18))], strict=True))
    folder = run / "numbers"
    folder.mkdir()
    for name in ("metrics.json", "calibration.json"):
        shutil.copy(run / "evaluation" / name, folder)
    names = {"predictions.csv": ["label", *(f"top{place}" for place in range(1, 6))], "classes.csv": ["class"]}
    for name, columns in names.items():
        table = pd.read_csv(run / "evaluation" / name, dtype="str", keep_default_na=False)
        table[columns] = table[columns].replace(numbers)
        table.to_csv(folder / name, index=False)
    values = gather(load_params(run / "params.yaml"), sources_of(run, folder), FrameSource("archive", run / "frames"))
    assert set(re.findall(r">(0*1)</text>", values["bars"])) >= {"001", "01", "1"}
    assert {name for name, _ in values["matrix"]} >= {"001", "01", "1"}
    assert [clip["label"] for clip in values["wrong"]] == [numbers[clip["label"]] for clip in gathered(run)["wrong"]]


def test_a_class_name_that_a_file_of_names_cannot_hold_is_refused(tmp_path: Path) -> None:
    """A line break would make two classes of it, and readers drop spaces around it; nothing is written."""
    for name in ("two\nlines", "two\rlines", " lead", "trail "):
        with pytest.raises(UserError, match="line break"):
            save_labels(["one", name], tmp_path / "labels.txt")
    assert not (tmp_path / "labels.txt").exists()


def test_with_very_many_classes_the_worst_are_drawn_and_no_video_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 classes of 5 videos; of the last 10, each second is taken for the next: these stand by themselves."""
    monkeypatch.setattr(figures, "_svg", lambda figure, _: figure)
    truth = [f"class {number:03}" for number in range(200) for _ in range(5)]
    wrong = range(190, 200, 2)
    guess = [f"class {number + 1 if number in wrong else number:03}" for number in range(200) for _ in range(5)]
    axis = figures.confusion(truth, guess).axes[0]  # type: ignore[attr-defined]
    rows = [label.get_text() for label in axis.get_yticklabels()]
    assert len(rows) == 61
    assert {f"class {number}" for number in range(190, 200)} <= set(rows)
    assert rows[-1] == "140 other classes"
    counts = {(int(text.get_position()[1]), int(text.get_position()[0])): int(text.get_text()) for text in axis.texts}
    assert sum(counts.values()) == 1000
    assert counts[60, 60] == 700
    assert counts[rows.index("class 190"), rows.index("class 191")] == 5  # row: what it is


# ---- the frames shown -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", ["uniform", "dense"])
def test_strips_show_the_frames_of_the_headline(run: Path, sampling: str) -> None:
    """Uniform: those that were scored. Dense: the middle one of three clips, and the page says so."""

    class Watched(FrameSource):
        def read(self, excerpt: ClipRef, indices: np.ndarray) -> np.ndarray:
            asked.append(indices.tolist())
            return super().read(excerpt, indices)

    asked: list[list[int]] = []
    params = load_params(run / "params.yaml").model_copy(update={"sampling": sampling})
    evaluation = run / f"evaluation-{sampling}"
    shutil.copytree(run / "evaluation", evaluation)
    metrics = json.loads((evaluation / "metrics.json").read_text())
    headline = metrics["student"]["uniform"]  # of which the original files were asked
    metrics["student"][sampling] |= {name: value for name, value in headline.items() if name.startswith("served")}
    (evaluation / "metrics.json").write_text(json.dumps(metrics))
    values = gather(params, sources_of(run, evaluation), Watched("archive", run / "frames"))
    expected = evaluation_indices(20, values["clip"], sampling).tolist()  # type: ignore[arg-type]
    assert len(asked) > 3  # of confusions and mistakes
    assert asked == len(asked) * [expected if sampling == "uniform" else expected[4:8]]
    assert ("the middle one of its 3 dense clips" in render("index.html", values | {"best": VALUES})) == (
        sampling == "dense"
    )


def test_strips_show_the_crop_and_the_whole_frame() -> None:
    """Red margins outside of a centre crop of 64 of 80 px: not in the first strip, but in the second."""
    spec = spec_with(resize_px=80, crop_px=64, test_crop_px=64, aspect="kept", crops="center", dense_crops="three")
    images = np.zeros((4, 80, 142, 3), np.uint8)
    images[..., 0] = 255
    images[:, 8:72, 39:103] = (0, 0, 255)
    shown = pictures(Frames(images, (142, 80)), spec, "uniform")
    found = {}
    for name in ("strip", "whole"):
        data = base64.b64decode(shown[name].split(",")[1])
        found[name] = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    red = {name: (picture[..., 0] - picture[..., 2] > 150).mean() for name, picture in found.items()}
    assert red["strip"] < 0.01
    assert 0.5 < red["whole"] < 0.7
    assert (shown["seen"], shown["crops"]) == ("64 of 80 px of the short side, 36% of the picture", 1)
    assert pictures(Frames(images, (142, 80)), spec, "dense")["crops"] == 3


def test_the_page_shows_all_parameters_that_decide_and_no_other(run: Path) -> None:
    """For section compute no stage runs again, the report neither."""
    text = gathered(run)["settings"].text
    assert "batch_views:" in (run / "params.yaml").read_text()
    assert "batch_views:" not in text
    assert [f"\n{name}:" in f"\n{text}" for name in ("clip", "evaluate", "student", "validate")] == [True] * 4


# ---- confusion, and labels to look at --------------------------------------------------------------------------------


def test_a_number_of_the_confusion_opens_its_clips(run: Path) -> None:
    """Each link has a folded place with as many clips as the number says, each with its strip or its name."""
    page = render("index.html", gathered(run))
    table = page[page.index('<table class="matrix">') : page.index("</table>", page.index('<table class="matrix">'))]
    links = re.findall(r'<a href="#(cell-\d+)">(\d+)</a>', table)
    assert sum(int(videos) for _, videos in links) == 38
    missed = 0
    for anchor, videos in links:
        place = re.search(
            rf'<details><summary>[^\n]*</summary>\n<div class="clips" id="{anchor}">.*?</details>', page, re.S
        )
        assert place is not None, anchor
        clips = re.findall(r'(<img src="data:image/jpeg[^>]*>)?<code><bdi class="name">(.*?)</bdi></code>', place[0])
        assert len(clips) == int(videos)
        assert all(strip for strip, _ in clips[:3])
        missed += len(clips) * ("taken for" in place[0])
    predictions = pd.read_csv(run / "evaluation/predictions.csv", keep_default_na=False, dtype="str")
    headline = predictions[predictions["sampling"] == "uniform"]
    assert missed == (headline["label"] != headline["top1"]).sum() > 0


def test_the_confusion_is_a_table_of_counts_too(run: Path) -> None:
    """A row per pair that occurs, the largest mistake first; names letter by letter."""
    with (run / "evaluation/confusion.csv").open(encoding="utf-8", newline="") as opened:
        pairs = [(row["actual"], row["predicted"]) for row in csv.DictReader(opened)]
    with (run / "confusion.csv").open(encoding="utf-8", newline="") as opened:
        rows = [(row["actual"], row["predicted"], int(row["videos"])) for row in csv.DictReader(opened)]
    assert {(actual, predicted): videos for actual, predicted, videos in rows} == Counter(pairs)
    wrong = [videos for actual, predicted, videos in rows if actual != predicted]
    assert [videos for *_, videos in rows[: len(wrong)]] == wrong == sorted(wrong, reverse=True)


def test_each_class_has_its_interval() -> None:
    """Wilson's, of 9 of 10 and of 0 of 4; the worst first, with what it was most often taken for."""
    per_class = pd.DataFrame({"class": ["a", "b"], "videos": [10, 4], "accuracy": [0.9, 0.0]})
    headline = pd.DataFrame({"label": 10 * ["a"] + 4 * ["b"], "top1": 9 * ["a"] + ["b"] + ["a", "c", "c", "c"]})
    found = confusion.by_class(per_class, confusion.counts(headline)).to_dict("records")
    assert [(row["class"], row["right"], row["taken_for"]) for row in found] == [("b", 0, "c"), ("a", 9, "b")]
    assert (found[1]["low"], found[1]["high"]) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert (found[0]["low"], found[0]["high"]) == pytest.approx((0.0, 0.4899), abs=1e-4)


def held_out(points_ND: np.ndarray, label_N: np.ndarray, folds: int, classes: int) -> pd.DataFrame:
    """Predictions of softmax regressions, each fitted to the labels of the other folds, as evaluation writes them."""
    design = np.hstack([points_ND, np.ones((len(points_ND), 1))])
    tables = []
    for fold in range(folds):
        test = np.arange(len(design)) % folds == fold
        weights, target = np.zeros((design.shape[1], classes)), np.eye(classes)[label_N[~test]]
        for _ in range(300):
            slope = design[~test].T @ (softmax(design[~test] @ weights) - target) / (~test).sum()
            weights -= slope + 1e-3 * weights
        videos = pd.DataFrame({"id": np.flatnonzero(test).astype(str), "label": label_N[test].astype(str)})
        tables.append(prediction_rows(videos, design[test] @ weights, [str(name) for name in range(classes)]))
    return pd.concat(tables)


@pytest.mark.parametrize("seed", range(3))
def test_of_8_swapped_labels_of_640_all_are_among_the_first_16(seed: int) -> None:
    """Ranked by cross-validated loss; who fits them is fitted to the swapped labels too. Points are made up."""
    rng = np.random.default_rng(seed)
    truth_N = np.arange(640) % 8
    points_ND = rng.normal(0, 3, (8, 16))[truth_N] + rng.normal(0, 1.5, (640, 16))
    swapped = rng.choice(640, 8, replace=False)
    label_N = truth_N.copy()
    label_N[swapped] = (label_N[swapped] + rng.integers(1, 8, 8)) % 8
    found = suspects(held_out(points_ND, label_N, 5, 8))
    assert len(found) == 640
    assert set(swapped.astype(str)) <= set(found["id"].head(16))
    assert (found["label"] != found["answer"]).head(8).all()


def test_the_page_names_labels_to_look_at_with_their_loss(run: Path) -> None:
    """The loss of the evaluation: its mean over all videos is the one in metrics.json."""
    predictions = pd.read_csv(run / "evaluation/predictions.csv", keep_default_na=False)
    headline = predictions[predictions["sampling"] == "uniform"]
    metrics = json.loads((run / "evaluation/metrics.json").read_text())
    assert headline["loss"].mean() == pytest.approx(metrics["student"]["uniform"]["loss"], abs=1e-5)
    values = gathered(run)
    worst = headline.sort_values(["loss", "id"], ascending=[False, True])
    worst = worst[worst["label"].astype(str) != worst["top1"].astype(str)]
    assert values["suspects"][0]["id"] == worst["id"].iloc[0]
    assert "None: the student’s answer is the label" in render("index.html", values | {"suspects": []})


def test_only_what_differs_from_the_preset_is_shown(tmp_path: Path) -> None:
    """By name, with both values; a setting of the command counts as different; section compute does not."""
    file = tmp_path / "params.yaml"
    file.write_text(compose(PRESETS, Choice("motion", settings=("clip.crops=three", "compute.workers=1"))))
    found = settings(file)
    assert (found.preset, found.changed) == ("motion", [Setting("clip.crops", "three", "center")])
    file.write_text(compose(PRESETS, Choice("motion")))
    assert settings(file).changed == []
    file.write_text(file.read_text().replace("pptsm preset motion", "pptsm preset <none>"))
    assert settings(file).preset == "base"
    assert "motion.videos_per_class" in {row.name for row in settings(file).changed}


def test_the_page_of_400_classes_stays_small(run: Path, tmp_path: Path) -> None:
    """Below 5 MB: no table of all classes, but the largest confusions, which open, and each class with its interval."""
    params = load_params(run / "params.yaml")
    report_page.made_up(tmp_path, params, classes=400, videos=2000)
    changed = {
        "index": tmp_path / "index.csv",
        "labels": tmp_path / "labels.txt",
        "evaluation": tmp_path / "evaluation",
        "also": None,
    }
    sources = Sources(**(vars(sources_of(run)) | changed))
    values = gather(params, sources, FrameSource("archive", tmp_path / "frames"))
    page = render("index.html", values)
    assert len(page.encode()) < 5e6
    assert values["matrix"] is None
    assert len(values["by_class"]) == 400
    assert len(values["counts"]) > len(values["opened"]) == 2 * CELLS
    assert all(of["shown"] for of in values["opened"][:CELLS])
    assert values["counts"]["videos"].sum() == 2000


# ---- the curves -----------------------------------------------------------------------------------------------------

HISTORY = pd.DataFrame(
    {"epoch": [1, 2], "lr": [0.1, 0.01], "loss": [0.9, 0.5], "train_top1": [0.5, 0.6], "val_top1": [0.4, 0.5],
     "val_loss": [1.1, 1.0], "wait_share": [0.1, 0.0]}
)  # fmt: skip


def drawn_lines(monkeypatch: pytest.MonkeyPatch, table: pd.DataFrame) -> tuple[dict[str, Any], dict[str, Any]]:
    """The lines of the loss and of the top-1 picture, by their names in the legend."""
    monkeypatch.setattr(figures, "_svg", lambda figure, _: figure)
    figure = figures.training_curves({"student": table})
    assert isinstance(figure, Figure)
    loss, top1 = ({line.get_label(): line for line in axis.lines} for axis in figure.axes[:2])
    return loss, top1


def test_training_and_validation_have_one_style_in_both_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader learns it once; and the two differ."""
    loss, top1 = drawn_lines(monkeypatch, HISTORY)
    training, validation = (loss[f"student, {name}"].get_linestyle() for name in ("training", "validation"))
    assert training != validation
    assert top1["student, training"].get_linestyle() == training
    assert top1["student, validation"].get_linestyle() == validation


def test_the_loss_is_the_labels_part_and_the_whole_objective_stands_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A distilled student's whole falls below ln 2 at chance; where both are the same there is one line."""
    loss, _ = drawn_lines(monkeypatch, HISTORY.assign(cross_entropy=[0.8, 0.7]))
    assert loss["student, training"].get_ydata().tolist() == [0.8, 0.7]
    assert loss["student, whole objective"].get_ydata().tolist() == [0.9, 0.5]
    for table in (HISTORY, HISTORY.assign(cross_entropy=HISTORY["loss"])):
        loss, _ = drawn_lines(monkeypatch, table)
        assert loss["student, training"].get_ydata().tolist() == [0.9, 0.5]
        assert "student, whole objective" not in loss


# ---- a result that is not above chance ------------------------------------------------------------------------------


def test_a_student_at_chance_is_called_that_first_of_all(run: Path) -> None:
    """A box before the tiles, the first tile, the top of the Markdown: chance, largest class, training accuracy."""
    values = gathered(run, student=both())
    page, text = render("index.html", values), render("accuracy.md", values)
    facts = ("Top-1 is 56.0% of 60 test videos in 6 groups, 95 % interval from 31.0%", "chance is 52.5% (guessing 50.0")
    facts += ("the largest class 52.5%", "In its last epoch it recognised 20.0% of its training clips")
    box, tiles = page.index('<div class="box">'), page.index('<div class="tiles">')
    for fact in facts:
        assert fact in page[box:tiles]
        assert fact in text[: text.index("| version")]
    assert "not above chance" in page[tiles : page.index("mean class accuracy")]
    assert "1. Train longer" in text
    assert "<li>Train longer" in page
    real = gathered(run)  # whose labels are looked at
    assert "its ranking says little about labels" in render("index.html", real)
    better = real["best"] | {"above_chance": True}
    assert "its ranking says little" not in render("index.html", real | {"best": better})


def test_where_there_is_no_advice_none_is_announced(run: Path) -> None:
    """An older card does not say how it was trained, so nothing can be advised."""
    values = gathered(run, student=both())
    values["verdicts"]["student"]["steps"] = []
    for template in ("index.html", "accuracy.md"):
        text = render(template, values)
        assert "NOT ABOVE CHANCE" in text
        assert "What to try first" not in text
        assert "<ol></ol>" not in text


def test_a_student_above_chance_has_no_box(run: Path) -> None:
    """Page and Markdown say what chance is and what next, and nothing is marked as bad."""
    values = gathered(run, student=both(above_chance=True, top1=0.7, top1_low_by_group=0.6))
    for template in ("index.html", "accuracy.md"):
        text = render(template, values)
        assert "The student is above chance" in text
        assert "chance is 52.5%" in text
        assert "What next" in text
        assert "not above chance" not in text.lower()
    assert '<div class="box">' not in render("index.html", values)


def test_the_verdict_is_that_of_the_sampling_trained_for() -> None:
    """Chance in the other sampling makes no box."""
    metrics = {"student": {"uniform": VALUES, "dense": VALUES | {"above_chance": True}}}
    assert verdicts(metrics, "uniform", "test", CARDS)["student"]["above_chance"] is False
    assert verdicts(metrics, "dense", "test", CARDS)["student"]["above_chance"] is True


def test_a_teacher_at_chance_is_noted_after_the_student(run: Path) -> None:
    """A note, no box; and a good student beside it keeps its tile."""
    values = gathered(run, teacher=both(), student=both(above_chance=True))
    page = render("index.html", values)
    assert '<p class="warn">The teacher: NOT ABOVE CHANCE.' in page
    assert '<div class="box">' not in page
    found = verdicts({"teacher": both(), "student": both()}, "uniform", "test", CARDS)
    assert list(found) == ["student", "teacher"]


@pytest.mark.parametrize("distilled", [True, False])
def test_a_teacher_at_chance_is_blamed_only_where_it_taught(distilled: bool) -> None:
    """What the card says was done counts: a student that was trained without its teacher copied nothing."""
    cards = {"student": CARDS["student"] | {"distilled": distilled}, "teacher": CARDS["student"]}
    metrics = {"teacher": both(), "student": both()}
    steps = verdicts(metrics, "uniform", "test", cards)["student"]["steps"]
    assert any("trained to copy it" in step for step in steps) == distilled
    better = {"teacher": both(above_chance=True), "student": both()}
    assert not any("to copy it" in step for step in verdicts(better, "uniform", "test", cards)["student"]["steps"])


def test_one_group_has_a_sentence_and_no_interval_by_group(run: Path) -> None:
    """On page, Markdown, the flow's table and in the evaluation's line."""
    figures_of_role = both(groups=1, above_chance=None, top1=0.9, top1_low_by_group=None, top1_high_by_group=None)
    values = gathered(run, student=figures_of_role)
    for template in ("index.html", "accuracy.md"):
        text = render(template, values)
        assert "by group 31" not in text
        assert "All 60 videos are of one group" in text
        assert "one group cannot tell whether it is above chance" in text
    assert accuracy_rows({"student": figures_of_role})[0]["by group"] == "one group only"
    assert "one group cannot tell" in in_words(figures_of_role["uniform"])


def test_what_the_other_sampling_costs_is_computed(run: Path) -> None:
    """From the figures, on page and Markdown; nothing where one sampling was evaluated."""
    student = {"uniform": VALUES | {"top1": 0.88}, "dense": VALUES | {"top1": 0.55}}
    said = "Trained with uniform sampling, evaluated with dense sampling: -33.0 points of top-1"
    values = gathered(run, student=student)
    for template in ("index.html", "accuracy.md"):
        assert said in render(template, values)
    assert "+33.0 points" in str(sampling_gap(student, "dense"))
    assert sampling_gap({"uniform": VALUES}, "uniform") is None
    for top1 in (0.56, 0.5598):  # nothing, and less than is shown
        alike = both() | {"dense": VALUES | {"top1": top1}}
        assert str(sampling_gap(alike, "uniform")).endswith("dense sampling: +0.0 points of top-1.")


def test_the_report_tells_what_was_done_not_what_params_say(run: Path) -> None:
    """Other values in params.yaml change neither what the student learned from, nor the split, nor the sampling."""
    params = load_params(run / "params.yaml")
    distillation = params.student.distillation.model_copy(update={"weight": 0.9, "temperature": 9.0})
    student = params.student.model_copy(update={"distillation": distillation, "epochs": 7})
    evaluate_ = params.evaluate.model_copy(update={"split": "val"})
    changed = params.model_copy(update={"student": student, "evaluate": evaluate_})
    page = render("index.html", gathered(run, changed))
    assert "labels only" in page
    assert "38 videos of split “test”" in page
    assert "weights of epoch 1 of 1" in page
    assert "temperature 9" not in page


def test_weights_that_were_not_trained_here_are_called_that(run: Path) -> None:
    """Nobody knows whether they were published."""
    file = run / "student/card.json"
    card = file.read_text()
    file.write_text(json.dumps(json.loads(card) | {"epochs": 0, "start": "my.pdparams", "verdict": None}))
    page, text = (render(name, gathered(run)) for name in ("index.html", "accuracy.md"))
    file.write_text(card)
    for shown in (page, text):
        assert "not trained here" in shown
        assert "as published" not in shown
    assert "the weights are my.pdparams" in page


def test_a_dataset_without_a_validation_split_gets_a_word(run: Path, tmp_path: Path) -> None:
    """What that means for curve, best epoch and verdict."""
    result = json.loads((run / "result.json").read_text())
    result["facts"]["splits"]["val"] = 0
    (tmp_path / "result.json").write_text(json.dumps(result))
    sources = Sources(**(vars(sources_of(run)) | {"validation": tmp_path / "result.json"}))
    with contextlib.chdir(run):
        values = gather(load_params(run / "params.yaml"), sources, FrameSource("archive", run / "frames"))
    for template in ("index.html", "accuracy.md"):
        assert "There is no validation split" in render(template, values)
        assert "There is no validation split" not in render(template, gathered(run))


# ---- the tables -----------------------------------------------------------------------------------------------------


def test_intervals_by_group_stand_beside_those_by_video(run: Path) -> None:
    """In each cell, and on the page's first tile, with a sentence that says what they mean; else nothing of groups."""
    for template, places in (("index.html", 4), ("accuracy.md", 3)):
        text = render(template, gathered(run, student=both()))
        assert text.count("43.0–68.0") == text.count("by group 31.0–75.0") == places
        assert "The 60 videos are of 6 groups" in text
        alone = render(template, gathered(run, student=both(groups=60)))
        assert "by group" not in alone


def test_the_real_run_has_both_intervals(run: Path) -> None:
    """Two test videos a class, of two groups."""
    metrics = json.loads((run / "evaluation/metrics.json").read_text())
    for values in metrics["student"].values():
        assert (values["videos"], values["groups"], values["classes"]) == (38, 2, 19)
        assert values["top1_low_by_group"] <= values["top1_low"] <= values["top1"]
        assert values["top1_high_by_group"] > values["top1_high"] + 0.1
        assert values["largest_class"] == values["chance"] == pytest.approx(1 / 19, abs=1e-6)


def test_every_role_that_was_scored_has_its_row(run: Path) -> None:
    """A peer of mutual learning too: the teacher's network, taught by the student."""
    (run / "student" / "peer").mkdir()
    card = json.loads((run / "student/card.json").read_text())
    for role, depth in (("peer", 34), ("student", 18)):
        changed = card | {"role": role, "distilled": True, "network": card["network"] | {"depth": depth}}
        (run / "student" / ("peer" if role == "peer" else "") / "card.json").write_text(json.dumps(changed))
    values = gathered(run, peer=both())
    (run / "student/card.json").write_text(json.dumps(card))
    shutil.rmtree(run / "student/peer")
    rows = {row["version"]: (row["backbone"], row["distilled"]) for row in values["rows"]}
    assert rows == {
        "PP-TSM student": ("ResNet18-vd, width 0.125", "yes"),
        "PP-TSM peer": ("ResNet34-vd, width 0.125", "yes"),
    }
    page = render("index.html", values)
    assert "PP-TSM peer" in page
    assert "The peer: NOT ABOVE CHANCE" in page
    assert "**PP-TSM peer**" in render("accuracy.md", values)


def test_what_distillation_brought_is_told_where_it_was_asked(run: Path) -> None:
    """In points, with the interval, on page and Markdown; without a baseline there is no word of it."""
    told = "the student recognises +5.0 points more of these videos"
    values = gathered(run, student=both(gain=0.05, gain_low=-0.02, gain_high=0.12))
    for text in (render("index.html", values), render("accuracy.md", values)):
        assert text.count(told) == 2  # samplings
        assert "(95 % interval -2.0 to +12.0, the videos being the same" in text
    values = gathered(run, student=both())
    assert "Distillation" not in render("index.html", values) + render("accuracy.md", values)


def test_top5_is_shown_only_where_there_are_more_than_five_classes(run: Path) -> None:
    """Page, Markdown, the evaluation's line and the flow's table."""
    for classes, shown in ((5, False), (6, True)):
        figures_of_role = both(classes=classes)
        values = gathered(run, student=figures_of_role)
        assert ("top-5" in render("index.html", values)) == shown
        assert ("top-5" in render("accuracy.md", values)) == shown
        assert ("top-5" in in_words(figures_of_role["uniform"])) == shown
        assert ("top-5" in accuracy_rows({"student": figures_of_role})[0]) == shown


def test_the_flow_tells_intervals_by_group_and_chance_and_reads_older_metrics() -> None:
    """Experiments from before these figures are compared with new ones."""
    row = accuracy_rows({"student": both()})[0]
    assert row["by group"] == "31.0% to 75.0%"
    assert row["above chance"] == "NO (52.5%)"
    assert accuracy_rows({"student": both(above_chance=True)})[0]["above chance"] == "yes (52.5%)"
    old = {name: VALUES[name] for name in ("videos", "top1", "top1_low", "top1_high", "top5")}
    assert accuracy_rows({"student": {"uniform": old}})[0]["top-5"] == "100.00%"


@pytest.mark.parametrize("sampling", ["uniform", "dense"])
def test_one_sampling_alone_is_evaluated_and_reported(run: Path, sampling: str) -> None:
    """Half the work; the other sampling's column has no figure, and nothing speaks of its views."""
    folder, options = run / f"{sampling} alone", {"sampling": sampling, "evaluate": {"sampling": sampling}}
    folder.mkdir()
    write_params(folder / "params.yaml", TINY, SETTINGS, options)
    names = ["index.csv", "labels.txt", "frames", "teacher", "student", "baseline", "export"]
    with contextlib.chdir(run):
        evaluate.run(*map(Path, names), folder / "evaluation", folder / "params.yaml")
    rows = column(folder / "evaluation/predictions.csv", "sampling")
    assert rows == [sampling] * 38
    metrics = json.loads((folder / "evaluation/metrics.json").read_text())
    assert list(metrics["student"]) == [sampling]
    assert metrics["student"][sampling]["served_videos"] == 38
    params = load_params(folder / "params.yaml")
    values = gather(params, sources_of(run, folder / "evaluation"), FrameSource("archive", run / "frames"))
    text = render("accuracy.md", values)
    cells = next(line for line in text.splitlines() if line.startswith("| **PP-TSM student**")).split(" | ")[3:5]
    assert [cell == "–" for cell in cells] == [sampling == "dense", sampling == "uniform"]
    assert (
        f"Views of a video: {'uniform 1 clip x 1 crop' if sampling == 'uniform' else 'dense 3 clips x 3 crops'};"
        in text
    )
    assert values["bars"] in render("index.html", values)


def test_served_accuracy_stands_beside_the_evaluations(run: Path) -> None:
    """On the page's second tile and in the Markdown: how many videos, how many right, how many alike."""
    values = gathered(run, student=both())
    page, text = render("index.html", values), render("accuracy.md", values)
    tile = re.findall(r'<div class="tile">(.*?)</div>', page, flags=re.DOTALL)[1]
    assert "55.00 %" in tile
    assert "from 60 original files" in tile
    assert "98.33 % answered as in the evaluation" in tile
    assert "from the original files of 60 of these videos, the exported student recognises 55.00 %" in text
    assert "for 98.33 % its answer is that of the evaluation" in text


def test_quoted_figures_are_marked_and_stand_beside_their_publishers(run: Path) -> None:
    """Those of TSM are quoted by the document of PP-TSM, older than what the files' publishers say; its own are not."""
    values = gathered(run)
    rows = [line for line in render("accuracy.md", values).splitlines() if "published, Kinetics-400" in line]
    assert len(rows) == 10
    note = "published, Kinetics-400; quoted by the PP-TSM document |"
    assert f"| 71.90 (its publisher: 73.18) | 74.55 (its publisher: 73.38) | {note}" in rows[8]
    assert f"| 71.16 (its publisher: 71.2) | 74.10 (its publisher: 74.1) | {note}" in rows[9]
    assert not any("quoted" in row or "publisher" in row for row in rows[:8])
    page = render("index.html", values)
    assert page.count("quoted by the PP-TSM document") == 2
    assert page.count("its publisher") == 4


def test_published_figures_of_kinetics_are_folded_away_for_other_data(run: Path) -> None:
    """In the page behind a summary, in the Markdown in a table of their own; beside ours for 400 classes."""
    values = gathered(run)
    page, text = render("index.html", values), render("accuracy.md", values)
    folded = page[page.index("<details><summary>Published") :]
    assert page.index("PP-TSM (PaddleVideo)") == page.index(folded) + folded.index("PP-TSM (PaddleVideo)")
    assert folded.index("PP-TSM (PaddleVideo)") < folded.index("</details>")
    assert text.index("## Published elsewhere") < text.index("PP-TSM (PaddleVideo)")
    values = gather(
        load_params(run / "params.yaml"),
        Sources(**(vars(sources_of(run)) | {"labels": kinetics_labels(run)})),
        FrameSource("archive", run / "frames"),
    )
    assert "<details><summary>Published" not in render("index.html", values)
    rows = render("accuracy.md", values).split("\n\n")
    assert any("**PP-TSM student**" in block and "PP-TSM (PaddleVideo)" in block for block in rows)


def kinetics_labels(run: Path) -> Path:
    file = run / "kinetics.txt"
    names = (run / "labels.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")  # as the index has them
    save_labels(names + [f"class {number}" for number in range(len(names), 400)], file)
    return file


def test_the_markdown_tables_hold_together(run: Path) -> None:
    """Every row of a table has as many cells as its head."""
    for metrics in ({}, {"student": both()}, {"student": both(above_chance=True, classes=6)}):
        for block in re.findall(r"(?:^\|.*\n)+", render("accuracy.md", gathered(run, **metrics)), flags=re.MULTILINE):
            assert len({line.count("|") for line in block.splitlines()}) == 1, block
            assert block.count("\n") > 2, block


def test_the_same_inputs_give_the_same_bytes(run: Path) -> None:
    """Pictures included."""
    with contextlib.chdir(run):  # the git revision is that of the working folder
        values = gathered(run)
    for name in ("index.html", "accuracy.md"):
        assert render(name, values) == (run / name).read_text(encoding="utf-8")


# ---- the exported student -------------------------------------------------------------------------------------------


def test_prediction_repeats_the_verdict_of_the_students_card(run: Path) -> None:
    """On stderr before the answers, and in each file's entry of the JSON; the names are the folders'."""
    (run / "text.mp4").write_text("text")
    video = "videos/走る/g0_x.mp4"
    done = pptsm("predict", video, "text.mp4", "--model", "export/model.onnx", "--json", cwd=run, check=False)
    sentence = "10.0% of 19 validation videos, 95 % interval from 2.0%; chance is 5.3%"
    assert done.stderr.index(sentence) < done.stderr.index("error: text.mp4")
    answers = json.loads(done.stdout)
    assert [sentence in answer["warning"] for answer in answers] == [True, True]
    assert {guess["label"] for guess in answers[0]["top"]} <= set(NAMES)


def test_the_page_tells_what_validation_found_of_index_splits_and_frames(run: Path, tmp_path: Path) -> None:
    """Rules and warnings by suite, and of what lists name the part that is there, with the ten worst classes."""
    page = render("index.html", gathered(run))
    for said in ("index: 17 rules, no warnings", "splits: 5 rules, ", "frames: 6 rules, "):
        assert said in page
    assert 'href="validation/frames_docs/index.html"' in page
    assert "named by the lists" not in page
    result = json.loads((run / "result.json").read_text())
    classes = [{"class": f"<{n}>", "named": 100, "found": 50 + n, "share": 0.5 + n / 100} for n in range(12)]
    result["coverage"] = {"named": 234_619, "found": 220_000, "classes": classes}
    (tmp_path / "result.json").write_text(json.dumps(result))
    sources = Sources(**(vars(sources_of(run)) | {"validation": tmp_path / "result.json"}))
    params = load_params(run / "params.yaml")
    with contextlib.chdir(run):
        values = gather(params, sources, FrameSource("archive", run / "frames"))
    page = render("index.html", values)
    assert "234,619 named by the lists, 220,000 found (93.77 %)" in page
    assert "&lt;9&gt;" in page
    assert "&lt;10&gt;" not in page
    assert "The lists name 234,619 videos, of which 220,000 are there." in render("accuracy.md", values)


# ---- calibration ----------------------------------------------------------------------------------------------------


def test_a_calibration_by_one_group_promises_nothing(run: Path) -> None:
    """Stage `evaluate` scored the validation videos; the pages say what so few groups allow."""
    found = json.loads((run / "evaluation/calibration.json").read_text())
    assert found["calibration"]["groups"] == 1
    assert found["calibration"]["videos"] == len(NAMES)
    assert found["reached"]["coverages"] == []
    for page in ("accuracy.md", "index.html"):
        text = (run / page).read_text()
        assert "No coverage of 80 % or more can be promised" in text
        assert "none of the classes is not judged" in text


def test_what_a_calibration_reaches_is_on_the_pages(run: Path) -> None:
    """Coverage, its intervals, the sets' mean size, and false alarms; or the reason why there is none."""
    values = gathered(run)
    share = {"share": 0.91, "low": 0.85, "high": 0.95, "low_by_group": 0.7, "high_by_group": 0.99}
    reached = {"coverages": [{"coverage": 0.9, "mean_set": 1.25} | share]}
    reached["false_alarms"] = {"stated": 0.05, "score": "distance"} | share | {"share": 0.03}  # type: ignore[assignment]
    by = {"videos": 80, "groups": 10, "chose": True}
    told = values | {"calibrated": {"calibration": by, "reason": None, "reached": reached}}
    told["best"] = VALUES
    silent = values | {"calibrated": {"calibration": None, "reason": "there is no <split>", "reached": None}}
    text = render("accuracy.md", told)
    assert "| 90 | 91.0 (85.0–95.0; by group 70.0–99.0) | 1.25 |" in text
    assert '"none of these" (distance): 3.0 (85.0–95.0; by group 70.0–99.0) % of these videos' in text
    assert "which had also chosen the epoch" in text
    assert "by group 70.0–99.0" in render("index.html", told)
    assert "not calibrated: there is no <split>." in render("accuracy.md", silent)
    assert "not calibrated: there is no &lt;split&gt;." in render("index.html", silent)


def test_mistakes_on_the_page_say_why(run: Path) -> None:
    """Each that is shown was asked as evaluation asks it (one view here, so the same score), and has a bar a frame."""
    found = json.loads((run / "explanations.json").read_text())
    predictions = read_predictions(run / "evaluation/predictions.csv")
    wrong = surest_mistakes(of_network(predictions, "student", "uniform")).head(3)
    assert [row["id"] for row in found["mistakes"]] == wrong["id"].tolist()
    assert [row["score"] for row in found["mistakes"]] == pytest.approx(wrong["score1"].tolist(), abs=2e-5)
    rows = gathered(run)["wrong"]
    assert [bool(row["why"]) for row in rows] == [True] * 3 + [False] * (len(rows) - 3)
    assert all(len(row["why"]["bars"]) == 4 for row in rows[:3])
    page = (run / "index.html").read_text(encoding="utf-8")
    assert page.count('<svg class="worth"') == 3
    assert all(html.escape(row["why"]["words"], quote=True) in page for row in rows[:3])


def test_each_class_says_whether_it_needs_the_order(run: Path) -> None:
    """Right answers alone are counted, at most the two test videos of a class; names are escaped."""
    found = json.loads((run / "explanations.json").read_text())["order"]
    assert {row["class"] for row in found["classes"]} == set(NAMES)
    assert found["videos"] == sum(row["asked"] for row in found["classes"]) == 2 * len(NAMES)
    uniform = of_network(read_predictions(run / "evaluation/predictions.csv"), "student", "uniform")
    right = uniform[uniform["label"] == uniform["top1"]].groupby("label").size()
    assert {row["class"]: row["videos"] for row in found["classes"] if row["videos"]} == right.to_dict()
    time = gathered(run)["time"]
    assert time["words"].startswith(f"Of {len(NAMES)} classes, ")
    page = (run / "index.html").read_text(encoding="utf-8")
    assert 'id="time"' in page
    assert "<bold" not in page.partition('id="time"')[2]


def test_words_of_what_decides() -> None:
    """The largest fall is named; where none falls, that no frame decides; a class is counted as it is known."""
    row = {"id": "a", "score": 0.9, "drops": [-0.1, 0.25], "decisive": 1, "reversed_answer_kept": True}
    row |= {"shuffles": 6, "shuffles_answer_kept": 2}
    alone = row | {"id": "b", "drops": [-0.1, 0.0], "decisive": None, "shuffles": 0, "reversed_answer_kept": False}
    first, second, third = with_reasons([{"id": "a"}, {"id": "b"}, {"id": "c"}], {"mistakes": [row, alone]})
    assert first["why"]["words"] == (
        "frame 2 decides most (-25.0 points without it); reversed, the answer is the same; "
        "shuffled, the same in 2 of 6 orders"
    )
    assert [bar["falls"] for bar in first["why"]["bars"]] == [False, True]
    assert [bar["height"] for bar in first["why"]["bars"]] == [0.4, 1.0]
    assert second["why"]["words"] == "no frame decides alone; reversed, the answer is another"
    assert third["why"] is None
    classes = [{"needs_time": known} for known in (True, True, False, None)]
    said = of_time({"order": {"videos": 9, "classes": classes}})
    assert said is not None
    assert said["words"].startswith("Of 4 classes, 2 need the order of the frames; 1 does not; 1 cannot be told")
    assert of_time({"order": None}) is None
