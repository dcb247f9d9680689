"""What a network looks at of a clip: differences are computed by the network, so every entrance gives the same."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest

from conftest import moving_square, params_with, spec_with
from helpers.archives import rows_of, video
from helpers.exported import CLIP, LABELS, exported
from helpers.networks import seeded_state
from helpers.roles import LABELS as TWO
from helpers.roles import SETTINGS, fit, place
from pptsm.data.clips import EvaluationVideos, FrameSource
from pptsm.data.spec import ClipSpec
from pptsm.data.transforms import normalise
from pptsm.data.views import views_of_file
from pptsm.deploy.quantize import quantise
from pptsm.evaluation.engines import open_engine
from pptsm.evaluation.metrics import softmax, video_logits
from pptsm.evaluation.model_file import read_exported
from pptsm.frames.extract import extract_all
from pptsm.model.input import SCALE, frame_differences
from pptsm.model.network import VideoNetwork, build_model
from pptsm.report.model_card import model_card
from pptsm.runtime.errors import UserError
from pptsm.serving.metadata import ModelMetadata
from pptsm.serving.predictor import Predictor
from pptsm.video.encode import write_video
from pptsm.weights.card import load_network, network_arguments, read_card
from pptsm.weights.loading import load_weights
from pptsm.weights.state_dict import write_arrays
from test_model_package import values

__all__ = ["place", "video"]  # fixtures

NETWORKS = ["pptsm", "tsm", "pptsm_v2", "tsm_lite"]


def network(name: str, what: str) -> VideoNetwork:
    """For 3 classes and 4 segments, of weights that follow from their names and shapes."""
    model = build_model(name, 18, 3, 4, width=0.125, input=what)  # type: ignore[arg-type]
    rules = {"pptsm_v2": ("bn.weight", 6.0), "tsm_lite": ("_batch_norm.weight", 6.0)}
    model.set_state_dict(seeded_state(model, *rules.get(name, ())))  # type: ignore[arg-type]
    model.eval()
    return model


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)


def logits(model: VideoNetwork, clips: np.ndarray) -> np.ndarray:
    with paddle.no_grad():
        found: np.ndarray = model(paddle.to_tensor(clips)).numpy()
    return found


def differences(clips_NTCHW: np.ndarray, segments: int = 4) -> np.ndarray:
    """As the documents say them, frame by frame."""
    seen = np.empty_like(clips_NTCHW)
    for frame in range(clips_NTCHW.shape[1]):
        later = max(frame, frame - frame % segments + 1)  # the first frame of a group is given the second's
        seen[:, frame] = (clips_NTCHW[:, later] - clips_NTCHW[:, later - 1]) * np.float32(1.5)
    return seen


def test_differences_by_hand() -> None:
    """Brightness 1, 3, 2, 7 of a channel, and 0, 0, 4, 4 in another: to the frame before, the first as the second."""
    frames = np.array([[1, 0], [3, 0], [2, 4], [7, 4]], np.float32).reshape(4, 2, 1, 1)
    found = frame_differences(paddle.to_tensor(frames), 4).numpy().reshape(4, 2)
    assert (found / SCALE).tolist() == [[2, 0], [2, 0], [-1, 4], [5, 0]]
    assert SCALE == 1.5


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_differences_is_one_of_frames_that_is_given_them(name: str) -> None:
    """Two clips of one video side by side: none is compared with the other."""
    clips = noise(2, 8, 3, 32, 32)
    own = logits(network(name, "difference"), clips)
    np.testing.assert_allclose(own, logits(network(name, "rgb"), differences(clips)), rtol=1e-5, atol=1e-5)
    assert not np.allclose(own, logits(network(name, "rgb"), clips), atol=1e-2)


@pytest.mark.parametrize("name", NETWORKS)
def test_both_with_differences_of_no_weight_is_rgb(name: str) -> None:
    """Frames come first among the channels, then differences."""
    rgb, both, clips = network(name, "rgb"), network(name, "both"), noise(2, 4, 3, 32, 32)
    stem = rgb.state_dict()[rgb.stem_name].numpy()
    for halves, seen in (((stem, 0 * stem), clips), ((0 * stem, stem), differences(clips))):
        both.set_state_dict(rgb.state_dict() | {both.stem_name: np.concatenate(halves, axis=1)})
        np.testing.assert_allclose(logits(both, clips), logits(rgb, seen), rtol=1e-5, atol=1e-5)


def test_a_clip_in_which_nothing_moves_is_the_same_whatever_it_shows() -> None:
    """To the bit with `difference`; a clip that gets brighter as a whole is another one."""
    model, pictures = network("pptsm", "difference"), noise(2, 1, 3, 32, 32)
    still = np.repeat(np.stack([pictures[0], pictures[1], np.full_like(pictures[0], 9)]), 4, axis=1)
    black, *others = logits(model, np.concatenate([np.zeros_like(still[:1]), still]))
    assert all(np.array_equal(other, black) for other in others)
    brighter = still[:1] + np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1, 1)
    assert not np.allclose(logits(model, brighter)[0], black, atol=1e-3)


def test_a_constant_light_on_a_moving_clip_changes_no_more_than_rounding() -> None:
    """Nor does a mirror change what a difference is: mirrored differences are those of the mirrored clip."""
    model, clips = network("pptsm", "difference"), noise(1, 4, 3, 32, 32)
    np.testing.assert_allclose(logits(model, clips + 2), logits(model, clips), rtol=1e-4, atol=1e-4)
    of_the_mirrored = frame_differences(paddle.to_tensor(clips[0, ..., ::-1].copy()), 4).numpy()
    mirrored = frame_differences(paddle.to_tensor(clips[0]), 4).numpy()[..., ::-1]
    np.testing.assert_array_equal(of_the_mirrored, mirrored)


@pytest.mark.parametrize("what", ["difference", "both"])
def test_every_entrance_gives_the_same_logits(what: str, video: Path, tmp_path: Path) -> None:
    """Archive, video file, Predictor, ONNX Runtime, OpenVINO and int8, against differences computed here."""
    clip = CLIP.model_copy(update={"input": what})
    model = network("pptsm", what)
    if what == "difference":
        plain, given = network("pptsm", "rgb"), differences
    else:  # frames and differences, to the trunk alone
        plain, given = model, None
    file = exported(tmp_path, model, clip)

    rows = rows_of(video)
    settings = params_with(frames={"short_side_px": None}).frames
    extract_all(rows, video.parents[1], tmp_path / "frames", settings, 0)
    sources = {
        "archive": FrameSource("archive", tmp_path / "frames"),
        "video": FrameSource("video", video.parents[1]),
    }
    for name, source in sources.items():
        views = normalise(EvaluationVideos(rows, source, clip, "dense")[0][0]).reshape(-1, *clip.shape)
        if given is None:
            seen = np.concatenate([views, differences(views)], axis=2).reshape(-1, 6, *clip.shape[2:])
            expected = model.head(model.backbone(paddle.to_tensor(seen)), 4).numpy()
        else:
            expected = logits(plain, given(views))
        for runtime in ("onnxruntime", "openvino"):
            engine = open_engine(read_exported(file), runtime, "float32")  # type: ignore[arg-type]
            np.testing.assert_allclose(engine.score(views), expected, rtol=1e-4, atol=1e-5, err_msg=f"{name} {runtime}")
        np.testing.assert_allclose(logits(model, views), expected, rtol=1e-4, atol=1e-5, err_msg=name)

    np.testing.assert_array_equal(views_of_file(video, clip, "dense").reshape(views.shape), views)
    scores = softmax(video_logits(expected, clip.average)[None])[0]  # of the video file, which came last
    found = {guess.label: guess.score for guess in Predictor(file, sampling="dense").predict(video)}
    assert [found[label] for label in LABELS] == pytest.approx(scores.tolist(), abs=1e-4)

    target = tmp_path / "model.int8.onnx"
    quantise(read_exported(file), ModelMetadata.of_file(file), list(views), target)
    assert ModelMetadata.of_file(target) == replace(
        ModelMetadata.of_file(file), precision="int8", reduced_range=ModelMetadata.of_file(target).reduced_range
    )
    for runtime in ("onnxruntime", "openvino"):
        small = open_engine(read_exported(target), runtime, "int8").score(views)  # type: ignore[arg-type]
        assert 0 < np.abs(small - expected).max() / np.abs(expected).max() < 0.1, runtime


@pytest.mark.parametrize("what", ["rgb", "difference", "both"])
def test_a_file_of_before_is_read_and_what_is_new_has_a_new_version(what: str) -> None:
    """Without the field a clip is rgb; rgb is written as it always was."""
    clip = spec_with(input=what)
    text = clip.model_dump_json()
    assert ClipSpec.model_validate_json(text) == clip
    assert ('"version":1' in text, "input" in text) == ((True, False) if what == "rgb" else (False, True))
    assert ClipSpec.model_validate(spec_with().model_dump()).input == "rgb"
    assert eval(repr(clip), {"ClipSpec": ClipSpec}) == clip


def test_a_difference_has_two_frames() -> None:
    """Refused where it is written, where a network is built, and where a file claims it."""
    one: dict[str, Any] = {"network": {"num_segments": 1}}
    with pytest.raises(
        UserError, match=r"clip\.input is difference, but (teacher|student)\.network\.num_segments is 1"
    ):
        params_with(clip={"input": "difference"}, student=one, teacher=one)
    with pytest.raises(ValueError, match="num_segments is 1, and a difference is one of two frames"):
        build_model("pptsm", 18, 2, 1, input="both")
    with pytest.raises(ValueError, match='input is "flow"; known are rgb, difference, both'):
        build_model("pptsm", 18, 2, 4, input="flow")  # type: ignore[arg-type]
    said = CLIP.model_dump() | {"segments": 1, "input": "both", "version": 2}
    with pytest.raises(ValueError, match="clips of 1 frame, and input is both"):
        ClipSpec.model_validate(said)


def start_of_frames(folder: Path, **section: Any) -> dict[str, np.ndarray]:
    """Weights of a student that looks at frames."""
    paddle.seed(7)
    student = params_with(**SETTINGS).student
    arrays = {name: value.numpy() for name, value in network_arguments(student, len(TWO)).build().state_dict().items()}
    folder.mkdir(parents=True)
    write_arrays(folder / "weights.pdparams", arrays)
    return arrays


@pytest.fixture
def moving(place: Path) -> Path:
    """The videos of `place`, in which something moves: to the right in dark ones, to the left in light ones."""
    for path in sorted((place / "videos").rglob("*.mp4")):
        frames = moving_square(8, seed=int(path.stem[-1]))
        write_video(path, frames if path.parent.name == "dark" else frames[::-1], 10, "mpeg4")
    return place


@pytest.mark.parametrize("what", ["difference", "both"])
def test_a_training_goes_from_weights_for_frames_to_its_card(
    moving: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first layer is taken as it is, or half of it for each; a network is built from its folder alone."""
    start = start_of_frames(Path("start/student"))
    still = {"clip": {"input": what}, "training": {"base_lr": 1e-12}}
    card, _ = fit("student", still)
    assert (card["clip"]["input"], card["clip"]["version"]) == (what, 2)
    spread = ", the first layer's halved for frames and differences"
    assert (spread in capsys.readouterr().err) == (what == "both")
    trained, name = load_network("student"), "backbone.conv1_1._conv.weight"
    assert (trained.input, trained.stem_name) == (what, name)
    expected = start[name] if what == "difference" else np.concatenate([start[name] / 2] * 2, axis=1)
    np.testing.assert_allclose(trained.state_dict()[name].numpy(), expected, atol=1e-6)
    assert read_card("student").clip.seen in model_card(values(clip=read_card("student").clip))


