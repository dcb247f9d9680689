"""Why an answer is given, where the reason is known: scorers that read one segment or the order, networks by hand."""

import json
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import paddle
import pandas as pd
import pytest
from paddle import nn
from PIL import Image

from conftest import moving_square, pptsm, spec_with
from helpers.exported import CLIP, LABELS, exported, network
from helpers.networks import seeded_state
from pptsm.data.clips import EvaluationVideos, FrameSource
from pptsm.data.transforms import ClipArray, Pixels
from pptsm.evaluation.engines import onnx_scorer, open_session
from pptsm.evaluation.explain import Explanation, Reordered, explain_clip, orders, replacements
from pptsm.evaluation.explanations import Looking, explained_mistakes
from pptsm.evaluation.gradcam import enlarged, gradcam
from pptsm.evaluation.order import order_by_class, survival
from pptsm.model.layers import temporal_shift
from pptsm.model.network import VideoNetwork, build_model
from pptsm.runtime.errors import UserError
from pptsm.serving.explanation import Explained, Looked
from pptsm.serving.explanation_files import laid_over, nearest, strip, values, write_html
from pptsm.serving.predictor import Predictor
from pptsm.video.encode import write_video
from pptsm.weights.card import BuildableNetwork, Card, save_network

SEGMENTS = 8


def numbered() -> ClipArray:
    """A clip [8, 3, 2, 2] whose segments hold their own numbers."""
    clip: ClipArray = np.tile(np.arange(SEGMENTS, dtype=np.float32)[:, None, None, None], (1, 3, 2, 2))
    return clip


def numbers_of(clips_BSCHW: ClipArray) -> np.ndarray:
    return clips_BSCHW[:, :, 0, 0, 0]


def rising(clips_BSCHW: ClipArray) -> np.ndarray:
    """Class 1 where brightness rises from the first half to the second, else class 0."""
    means_BS = clips_BSCHW.mean(axis=(2, 3, 4))
    half = means_BS.shape[1] // 2
    rise_B = means_BS[:, half:].mean(axis=1) - means_BS[:, :half].mean(axis=1)
    return np.stack([-rise_B, rise_B], axis=1).astype(np.float32)


@pytest.mark.parametrize("decisive", range(SEGMENTS))
def test_the_only_segment_that_counts_is_found(decisive: int) -> None:
    """The network answers class 1 where it sees that segment; whichever other is replaced, nothing changes."""

    def score(clips: ClipArray) -> np.ndarray:
        seen = (numbers_of(clips) == decisive).any(axis=1)
        return np.stack([np.zeros(len(seen)), 4.0 * seen], axis=1).astype(np.float32)

    found = explain_clip(score, numbered())
    assert (found.answer, found.label, found.decisive) == (1, 1, decisive)
    expected = np.zeros(SEGMENTS)
    expected[decisive] = 1 / (1 + np.exp(-4)) - 0.5
    np.testing.assert_allclose(found.drops, expected, atol=1e-6)
    other = explain_clip(score, numbered(), label=0)
    assert (other.answer, other.label) == (1, 0)
    np.testing.assert_allclose(other.drops, -expected, atol=1e-6)


def test_a_segment_is_replaced_by_each_neighbour() -> None:
    assert replacements(3) == [(0, 1, (1, 1, 2)), (1, 0, (0, 0, 2)), (1, 2, (0, 2, 2)), (2, 1, (0, 1, 1))]


def test_orders_are_fixed_and_fair() -> None:
    """The same each time; never as it is; each shuffled one with its reverse; two segments have one other order."""
    found = orders(SEGMENTS)
    assert found == orders(SEGMENTS)
    assert found[0] == ("reversed", (7, 6, 5, 4, 3, 2, 1, 0))
    shuffled = {order for name, order in found if name == "shuffled"}
    assert all(sorted(order) == list(range(SEGMENTS)) for order in shuffled)
    assert shuffled == {order[::-1] for order in shuffled}
    assert not shuffled & {tuple(range(SEGMENTS)), found[0][1]}
    assert orders(2) == [("reversed", (1, 0))]


def test_reversing_turns_what_is_told_by_order_alone() -> None:
    clip = numbered()
    found = explain_clip(rising, clip)
    assert found.answer == 1
    assert (found.reordered[0].answer, found.reordered[0].kept) == (0, False)
    for one in found.reordered:
        assert one.answer == rising(clip[list(one.order)][None])[0].argmax()
    blind = explain_clip(lambda clips: np.sort(numbers_of(clips), axis=1)[:, -2:], clip)
    assert all(one.kept for one in blind.reordered)


