"""Export and prediction: the gate, the file's own account of itself, and answers for good and bad videos."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from subprocess import PIPE

import numpy as np
import onnx
import onnxruntime
import paddle
import pytest
from PIL import Image

from conftest import ROOT, as_anyone, moving_square, pptsm, spec_with, write_params
from helpers.exported import CLIP, LABELS, SHAPE, exported, network, properties_of
from helpers.foreign import in_mmaction2_names, random_tsm, torch_zip, write
from helpers.videos import headers_first
from pptsm.data.views import middle_view
from pptsm.deploy.parity import Agreement, compare, require
from pptsm.evaluation import engines
from pptsm.evaluation.engines import choose_engine, onnx_scorer, open_session, paddle_scorer
from pptsm.ingest.index import find_videos
from pptsm.runtime.errors import UserError
from pptsm.serving.metadata import ModelMetadata, chance_warning
from pptsm.serving.predictor import Predictor
from pptsm.video.encode import write_video
from pptsm.video.video import Video, probe


def logits_of(file: Path, views: np.ndarray) -> np.ndarray:
    """[V, K] in double precision of views [V*4, 3, 32, 32]."""
    logits = open_session(file).run(["logits"], {"clips": views.reshape(-1, *SHAPE)})[0]
    return np.asarray(logits, dtype=np.float64)


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)


def scores_in(file: Path, video: Path) -> list[float]:
    """What prediction answers, in the order of LABELS."""
    guesses = {guess.label: guess.score for guess in Predictor(file).predict(video)}
    return [guesses[label] for label in LABELS]


@pytest.mark.parametrize("name", ["pptsm", "tsm"])
@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_every_network_exports_exactly(tmp_path: Path, name: str, depth: int) -> None:
    """ONNX Runtime agrees to 1e-5 of the largest logit, for any batch size."""
    clips = np.random.default_rng(1).normal(0, 1, (3, *SHAPE)).astype(np.float32)
    file = exported(tmp_path, network(name, depth))
    score = onnx_scorer(open_session(file))
    agreement = compare(paddle_scorer(network(name, depth)), score, list(clips))
    assert agreement.clips == 3
    assert agreement.max_relative_difference < 1e-5
    assert agreement.same_top1
    with paddle.no_grad():
        expected = network(name, depth)(paddle.to_tensor(clips)).numpy()
    np.testing.assert_allclose(score(clips), expected, rtol=1e-3, atol=1e-4)


def test_an_exported_file_computes_on_the_cores_that_this_process_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not on all of the machine where a container has a share of it; on a whole machine ONNX Runtime chooses."""
    file = exported(tmp_path)
    for here, there, threads in ((1, 64, 1), (3, 64, 3), (64, 64, 0)):
        monkeypatch.setattr(engines, "cores", lambda here=here: here)
        monkeypatch.setattr(os, "cpu_count", lambda there=there: there)
        assert open_session(file).get_session_options().intra_op_num_threads == threads


def test_the_gate_stops_a_file_that_computes_something_else(tmp_path: Path) -> None:
    """One changed weight is found; so is a result that is no number."""
    file = exported(tmp_path)
    other = network()
    other.head.fc.bias.set_value(other.head.fc.bias + 0.01)
    agreement = compare(
        paddle_scorer(other), onnx_scorer(open_session(file)), list(np.ones((1, *SHAPE), dtype=np.float32))
    )
    with pytest.raises(UserError, match="does not agree with Paddle on 1 real clips"):
        require(agreement, 1e-4)
    with pytest.raises(UserError):
        require(Agreement(1, float("nan"), True), 1e-4)
    with pytest.raises(UserError):
        require(Agreement(1, 0.0, False), 1e-4)


@pytest.mark.parametrize(("views", "middle"), [(1, 0), (3, 1), (10, 5)])
def test_the_gate_looks_at_a_views_own_frames(views: int, middle: int) -> None:
    """The middle one of a video's views, whole."""
    frames = np.arange(views * 4, dtype=np.float32)[:, None, None, None]
    assert middle_view(frames, 4).ravel().tolist() == list(range(4 * middle, 4 * middle + 4))