@pytest.mark.parametrize(
    "change",
    [
        {"student": {"epochs": 0, "start": {"weights": "x"}}},
        {"training": {"freeze_stages": 1}},
        {"training": {"batch_norm": "frozen", "precise_bn_every": 0}},
    ],
)
def test_a_halved_first_layer_has_to_learn(place: Path, change: dict[str, Any]) -> None:
    """Its batch norm was measured on frames alone."""
    start_of_frames(Path("start/student"))
    with pytest.raises(UserError, match=r"knows frames alone: its first layer has to learn"):
        fit("student", {"clip": {"input": "both"}}, change)
    assert not Path("student").exists()


def test_a_network_of_frames_takes_no_weights_for_both(tmp_path: Path) -> None:
    """Half of a first layer is no first layer."""
    both = network("pptsm", "both")
    path = tmp_path / "weights.pdparams"
    write_arrays(path, {name: value.numpy() for name, value in both.state_dict().items()})
    assert load_weights(network("pptsm", "both"), path).spread == []
    with pytest.raises(UserError, match=r"conv1_1\._conv\.weight is \[8, 6, 3, 3\] there.*and clip\.input"):
        load_weights(network("pptsm", "rgb"), path)


def test_a_student_learns_from_a_teacher_of_the_same_clips(moving: Path) -> None:
    """One clip section for both roles: the teacher is built as its card says."""
    fit("teacher", {"clip": {"input": "both"}})
    card, _ = fit("student", {"clip": {"input": "both"}}, teacher=Path("teacher"))
    assert card["distilled"] is True
    assert [load_network(role).input for role in ("teacher", "student")] == ["both", "both"]


def test_videos_in_which_nothing_moves_teach_differences_nothing(place: Path) -> None:
    """A batch of nothing but zeros has no statistics: the training stops with a sentence, and writes nothing."""
    with pytest.raises(UserError, match=r"the loss became .* on clips of "):
        fit("student", {"clip": {"input": "difference"}})
    assert not Path("student").exists()