@pytest.mark.parametrize("shift", [True, False])
def test_a_network_without_shift_answers_every_order_alike(tmp_path: Path, shift: bool) -> None:
    """From the exported file; with the shift the same weights do not."""
    model = None
    if not shift:
        model = build_model("pptsm", 18, 3, 4, width=0.125, shift=False)
        model.set_state_dict(seeded_state(model))
        model.eval()
    score = onnx_scorer(open_session(exported(tmp_path, model)))
    clip = np.random.default_rng(5).standard_normal(CLIP.shape).astype(np.float32)
    found = explain_clip(score, clip, label=0)
    scores = [np.exp(score(clip[list(one.order)][None])) for one in found.reordered]
    apart = float(np.ptp(np.concatenate(scores), axis=0).max())
    assert (apart > 1e-3) == shift
    assert shift or all(one.kept for one in found.reordered)


def test_what_cannot_be_explained_is_refused() -> None:
    with pytest.raises(UserError, match="1 frame"):
        explain_clip(rising, numbered()[:1])
    with pytest.raises(UserError, match="not a number"):
        explain_clip(lambda clips: np.full((len(clips), 2), np.nan, np.float32), numbered())


def logits_of(answers: list[int]) -> np.ndarray:
    return np.eye(3, dtype=np.float32)[answers]


def test_which_classes_need_time() -> None:
    """Class 0 is turned into 1 by reversing, class 1 outlives all, of class 2 no video is answered rightly."""
    truth = np.array([0] * 10 + [1] * 10 + [2])
    as_is, turned = [*truth[:20], 0], [1] * 10 + [1] * 10 + [2]
    shuffled = [logits_of([0] * 10 + [1] * 11), logits_of([2] * 5 + [0] * 5 + [1] * 11)]
    found = survival(
        logits_of(as_is), [("reversed", logits_of(turned)), *(("shuffled", x) for x in shuffled)], truth, 3
    )
    assert [(one.label, one.videos, one.kept, one.became, one.needs_time) for one in found] == [
        (0, 10, {"reversed": 0.0, "shuffled": 0.75}, 1, True),
        (1, 10, {"reversed": 1.0, "shuffled": 1.0}, None, False),
        (2, 0, {}, None, None),
    ]
    few = survival(logits_of(as_is[8:12]), [("reversed", logits_of(turned[8:12]))], truth[8:12], 2)
    assert [one.needs_time for one in few] == [None, None]


def test_the_order_of_a_split(tmp_path: Path) -> None:
    """Real files: four that grow brighter, four that are still; a scorer that answers `brighter` or nothing."""
    rows = []
    for number in range(8):
        brighter = number % 2
        levels = 40 + np.linspace(0, 150 * brighter, 16)
        frames = np.broadcast_to(levels[:, None, None, None], (16, 32, 32, 3)).astype(np.uint8)
        write_video(tmp_path / f"{number}.mp4", frames, 25, "h264")
        rows.append((f"{number}.mp4", f"{number}.mp4", 0, 16, brighter))
    table = pd.DataFrame(rows, columns=["id", "path", "first_frame", "num_frames", "label_index"])
    spec = spec_with(resize_px=32, crop_px=32, test_crop_px=32)
    videos = EvaluationVideos(table, FrameSource("video", tmp_path), spec, "uniform")

    def score(pixels: Pixels) -> np.ndarray:
        rise = rising(pixels.values.astype(np.float32))
        return np.stack([np.full(len(rise), 10, np.float32), rise[:, 1]], axis=1)

    still, brighter_ = order_by_class(score, videos, 2, batch_views=3, workers=0)
    assert (still.videos, still.kept, still.became) == (4, {"reversed": 1.0, "shuffled": 1.0}, None)
    assert (brighter_.videos, brighter_.kept["reversed"], brighter_.became, brighter_.needs_time) == (4, 0.0, 0, True)


