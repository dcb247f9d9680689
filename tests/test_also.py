"""evaluate.also: networks from elsewhere are found, scored by their own protocol, and compared with the student."""

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from conftest import moving_square, pptsm, write_params
from helpers.exported import CLIP, LABELS, exported, network
from helpers.networks import seeded_state
from pptsm.data.table import in_split, load_index
from pptsm.data.views import views_of_file
from pptsm.deploy.find_networks import find_networks
from pptsm.deploy.named import read_networks
from pptsm.evaluation.engines import onnx_scorer, open_session
from pptsm.evaluation.metrics import video_logits
from pptsm.model.network import build_model
from pptsm.report.networks import Answers, agreement, compare, same_videos, table
from pptsm.runtime.errors import UserError
from pptsm.serving.predictor import Predictor
from pptsm.stages import also, evaluate_also, index
from pptsm.video.encode import write_video
from pptsm.weights.card import BuildableNetwork, Card, save_network
from pptsm.weights.state_dict import as_arrays, write_arrays

SETTINGS: dict[str, Any] = {
    "index": {"root": "videos", "val_groups": ["g1"], "test_groups": ["g2", "g3"]},
    "frames": {"source": "video"},
    "export": {"check_clips": 2, "latency_runs": 1},
    "compute": {"devices": 1, "workers": 0},
}


def settings(**evaluate: Any) -> None:
    write_params(Path("params.yaml"), SETTINGS, {"evaluate": evaluate})


def write_videos(folder: Path, classes: list[str]) -> None:
    """Two test videos of each class."""
    for number, name in enumerate(classes):
        (folder / "videos" / name).mkdir(parents=True)
        for group in range(4):
            frames = moving_square(20, size=48, seed=4 * number + group)[:: -1 if number % 2 else 1]
            write_video(folder / "videos" / name / f"g{group}_x.mp4", np.ascontiguousarray(frames), 10, "h264")


def with_card(folder: Path, classes: list[str]) -> None:
    """A folder of weights as a training writes it."""
    model = network()
    built = BuildableNetwork(
        network="pptsm", depth=18, num_classes=len(classes), num_segments=4, width=0.125, shift_ratio=0.25, shift=True,
        activation="leaky_relu", dropout=0.5,
    )  # fmt: skip
    card = Card(
        role="student", network=built, classes=classes, clip=CLIP, revision="r", epochs=1, start=None, computed_with="-"
    )
    folder.mkdir()
    save_network(folder, card, as_arrays(model.state_dict()))


def run_both() -> list[dict[str, Any]]:
    """Both stages; the figures."""
    also.run(Path("t"), Path("s"), Path("b"), Path("e"), Path("found"))
    evaluate_also.run(Path("index.csv"), Path("labels.txt"), Path("frames"), Path("found"), Path("scored"))
    figures: list[dict[str, Any]] = json.loads(Path("scored/networks.json").read_text())
    return figures


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Indexed videos, an exported file and a folder of weights."""
    folder = tmp_path_factory.mktemp("also")
    write_videos(folder, LABELS)
    (folder / "elsewhere").mkdir()
    exported(folder / "elsewhere")
    with_card(folder / "weights", LABELS[::-1])  # in another order than the dataset's
    with contextlib.chdir(folder):
        settings()
        index.run(Path("index.csv"), Path("labels.txt"))
    return folder


@pytest.fixture
def here(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to change, as the working folder; what was scored before is not known in it."""
    copy = shutil.copytree(place, tmp_path / "copy")
    monkeypatch.chdir(copy)
    return copy


# ---- scoring --------------------------------------------------------------------------------------------------------


def test_each_network_is_scored_as_it_answers_the_files_itself(here: Path) -> None:
    """An exported file and a folder of weights with its classes in another order: the predictor's own probabilities."""
    settings(also=["elsewhere/model.onnx", "weights/card.json"])
    figures = run_both()
    found = pd.read_csv("scored/predictions.csv")
    videos = in_split(load_index("index.csv"), "test")
    assert [row["name"] for row in figures] == ["elsewhere/model.onnx", "weights/card.json"]
    assert len(found) == 2 * len(videos) == 12
    predictor = Predictor("elsewhere/model.onnx", runtime="onnxruntime")
    for (_, row), path in zip(found[:6].iterrows(), videos["path"], strict=True):
        best = predictor.predict(Path("videos") / path, 1)[0]
        assert (row["top1"], row["score1"]) == (best.label, pytest.approx(best.score, abs=2e-4))
    # the same network: class k of the one is class K - 1 - k of the other, so its names are the mirror image
    mirrored = dict(zip(LABELS, LABELS[::-1], strict=True))
    assert found["top1"][6:].tolist() == [mirrored[name] for name in found["top1"][:6]]
    assert figures[1]["network"]["depth"] == 18
    assert figures[0]["network"] is None
    assert all(row["latency_ms_per_view"] > 0 and row["onnx_bytes"] > 10_000 for row in figures)
    assert not any(row["restricted"] for row in figures)
    assert figures[0]["metrics"]["top1"] == pytest.approx((found["top1"] == found["label"])[:6].mean(), abs=1e-6)