def test_a_gpu_that_onnx_runtime_cannot_use_is_left_to_paddle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but `auto` asks for the device."""
    choices = [("auto", "cpu"), ("auto", "gpu"), ("onnx", "gpu"), ("paddle", "cpu")]
    for providers, on_gpu in ((["CPUExecutionProvider"], "paddle"), (["CUDAExecutionProvider"], "onnx")):
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda found=providers: found)
        found = [choose_engine(wanted, device) for wanted, device in choices]  # type: ignore[arg-type]
        assert found == ["onnx", on_gpu, "onnx", "paddle"]


def test_the_file_says_what_it_needs(tmp_path: Path) -> None:
    """Labels, clip, sampling and revision come back as they were."""
    proto = onnx.load(str(exported(tmp_path)))
    properties = properties_of(tmp_path / "model.onnx")
    assert ModelMetadata.from_properties(properties, "x") == ModelMetadata(LABELS, CLIP, "student-0")
    assert [value.name for value in proto.graph.input] == ["clips"]
    with pytest.raises(UserError, match=r"not written by `pptsm export`"):
        ModelMetadata.from_properties({}, "x")


@pytest.mark.parametrize("aspect", ["kept", "distorted_2_1", "distorted_2_2"])
def test_the_pixels_can_be_made_again_from_the_metadata_alone(tmp_path: Path, aspect: str) -> None:
    """With the JSON, the video and Pillow, by the words of docs/clip.md: the file's own answer comes out."""
    rules = {"frame_rule": "twice", "crops": "ten", "average": "probabilities", "aspect": aspect}
    clip = spec_with(resize_px=40, crop_px=24, test_crop_px=32, dense_window=8, **rules)
    clip = clip.model_copy(update={"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.4, 0.3)})
    file = exported(tmp_path, network(), clip)
    write_video(tmp_path / "a.mp4", moving_square(21, size=60), 10, "h264")

    said = json.loads(properties_of(file)["pptsm.clip"])
    parts, n = said["segments"], 21
    indices = [int(i * n / parts + n / (2 * parts)) for i in range(parts)] + [int(i * n / parts) for i in range(parts)]
    size = {"kept": (40, 40), "distorted_2_1": (53, 40), "distorted_2_2": (40, 53)}[said["aspect"]]
    assert said["resize_px"] == 40
    frames = [
        np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR))
        for frame in list(Video(tmp_path / "a.mp4"))
    ]
    side = said["test_crop_px"]
    right, below = 4 * ((size[0] - side) // 4), 4 * ((size[1] - side) // 4)
    views = []
    for mirrored in (False, True):
        for left, top in ((0, 0), (right, 0), (0, below), (right, below), (right // 2, below // 2)):
            for index in indices:
                view = frames[index][top : top + side, left : left + side]
                view = view[:, ::-1] if mirrored else view
                views.append(((view / 255 - said["mean"]) / said["std"]).transpose(2, 0, 1))
    probabilities = softmax(logits_of(file, np.stack(views).astype(np.float32)))
    assert probabilities.shape == (20, 3)
    assert scores_in(file, tmp_path / "a.mp4") == pytest.approx(probabilities.mean(axis=0).tolist(), abs=2e-5)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported network that tests leave as it is."""
    return exported(tmp_path_factory.mktemp("exported"))


@pytest.mark.parametrize("sampling", ["uniform", "dense"])
@pytest.mark.parametrize("keep_aspect", [True, False])
def test_a_file_of_an_older_version_predicts_as_it_did(
    model_file: Path, tmp_path: Path, sampling: str, keep_aspect: bool
) -> None:
    """Its clip had six fields, the sampling stood apart; by the rules of then, on a square and on a wide video."""
    file, proto = tmp_path / "older.onnx", onnx.load(str(model_file))
    fields = {"num_segments": 4, "resize_px": 36, "crop_px": 32, "keep_aspect": keep_aspect}
    clip = json.dumps(fields | {"dense_window": 8, "dense_clips": 2})
    properties = {"labels": json.dumps(LABELS), "clip": clip, "sampling": sampling, "revision": "student-0"}
    onnx.helper.set_model_props(proto, {f"pptsm.{key}": value for key, value in properties.items()})
    onnx.save(proto, str(file))
    sizes = {32: (36, 36), 72: (81, 36)} if keep_aspect else {32: (36, 48), 72: (48, 36)}
    for width, size in sizes.items():
        video = tmp_path / f"{width}.mp4"
        write_video(video, np.pad(moving_square(21), ((0, 0), (0, 0), (0, width - 32), (0, 0))), 10, "h264")
        x, y = ((side - 32) // 4 for side in size)
        if sampling == "uniform":
            indices, corners = [2, 7, 12, 17], [((size[0] - 32) // 2, (size[1] - 32) // 2)]
        else:  # two windows of eight frames in 21
            indices, corners = [0, 2, 4, 6, 13, 15, 17, 19], [(0, 2 * y), (4 * x, 2 * y), (2 * x, 2 * y)]
        decoded = list(Video(video))
        views = []
        for left, top in corners:
            for index in indices:
                resized = np.asarray(Image.fromarray(decoded[index]).resize(size, Image.Resampling.BILINEAR))
                crop = resized[top : top + 32, left : left + 32] / 255
                views.append(((crop - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)).transpose(2, 0, 1))
        logits = logits_of(file, np.stack(views).astype(np.float32))
        assert len(logits) == (1 if sampling == "uniform" else 6)
        # Frames were enlarged by Pillow then and are by OpenCV now, which gives a value or two a level more or less.
        assert scores_in(file, video) == pytest.approx(softmax(logits.mean(axis=0)).tolist(), abs=1e-4)


@pytest.mark.parametrize(
    ("clip", "sentence"),
    [
        (
            '{"version": 3, "segments": 4, "novelty": 1}',
            "described in version 3, and this pptsm reads versions up to 2",
        ),
        ('{"version": 1, "segments": 4}', r"lack or garble clip.sampling \(Field required\)"),
        ('{"num_segments": 4, "resize": 36}', "lack or garble clip .*'resize'"),
        ("[1]", "lack or garble clip, which is no JSON object"),
        ("none", "lack or garble"),
    ],
)
def test_a_clip_that_nobody_here_understands_is_refused(clip: str, sentence: str) -> None:
    """Of a newer version: to be updated; with fields missing or unknown: no file of the export."""
    properties = ModelMetadata(LABELS, CLIP, "student-0").to_properties() | {"pptsm.clip": clip}
    with pytest.raises(UserError, match=sentence) as refused:
        ModelMetadata.from_properties(properties, "x.onnx")
    assert "x.onnx" in str(refused.value)


def test_a_warning_goes_with_the_file(tmp_path: Path) -> None:
    """Written and read back where there is one; a file without the property has none."""
    warned = ModelMetadata(LABELS, CLIP, "student-0", "do not trust it")
    properties = warned.to_properties()
    assert ModelMetadata.from_properties(properties, "x") == warned
    assert "pptsm.warning" not in ModelMetadata(LABELS, CLIP, "student-0").to_properties()
    del properties["pptsm.warning"]
    assert ModelMetadata.from_properties(properties, "x").warning is None


def test_only_a_network_at_chance_is_warned_of() -> None:
    """With its figures and the better way to know nothing; no verdict (nothing held out, older cards) is no warning."""
    verdict = {"split": "val", "videos": 59, "groups": 6, "top1": 0.56, "low": 0.31, "guessing": 0.5}
    verdict |= {"largest_class": 0.525, "above_chance": False, "train_top1": 0.6}
    sentence = chance_warning(verdict)
    assert sentence is not None
    assert "56.0% of 59 validation videos in 6 groups, 95 % interval from 31.0%; chance is 52.5%" in sentence
    assert "59 training videos" in str(chance_warning(verdict | {"split": "train"}))
    assert chance_warning(verdict | {"above_chance": True}) is None
    assert chance_warning(None) is None


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An exported model and ten videos, one of them text."""
    exported(tmp_path)
    (tmp_path / "videos").mkdir()
    for number in range(10):
        write_video(tmp_path / "videos" / f"{number} ü.mp4", moving_square(9, seed=number), 10, "h264")
    (tmp_path / "videos" / "4 ü.mp4").write_text("text")
    return tmp_path


def test_one_unreadable_file_among_ten_is_reported_and_nine_are_answered(place: Path) -> None:
    """JSON on stdout for all, the fault on stderr, exit code 1."""
    done = pptsm("predict", "videos", "--model", "model.onnx", "--json", "--top-k", 2, cwd=place, check=False)
    assert done.returncode == 1
    answers = json.loads(done.stdout)
    assert len(answers) == 10
    assert [len(answer["top"]) for answer in answers if "top" in answer] == [2] * 9
    assert "not a readable video" in next(answer["error"] for answer in answers if "error" in answer)
    assert not any("warning" in answer for answer in answers)  # the model's file has none
    assert "warning" not in done.stderr
    assert "1 of 10 files got no answer" in done.stderr
    assert "Traceback" not in done.stderr


def test_prediction_takes_from_a_folder_what_the_index_takes(place: Path) -> None:
    """Linked folders are followed; hidden files and folders are not taken."""
    (place / "more").mkdir()
    (place / "videos").rename(place / "elsewhere")
    (place / "more" / "linked").symlink_to(place / "elsewhere")
    (place / "elsewhere" / "4 ü.mp4").rename(place / "elsewhere" / ".4.mp4")
    (place / "elsewhere" / ".hidden").mkdir()
    (place / "elsewhere" / "9 ü.mp4").rename(place / "elsewhere" / ".hidden" / "9.mp4")
    done = pptsm("predict", "more", "--model", "model.onnx", "--json", cwd=place)
    names = [answer["file"] for answer in json.loads(done.stdout)]
    assert names == [f"more/linked/{number} ü.mp4" for number in (0, 1, 2, 3, 5, 6, 7, 8)]
    assert names == [f"more/{name}" for name in find_videos(place / "more")]


def test_answers_are_probabilities_best_first_in_words(place: Path) -> None:
    """Top-k of three classes; the same file twice gives the same answer."""
    done = pptsm("predict", "videos/1 ü.mp4", "videos/1 ü.mp4", "--model", "model.onnx", cwd=place)
    lines = done.stdout.splitlines()
    assert lines[0] == "videos/1 ü.mp4"
    assert lines[:4] == lines[4:]
    scores = [float(line.split("%")[0]) for line in lines[1:4]]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(100, abs=0.02)
    assert {line.split("%")[1].strip() for line in lines[1:4]} == set(LABELS)


def test_a_file_that_is_cut_off_is_answered_with_the_reason(place: Path) -> None:
    """As the index refuses it; the other file is answered."""
    write_video(place / "long.mp4", moving_square(100, size=64), 10, "h264")
    data = headers_first(place / "long.mp4").read_bytes()
    (place / "cut.mp4").write_bytes(data[: len(data) // 2])
    done = pptsm("predict", "cut.mp4", "videos/1 ü.mp4", "--model", "model.onnx", "--json", cwd=place, check=False)
    cut, other = json.loads(done.stdout)
    assert done.returncode == 1
    assert cut["error"] == probe(place / "cut.mp4").reason
    assert "cut off: the file promises 100 frames" in cut["error"]
    assert len(other["top"]) == 3


HANGING_DECODER = """
import time, av
real = av.open
def opened(path, *rest, **options):
    if "endless" in str(path):
        time.sleep(600)
    return real(path, *rest, **options)
av.open = opened
"""


def test_a_file_that_keeps_the_decoder_busy_does_not_keep_the_others(place: Path) -> None:
    """As some broken containers do: the decoder is killed, and the next file is read by a new one."""
    (place / "sitecustomize.py").write_text(HANGING_DECODER)
    shutil.copy(place / "videos/1 ü.mp4", place / "endless.mp4")
    arguments = ("endless.mp4", "videos/1 ü.mp4", "--model", "model.onnx", "--timeout", 3)
    done = pptsm("predict", *arguments, cwd=place, check=False, PYTHONPATH=f"{place}{os.pathsep}{ROOT / 'src'}")
    assert done.returncode == 1
    assert "error: endless.mp4: decoding took longer than 3 s" in done.stderr
    assert "videos/1 ü.mp4\n" in done.stdout
    assert "Traceback" not in done.stderr


def test_answers_come_one_by_one_and_an_interrupted_list_is_whole(place: Path) -> None:
    """What an hour has found is not lost with the next file: here one that keeps the decoder busy."""
    (place / "sitecustomize.py").write_text(HANGING_DECODER)
    shutil.copy(place / "videos/1 ü.mp4", place / "endless.mp4")
    command = ["pptsm", "predict", "videos/1 ü.mp4", "endless.mp4", "--model", "model.onnx", "--json"]
    path = f"{place}{os.pathsep}{ROOT / 'src'}"
    with subprocess.Popen(
        command,
        cwd=place,
        stdout=PIPE,
        stderr=PIPE,
        env=os.environ | {"PYTHONPATH": path},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509  also where tests run in the background
    ) as running:
        assert running.stdout is not None
        lines = [running.stdout.readline(), running.stdout.readline()]  # before the second file is done with
        running.send_signal(signal.SIGINT)
        lines.append(running.stdout.read())
    answers = json.loads(b"".join(lines))
    assert [answer["file"] for answer in answers] == ["videos/1 ü.mp4"]
    assert running.returncode == 130


def test_a_name_that_is_no_text_and_a_shut_folder_are_answers_too(place: Path) -> None:
    """Each with its reason, in words, and the others with their classes."""
    broken = Path(os.fsdecode(os.fsencode(place) + b"/more/run_\xff.mp4"))
    (place / "more" / "shut").mkdir(parents=True)
    for target in (broken, place / "more" / "good.mp4"):
        shutil.copy(place / "videos/1 ü.mp4", target)
    (place / "more" / "shut").chmod(0)
    done = as_anyone("pptsm", "predict", "more", "--model", "model.onnx", cwd=place)
    assert done.returncode == 1
    assert done.stdout.startswith("more/good.mp4\n")
    assert "error: more/run_\\xff.mp4: its name is no UTF-8 text: rename it\n" in done.stderr
    assert "error: more/shut: cannot be read: Permission denied\n" in done.stderr
    assert "error: 2 of 3 files got no answer" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_of_arrivals_goes_on_beside_a_name_that_is_no_text(place: Path) -> None:
    """It has its row, and is named in one run only: no second try will mend it."""
    (place / "more").mkdir()
    for name in (b"run_\xff.mp4", b"good.mp4"):
        target = Path(os.fsdecode(os.fsencode(place) + b"/more/" + name))
        shutil.copy(place / "videos/1 ü.mp4", target)
        os.utime(target, (0, 0))
    words = ("predict", "more", "--model", "model.onnx", "--results", "seen.csv")
    first, second = pptsm(*words, cwd=place), pptsm(*words, cwd=place)
    assert first.stdout == "2 videos taken in more, 1 of them failed; 0 still being written\n"
    assert first.stderr.count("run_\\xff.mp4: its name is no UTF-8 text: rename it") == 1
    assert second.stdout == "0 videos taken in more, 0 of them failed; 0 still being written\n"
    assert "xff" not in second.stderr


def test_dense_prediction_is_the_mean_over_all_views(place: Path) -> None:
    """Another sampling, other scores, the same classes."""
    answers = [
        json.loads(
            pptsm("predict", "videos/1 ü.mp4", "--model", "model.onnx", "--json", "--sampling", s, cwd=place).stdout
        )
        for s in ("uniform", "dense")
    ]
    assert [answer[0]["sampling"] for answer in answers] == ["uniform", "dense"]
    assert answers[0][0]["top"] != answers[1][0]["top"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["videos/1 ü.mp4", "--model", "none.onnx"], "no exported model none.onnx"),
        (["videos/1 ü.mp4", "--model", "videos/4 ü.mp4"], "is no ONNX file"),
        (["none.mp4", "--model", "model.onnx"], "no such file: none.mp4"),
        (["empty", "--model", "model.onnx"], "no video in empty"),
    ],
)
def test_a_users_mistake_is_a_sentence(place: Path, arguments: list[str], sentence: str) -> None:
    """What was sought and where; no trace."""
    (place / "empty").mkdir()
    done = pptsm("predict", *arguments, cwd=place, check=False)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_foreign_checkpoint_becomes_a_predictor_without_a_dataset(place: Path) -> None:
    """mmaction2's file in, ONNX out, checked on a video; wrong labels leave nothing."""
    clip = {"resize_px": 32, "crop_px": 32, "test_crop_px": 32, "dense_window": 8}
    changes = {
        "clip": clip,
        "student": {
            "network": {"network": "tsm", "activation": "relu", "depth": 50, "width": 0.125, "num_segments": 4},
            "distillation": {"weight": 0.0},
        },
    }
    write_params(place / "tsm.yaml", changes)
    write(place / "tsm.pth", torch_zip(in_mmaction2_names(random_tsm(50, 8, 3))))
    (place / "names.txt").write_text("0 a\n1 b\n2 c\n")
    options = ["--params", "tsm.yaml", "--labels", "names.txt", "--out", "tsm.onnx"]
    done = pptsm("convert", "tsm.pth", *options, "--check", "videos/1 ü.mp4", cwd=place)
    assert "agrees with Paddle to" in done.stdout
    answer = json.loads(pptsm("predict", "videos/1 ü.mp4", "--model", "tsm.onnx", "--json", cwd=place).stdout)
    assert {guess["label"] for guess in answer[0]["top"]} == {"a", "b", "c"}
    (place / "names.txt").write_text("a\nb\n")
    options[-1] = "wrong.onnx"
    done = pptsm("convert", "tsm.pth", *options, cwd=place, check=False)
    assert done.returncode == 1
    assert "does not fit the 2 classes" in done.stderr
    assert not (place / "wrong.onnx").exists()


@pytest.mark.parametrize("module", ["paddle", "scipy"])
def test_prediction_starts_without_what_only_training_needs(place: Path, module: str) -> None:
    """A module of that name that fails on import is never touched."""
    (place / f"{module}.py").write_text("raise RuntimeError('imported')")
    search = os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")])
    pptsm("predict", "videos/1 ü.mp4", "--model", "model.onnx", cwd=place, PYTHONPATH=search)
    shutil.rmtree(place / "videos")