class ByHand(nn.Layer):
    """A trunk whose maps are known: the stem passes brightness on, then half of the channels move one frame on."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = [nn.AvgPool2D(2)]

    def forward(self, frames: paddle.Tensor) -> paddle.Tensor:
        shifted = temporal_shift(self.stem[0](frames), SEGMENTS, 1 / 3)  # channel 0 comes from the frame before
        return nn.functional.avg_pool2d(shifted, 4)


def by_hand(read_segment: int | None) -> VideoNetwork:
    """Logit 1 is channel 0 of one segment after the shift, or of all; logit 0 is 0."""

    def head(features: paddle.Tensor, num_frames: int) -> paddle.Tensor:
        means = features.mean(axis=[2, 3]).reshape([-1, num_frames, 3])[:, :, 0]
        logit = means.sum(axis=1) if read_segment is None else means[:, read_segment]
        return paddle.stack([paddle.zeros_like(logit), logit], axis=1)

    return VideoNetwork(ByHand(), head, SEGMENTS, "fc", "by hand", "rgb")  # type: ignore[arg-type]


def squares() -> tuple[ClipArray, np.ndarray]:
    """A clip [8, 3, 16, 16] of a bright square that moves, and where it is [8, 16, 16]."""
    where = np.zeros((SEGMENTS, 16, 16), bool)
    for segment in range(SEGMENTS):
        left = 2 * (segment % 7)
        where[segment, left : left + 4, left : left + 4] = True
    return np.repeat(where[:, None].astype(np.float32), 3, axis=1), where


def mass_over_share(maps: np.ndarray, where: np.ndarray) -> float:
    large = enlarged(maps, *where.shape[:0:-1])
    return float(large[where].sum() / large.sum() / where.mean())


def test_maps_lie_on_what_decides_and_differ_by_segment() -> None:
    """The last map has 2 places a side, so it is the stem's; the same map for all segments would miss the square."""
    clip, where = squares()
    maps = gradcam(by_hand(None), clip)
    assert maps.shape == (SEGMENTS, 8, 8)
    assert mass_over_share(maps, where) > 5
    assert mass_over_share(np.repeat(maps.mean(axis=0, keepdims=True), SEGMENTS, axis=0), where) < 3


def test_the_gradient_goes_back_through_the_shift() -> None:
    """What is read of segment 3 came from segment 2."""
    clip, _ = squares()
    maps = gradcam(by_hand(3), clip)
    assert [segment for segment in range(SEGMENTS) if maps[segment].any()] == [2]
    assert not gradcam(by_hand(3), clip, label=0).any()