def test_a_network_is_asked_by_the_sampling_and_the_crops_that_it_carries(here: Path) -> None:
    """Dense, three crops of two windows, whatever params.yaml says."""
    clip = CLIP.model_copy(update={"sampling": "dense"})
    model = exported(here / "elsewhere", network(), clip)
    settings(also=["elsewhere/model.onnx"], sampling="uniform")
    (row,) = run_both()
    assert (row["sampling"], row["views"]) == ("dense", 6)
    video = Path("videos") / in_split(load_index("index.csv"), "test")["path"][0]
    views = views_of_file(video, clip, "dense").reshape(-1, *clip.shape)
    logits = video_logits(onnx_scorer(open_session(model))(views), "logits")
    first = pd.read_csv("scored/predictions.csv").iloc[0]
    assert first["top1"] == LABELS[int(logits.argmax())]


def test_one_network_more_scores_the_others_not_again(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nor does another order of the list; another file of the same name, or other code, does."""
    settings(also=["elsewhere/model.onnx"])
    (before,) = run_both()
    settings(also=["weights", "elsewhere/model.onnx"])
    capfd.readouterr()
    after = run_both()
    said = capfd.readouterr().err
    assert after[1] == before
    assert "elsewhere/model.onnx: scored before" in said
    assert "weights: scoring 6 videos" in said
    exported(here / "elsewhere", network(), CLIP.model_copy(update={"sampling": "dense"}))
    assert run_both()[1]["sampling"] == "dense"


def test_without_any_network_nothing_is_loaded(here: Path) -> None:
    """The default: two stages of a second."""
    settings()
    assert run_both() == []
    assert read_networks(Path("found")) == []


@pytest.mark.slow
def test_a_published_file_is_scored_by_its_publishers_protocol_among_the_classes_of_the_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PP-TSMv2 of PaddleX by its file's name: 400 classes, of which the dataset has two; its figure; 224 px."""
    monkeypatch.chdir(tmp_path)
    write_videos(tmp_path, ["abseiling", "Air_Drumming"])
    settings()
    index.run(Path("index.csv"), Path("labels.txt"))
    name = "PP-TSMv2-LCNetV2_8frames_uniform_pretrained.pdparams"
    model = build_model("pptsm_v2", 50, 400, 8)
    model.set_state_dict(seeded_state(model, "bn.weight", 4))
    write_arrays(tmp_path / name, as_arrays(model.state_dict()))
    settings(also=[name])
    (row,) = run_both()
    assert (row["restricted"], row["classes_of_its_own"]) == (True, 400)
    assert row["published_top1"] == 0.7171
    assert row["clip"]["test_crop_px"] == 224
    assert row["clip"]["aspect"] == "distorted_2_2"
    assert row["network"]["network"] == "pptsm_v2"
    assert set(pd.read_csv("scored/predictions.csv")["top1"]) <= {"abseiling", "Air_Drumming"}
    assert row["metrics"]["classes"] == 2


# ---- what cannot be scored ------------------------------------------------------------------------------------------


def test_other_classes_are_refused_before_anything_is_scored(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Though the first network of the list could be scored; and nothing is left behind."""
    with_card(here / "others", ["one", "two", "three"])
    settings(also=["elsewhere/model.onnx", "others"])
    with pytest.raises(UserError, match=r"evaluate.also: others cannot be asked .* does not know 3 .*Nothing was"):
        run_both()
    assert "scoring" not in capfd.readouterr().err
    assert not Path("scored").exists()


def test_frames_that_were_kept_too_small_are_refused(here: Path) -> None:
    """They were shrunk below what the network looks at; frames that were never larger are as they were."""
    small = {"resize_px": 16, "crop_px": 16, "test_crop_px": 16}
    changes = {"frames": {"source": "archive", "short_side_px": 16}, "evaluate": {"also": ["weights"]}, "clip": small}
    write_params(Path("params.yaml"), SETTINGS, changes)
    Path("frames").mkdir()
    with pytest.raises(UserError, match=r"short side of 32 px, but frames.short_side_px \(16\) has shrunk those of 6"):
        run_both()


def test_what_is_no_network_is_named_with_what_to_do(here: Path) -> None:
    """Each of them; and the folder of links is not left half made."""
    Path("empty").mkdir()
    Path("skipped").mkdir()
    Path("skipped/card.json").write_text("{}")
    Path("mine.pdparams").write_bytes(b"x")
    Path("text.txt").write_text("x")
    Path("bad.onnx").write_bytes(b"no network")
    sentences = {
        "pptsm-r50-k400-unifrom": 'did you mean "pptsm-r50-k400-uniform"',
        "nowhere": "there is no such file or folder",
        "empty": "it has neither card.json with weights.pdparams",
        "skipped": "nothing was trained",
        "mine.pdparams": "what network is in it is not known",
        "text.txt": "neither an ONNX file, nor weights",
        "resnet18-vd-imagenet": "cannot be evaluated: they are ImageNet start",
    }
    for name, sentence in sentences.items():
        settings(also=[name])
        with pytest.raises(UserError, match=r"^evaluate\.also") as caught:
            run_both()
        assert sentence in str(caught.value)
        assert not Path("found").exists()
    settings(also=["bad.onnx"])
    with pytest.raises(UserError, match=r"evaluate.also: bad.onnx cannot be scored: .*no ONNX file that can be loaded"):
        run_both()


def test_what_the_run_itself_makes_later_is_refused_and_what_it_made_before_is_not(here: Path) -> None:
    """dvc.yaml says what is an output."""
    Path("dvc.yaml").write_text("stages: {a: {cmd: x, outs: [weights, elsewhere]}}\n")
    settings(also=["weights"])
    with pytest.raises(UserError, match="which a stage of this pipeline writes, perhaps only after this one"):
        also.run(Path("t"), Path("s"), Path("b"), Path("e"), Path("found"))
    also.run(Path("t"), Path("weights"), Path("b"), Path("e"), Path("found"))
    assert [one.kind for one in read_networks(Path("found"))] == ["card"]


def test_links_lead_to_the_files_and_no_two_networks_share_a_place(here: Path) -> None:
    """So DVC sees a file change, and two files of one name are two networks."""
    shutil.copytree("elsewhere", "other/elsewhere")
    Path("found").mkdir()
    found = find_networks(["elsewhere/model.onnx", "other/elsewhere"], Path("found"), lambda _: True)
    links = [(Path("found") / one.folder / one.file).resolve() for one in found]
    assert links == [here / "elsewhere/model.onnx", here / "other/elsewhere/model.onnx"]
    assert len({one.folder for one in found}) == 2


@pytest.mark.parametrize(
    ("evaluate", "sentence"),
    [
        ({"also": ["a", "b", "a"]}, "evaluate: also names a twice"),
        ({"also": ["student"]}, "is what the report calls a network of this run: write ./student"),
        ({"also": [""]}, "is no path"),
        ({"also": "a"}, "evaluate.also is 'a', but should be a valid list"),
        ({"temperature": True, "split": "val"}, "temperature is true, but split is val"),
    ],
    ids=["twice", "role", "empty", "no list", "temperature"],
)
def test_a_list_that_cannot_be_meant_is_refused(tmp_path: Path, evaluate: dict[str, Any], sentence: str) -> None:
    """Before anything is read."""
    write_params(tmp_path / "params.yaml", {"evaluate": evaluate})
    done = pptsm("check", cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert sentence in done.stderr


# ---- the table ------------------------------------------------------------------------------------------------------


def answers(name: str, top1: list[str], **changes: Any) -> Answers:
    labels = ["a", "a", "b", "b", "a", "b", "a", "b", "a", "b", "a", "b"]
    rows = pd.DataFrame({"id": [str(n) for n in range(12)], "label": labels, "top1": top1, "score1": 0.8})
    right = float((rows["top1"] == rows["label"]).mean())
    names = "videos groups top1_low top1_high top1_low_by_group top1_high_by_group top5 mean_class_accuracy"
    metrics = dict.fromkeys([*names.split(), "macro_f1", "calibration_error", "loss"], 0.5) | {"top1": right}
    return Answers(name, "PP-TSM", "uniform", 1, metrics, rows, **changes)


def test_a_row_says_what_the_student_alone_and_the_other_alone_recognise() -> None:
    """The student's own row has no difference; p is the binomial test's."""
    student = answers("student", list("aabbababaaaa"))
    other = answers("x", list("bbaaababaabb"), published="Kinetics-400 top-1 74.54 %", published_top1=0.7454)
    groups = {str(number): f"g{number // 2}" for number in range(12)}
    first, second = compare([student, other], groups, of_kinetics=True)
    assert (first.gain, first.p_value, first.only_it) == (None, None, None)
    right = [(row.predictions["top1"] == row.predictions["label"]).to_numpy() for row in (student, other)]
    won, lost = int((right[1] & ~right[0]).sum()), int((right[0] & ~right[1]).sum())
    assert (second.only_it, second.only_student) == (won, lost)
    assert lost > won > 0
    assert second.gain == pytest.approx((won - lost) / 12, abs=1e-6)
    assert second.p_value == pytest.approx(stats.binomtest(won, won + lost).pvalue)
    assert second.gain_low is not None
    assert second.gain_high is not None
    assert second.gain_low <= second.gain <= second.gain_high
    assert second.expected is not None
    assert first.expected is None
    assert compare([student, other], groups, of_kinetics=False)[1].expected is None
    values = table([first, second], agreement([student, other]))
    assert values["network"].tolist() == ["student", "x"]
    assert values["agrees with x"].tolist()[1] == 1
    assert values["agrees with x"][0] == values["agrees with student"][1]


def test_predictions_of_other_videos_are_refused() -> None:
    """In another order they are the same; with one more, one less, or another label they are not."""
    rows = answers("student", ["a"] * 12).predictions
    assert same_videos(rows, rows[::-1], "evaluate_also")["id"].tolist() == rows["id"].tolist()
    for wrong in (rows[1:], pd.concat([rows, rows[:1].assign(id="new")]), rows.assign(label="c")):
        with pytest.raises(UserError, match="are of different videos"):
            same_videos(rows, wrong, "evaluate_also")