@pytest.mark.parametrize("name", ["pptsm", "tsm", "pptsm_v2", "tsm_lite"])
def test_large_pictures_have_the_published_map(name: str) -> None:
    """Of the last feature map; where a linear layer follows the mean, it is that layer's own share of each place."""
    model = build_model(name, 18, 3, 2, width=0.125)  # type: ignore[arg-type]
    model.set_state_dict(seeded_state(model))
    model.eval()
    clip = np.random.default_rng(1).standard_normal((2, 3, 224, 224)).astype(np.float32)
    maps = gradcam(model, clip, label=2)
    assert maps.shape == (2, 7, 7)
    if name != "pptsm_v2":  # a layer with an activation stands between
        features = model.backbone(paddle.to_tensor(clip)).numpy()
        weights = model.head.fc.weight.numpy()[:, 2]
        expected = np.maximum(np.einsum("schw,c->shw", features, weights), 0) / len(clip)
        np.testing.assert_allclose(maps, expected, rtol=1e-3, atol=1e-4 * expected.max())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file, the folder of its weights, and a video."""
    place = tmp_path_factory.mktemp("explained")
    exported(place)
    model = network()
    arguments = BuildableNetwork(
        network="pptsm", depth=18, num_classes=3, num_segments=4, width=0.125, shift=True, shift_ratio=0.25,
        attention=False, activation="leaky_relu", dropout=0.0,
    )  # fmt: skip
    for name, revision in (("weights", "student-0"), ("other", "student-1")):
        (place / name).mkdir()
        card = Card(
            role="student", network=arguments, classes=LABELS, clip=CLIP, revision=revision, epochs=0, start=None,
            computed_with="",
        )  # fmt: skip
        save_network(place / name, card, {key: value.numpy() for key, value in model.state_dict().items()})
    write_video(place / "a.mp4", moving_square(20), 25, "h264")
    return place


def explained(folder: Path, out: str, *options: str, check: bool = True):
    words = ("explain", "a.mp4", "--model", "model.onnx", "--out", out, *options)
    return pptsm(*words, cwd=folder, check=check)


def test_the_command_writes_each_kind_of_file(folder: Path) -> None:
    """What is said of the whole video is what `pptsm predict` says."""
    done = explained(folder, "a.json", "--weights", "weights", "--label", "right")
    said = json.loads((folder / "a.json").read_text(encoding="utf-8"))
    (best,) = Predictor(folder / "model.onnx").predict(folder / "a.mp4", top_k=1)
    assert said["answer"] == {"label": best.label, "score": best.score, "views": 1}
    assert said["clip"]["explained"] == "right" != best.label
    assert [segment["frame"] for segment in said["segments"]] == [2, 7, 12, 17]
    assert [segment["begin_sec"] for segment in said["segments"]] == [0.08, 0.28, 0.48, 0.68]
    assert np.array(said["gradcam"]).shape == (4, 16, 16)
    assert f"answer: {best.label}" in done.stdout
    without = explained(folder, "b.png")
    assert "no weights in models/student" in without.stderr
    with Image.open(folder / "b.png") as picture:
        assert picture.format == "PNG"
    explained(folder, "over.mp4", "--weights", "weights")
    with av.open(str(folder / "over.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 20


@pytest.mark.parametrize(
    ("out", "options", "sentence"),
    [
        ("x.mp4", (), "no weights in models/student"),
        ("x.txt", (), ".png, .html, .json, .mp4"),
        ("a.mp4", (), "names the video itself"),
        ("x.png", ("--label", "lefd"), "Such as: left"),
        ("x.png", ("--weights", "other"), "student-1, and the model file was made of student-0"),
        ("x.png", ("--weights", "nowhere"), "nowhere"),
    ],
)
def test_a_mistake_gets_a_sentence_and_no_file(folder: Path, out: str, options: tuple[str, ...], sentence: str) -> None:
    video = (folder / "a.mp4").read_bytes()
    done = explained(folder, out, *options, check=False)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert out == "a.mp4" or not (folder / out).exists()
    assert (folder / "a.mp4").read_bytes() == video


def test_a_file_that_is_no_video_gets_a_sentence(folder: Path) -> None:
    (folder / "no.mp4").write_bytes(b"nothing" * 99)
    done = pptsm("explain", "no.mp4", "--model", "model.onnx", "--out", "no.json", cwd=folder, check=False)
    assert done.returncode == 1
    assert "no.mp4 cannot be explained" in done.stderr
    assert not (folder / "no.json").exists()


def test_names_from_outside_are_shown_and_not_obeyed(tmp_path: Path) -> None:
    clip = Explanation(0, 0, 0.9, np.array([0.1, np.float64(-0.2)]), [Reordered("reversed", (1, 0), 1, 0.6, False)])
    looked = Looked(Pixels(None, None, None), 0, np.array([1, 3]), None, (0, 0, 8, 8))
    images = np.zeros((2, 8, 8, 3), np.uint8)
    found = Explained(
        Path("<i>.mp4"), ["<b>\x1b", "&"], "x", 0, 0.9, 1, clip, images, looked, None, "there is no map: <u>."
    )
    write_html(tmp_path / "a.html", found)
    assert strip(replace(found, maps=np.ones((2, 2, 2), np.float32))).height > strip(found).height
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert not any(word in page for word in ("<i>", "<b>", "<u>", "\x1b"))
    assert "&lt;b&gt;" in page
    assert values(found)["segments"][0]["begin_sec"] is None


def test_a_map_lies_over_the_crop_of_its_segment() -> None:
    maps = np.zeros((2, 4, 4), np.float32)
    maps[1] = 2.0
    frame = np.zeros((16, 24, 3), np.uint8)
    assert not laid_over(frame, maps, 0, (4, 0, 20, 16)).any()
    red = laid_over(frame, maps, 1, (4, 0, 20, 16))[..., 0]
    assert red[:, 4:20].min() > 100
    assert not red[:, :4].any()
    assert not red[:, 20:].any()
    assert not laid_over(frame, maps * 0, 1, (4, 0, 20, 16)).any()
    assert [nearest([2, 7, 12], number) for number in (0, 4, 5, 9, 10, 40)] == [0, 0, 1, 1, 2, 2]
    assert [nearest([4, 0, 2], number) for number in (0, 1, 4)] == [1, 1, 0]  # a short video, looked at in turns


@pytest.mark.parametrize("changed", [{"id": "gone"}, {"top1": "another class"}])
def test_predictions_of_other_videos_or_classes_are_a_sentence(changed: dict[str, str], tmp_path: Path) -> None:
    """As where the index was made anew and the evaluation was not."""
    row = {"id": "a", "label": "left", "top1": "right", "score1": 0.9}
    videos = pd.DataFrame([{"id": "a", "num_frames": 8}])
    source = FrameSource("archive", tmp_path)
    looking = Looking(rising, spec_with(segments=SEGMENTS), "uniform", ["left", "right"], videos, source)
    with pytest.raises(UserError, match="`dvc repro evaluate` makes them anew"):
        explained_mistakes(looking, pd.DataFrame([row | changed]), 1)
