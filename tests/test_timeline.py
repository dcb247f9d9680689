"""Long videos: windows and what they are merged into, answers as of parts, files that are written, bad files."""

import json
import math
import re
import time
from pathlib import Path

import numpy as np
import pytest

from conftest import moving_square, pptsm
from helpers.exported import LABELS, exported
from helpers.feeds import crashes, fails, hangs
from helpers.videos import KINDS, encode, headers_first
from pptsm.evaluation.detection import Found, average_precision, mean_average_precision, temporal_iou
from pptsm.evaluation.model_file import Exported, with_features
from pptsm.runtime.errors import UserError
from pptsm.runtime.feed import FeedFailure, feed
from pptsm.serving.predictor import Predictor
from pptsm.serving.timeline import WindowScorer, timeline_of
from pptsm.serving.timeline_files import write_picture, write_srt
from pptsm.serving.windows import Cutter, Grid, Merger, Segment, spans_of
from pptsm.video.encode import write_video
from pptsm.video.types import FrameRange, Presented, VideoError
from pptsm.video.video import Video

SILENT_SEC = 60.0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("model"))


def of(video: Path, model: Path, grid: Grid, sampling: str | None = None, **options: object) -> object:
    scorer = WindowScorer(Predictor(model, sampling), **options)  # type: ignore[arg-type]
    return timeline_of(video, scorer, grid, 0.5, 1, SILENT_SEC)


def test_windows_cover_a_video() -> None:
    """Every step one, until the end is covered; the last is cut off there; a short video is one window."""
    begins = np.arange(26) / 10  # until 2.6 s
    assert spans_of(begins, 2.6, Grid(1.0, 0.5)) == [
        (0.0, 1.0, FrameRange(0, 10)),
        (0.5, 1.5, FrameRange(5, 10)),
        (1.0, 2.0, FrameRange(10, 10)),
        (1.5, 2.5, FrameRange(15, 10)),
        (2.0, 2.6, FrameRange(20, 6)),
    ]
    assert [span.end_sec for span in spans_of(begins, 2.6, Grid(1.3, 1.3))] == [1.3, 2.6]
    assert spans_of(begins[:3], 0.3, Grid(2.0, 1.0)) == [(0.0, 0.3, FrameRange(0, 3))]
    assert spans_of([], 0.0, Grid(2.0, 1.0)) == []


def test_windows_may_lie_apart_and_pass_over_what_is_not_there() -> None:
    """Frames between two windows are not kept; a leap of the clock costs no time."""
    apart = Cutter(Grid(0.2, 1.0))
    assert [apart.add(begin) for begin in (0.0, 0.1, 0.2)] == [[], [], [(0.0, 0.2, FrameRange(0, 2))]]
    assert apart.add(0.5) == []
    assert apart.first == 4  # none of those before
    found = spans_of([0.0, 0.1, 1e7, 1e7 + 0.1], 1e7 + 0.2, Grid(1.0, 0.5))
    assert [span.frames for span in found] == [FrameRange(0, 2), FrameRange(2, 2)]


def test_cutting_is_what_a_part_of_the_file_is() -> None:
    """For uneven times: the frames of each window are those that `Video.span` would take."""
    rng = np.random.default_rng(3)
    begins = np.sort(np.cumsum(rng.choice([0.02, 0.04, 0.3], 200)) + rng.uniform(-0.0009, 0.0009, 200))
    ends = 0.4 + 0.12 * np.arange(200)
    assert (np.abs(begins[:, None] - ends).min(axis=0) < 0.0004).any()  # some begin just where a window ends
    for span in spans_of(begins, float(begins[-1]) + 0.04, Grid(0.4, 0.12)):
        first, stop = np.searchsorted(begins, np.array(span[:2]) - 0.0005)
        assert span.frames == (first, stop - first)


def merged(scores: list[list[float]], threshold: float = 0.5, smooth: int = 1, starts: list[float] | None = None):
    merger, cells, segments = Merger(["a", "b"], Grid(2.0, 1.0), threshold, smooth), [], []
    for number, row in enumerate(scores):
        start = starts[number] if starts else float(number)
        more = merger.add(start, start + 2.0, np.array(row, np.float32))
        cells += more[0]
        segments += more[1]
    more = merger.finish()
    return [*cells, *more[0]], [*segments, *more[1]]


def test_neighbours_of_a_class_are_one_segment() -> None:
    """Each window speaks for the time up to halfway to the next; scores are means; classes are apart."""
    cells, segments = merged([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]])
    assert [cell[:2] for cell in cells] == [(0.0, 1.5), (1.5, 2.5), (2.5, 4.0)]
    assert segments == [Segment("a", 0.0, 2.5, 0.8), Segment("b", 2.5, 4.0, 0.8)]
    assert merged([[0.6, 0.6]])[1] == [Segment("a", 0.0, 2.0, 0.6), Segment("b", 0.0, 2.0, 0.6)]
    assert len(merged([[0.5, 0.5]])[1]) == 2  # the threshold itself counts
    assert merged([[0.4, 0.3]])[1] == []
    assert merged([])[1] == []


def test_smoothing_is_the_mean_of_those_around() -> None:
    """Of three windows, at the ends of two; a single window that differs is smoothed away."""
    rows = [[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.9, 0.1]]
    cells, segments = merged(rows, smooth=3)
    assert np.allclose([cell.scores[0] for cell in cells], [0.9, 0.7, 0.7, 0.6])
    assert [(one.label, one.start_sec, one.end_sec) for one in segments] == [("a", 0.0, 5.0)]
    assert len(merged(rows, smooth=1)[1]) == 3
    many, _ = merged(rows * 5, smooth=7)
    whole = np.array(rows * 5)[:, 0]
    assert np.allclose([c.scores[0] for c in many], [whole[max(0, i - 3) : i + 4].mean() for i in range(20)], atol=1e-6)


def test_what_was_not_seen_parts_segments() -> None:
    """A window that was left out is bridged, a longer gap is not."""
    assert len(merged([[0.9, 0.1]] * 2, starts=[0.0, 3.0])[1]) == 1
    cells, segments = merged([[0.9, 0.1]] * 3, starts=[0.0, 1.0, 9.0], smooth=3)
    assert [(one.start_sec, one.end_sec) for one in segments] == [(0.0, 3.0), (9.0, 11.0)]
    assert [cell[:2] for cell in cells] == [(0.0, 1.5), (1.5, 3.0), (9.0, 11.0)]


@pytest.mark.parametrize("sampling", ["uniform", "dense"])
@pytest.mark.parametrize("kind", ["h264 mp4, uneven times", "mpeg4 B-frames avi", "h264 transport stream"])
def test_a_window_is_answered_as_that_part_of_the_file(tmp_path: Path, model: Path, kind: str, sampling: str) -> None:
    """The same scores as `Predictor.predict(file, part=...)`, whether or not packets tell the frames' times."""
    video = encode(tmp_path / f"a{KINDS[kind].suffix}", KINDS[kind])
    predictor, found = Predictor(model, sampling), of(video, model, Grid(1.0, 0.4), sampling)
    end_sec = Video(video).timing().end_sec
    assert len(found.windows) == math.ceil(round((end_sec - 1.0) / 0.4, 6)) + 1
    for start_sec, stop_sec, scores in found.windows:
        expected = {guess.label: guess.score for guess in predictor.predict(video, 3, part=(start_sec, stop_sec))}
        assert {label: round(float(s), 6) for label, s in zip(LABELS, scores, strict=True)} == expected


def test_frames_are_decoded_and_converted_once(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each frame that overlapping windows show, pixels are made once; of the others, never."""
    from pptsm.serving import timeline as module

    video = encode(tmp_path / "a.mp4", KINDS["h264 mp4"])
    sizes = []
    monkeypatch.setattr(module, "resized", lambda image, size: sizes.append(size) or image)
    spec = Predictor(model).metadata.clip
    plan, *windows = module.windows_of_file(video, spec, "uniform", Grid(1.0, 0.1))
    assert plan.windows == len(windows) > 20
    assert len(sizes) <= KINDS["h264 mp4"].count < spec.segments * len(windows)


def test_frames_are_kept_while_windows_need_them(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not more of them than a window shows and the frame that ends it, however long the video is."""
    from pptsm.serving import timeline as module

    class Watched(module._Kept):
        most = 0

        def add(self, number: int, image: np.ndarray) -> None:
            super().add(number, image)
            Watched.most = max(Watched.most, len(self._images))

    monkeypatch.setattr(module, "_Kept", Watched)
    image = moving_square(1)[0]
    frames = (Presented(number / 10, (number + 1) / 10, lambda: image) for number in range(500))
    windows = list(module.windows_of(frames, Predictor(model).metadata.clip, "uniform", Grid(2.0, 0.5)))
    assert len(windows) == 97
    assert 20 <= Watched.most <= 21


def test_features_are_what_the_last_layer_is_given(tmp_path: Path, model: Path) -> None:
    """With the layer's weights they give the logits, and so the scores."""
    import onnx
    from onnx import numpy_helper

    video = encode(tmp_path / "a.mp4", KINDS["h264 mp4"])
    found = of(video, model, Grid(1.0, 0.5), features=True)
    features = np.stack(found.features)
    assert features.shape == (len(found.windows), 64)
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(str(model)).graph.initializer}
    for node in onnx.load(str(model)).graph.node:
        if node.op_type == "Constant":
            arrays[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    weight = next(array for array in arrays.values() if array.shape == (64, 3))
    bias = next(array for name, array in arrays.items() if array.shape == (3,) and "linear" in name)
    logits = features @ weight + bias
    scores = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores /= scores.sum(axis=1, keepdims=True)
    assert np.allclose(scores, [scores for *_, scores in found.windows], atol=1e-5)


def test_a_network_without_such_a_layer_has_no_features() -> None:
    """It is refused with a sentence."""
    import onnx

    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("ReduceMean", ["clips"], ["logits"])],
        "g",
        [value("clips", 1, [1, 2])],
        [value("logits", 1, [1, 1])],
    )
    with pytest.raises(UserError, match=r"x\.onnx has no features"):
        with_features(Exported(Path("x.onnx"), onnx.helper.make_model(graph).SerializeToString(), "", False))


def test_the_command_writes_what_it_is_asked_for(tmp_path: Path, model: Path) -> None:
    """Table, ActivityNet's JSON, subtitles, picture, features, video; all from the same segments."""
    encode(tmp_path / "a b.mp4", KINDS["h264 mp4"])
    names = {"--csv": "w.csv", "--json": "s.json", "--srt": "s.srt", "--features": "f.npy", "--overlay": "o.mp4"}
    done = pptsm(
        "timeline", "a b.mp4", "--model", model, "--window", 1, "--threshold", 0.01, "--picture", "p.png",
        *(word for pair in names.items() for word in pair), cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout == ""
    rows = [line.split(",") for line in (tmp_path / "w.csv").read_text().splitlines()]
    assert rows[0] == ["start_sec", "end_sec", "label", "score", *(f"score:{label}" for label in LABELS)]
    assert [row[:2] for row in rows[1:3]] == [["0.0", "1.0"], ["0.5", "1.5"]]
    results = json.loads((tmp_path / "s.json").read_text())
    assert set(results) == {"version", "results", "external_data"}
    assert list(results["results"]) == ["a b"]
    segments = results["results"]["a b"]
    assert {frozenset(segment) for segment in segments} == {frozenset({"label", "score", "segment"})}
    length = len(Video(tmp_path / "a b.mp4")) / 24
    assert all(0 <= one["segment"][0] < one["segment"][1] <= length + 0.1 for one in segments)
    assert len(np.load(tmp_path / "f.npy")) == len(rows) - 1
    assert (tmp_path / "s.srt").read_text().count(" --> ") == len(segments)
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    drawn, original = Video(tmp_path / "o.mp4"), Video(tmp_path / "a b.mp4")
    assert np.allclose(drawn.timing().begins_sec, original.timing().begins_sec, atol=1e-3)
    first, before = (video.frames(np.array([0])).pixels[0] for video in (drawn, original))
    top = slice(0, first.shape[0] // 2)
    assert np.abs(first[top].astype(int) - before[top]).mean() < 8  # the picture is there
    assert np.median(first[-4:]) < 16  # and a dark line below it
    printed = pptsm("timeline", "a b.mp4", "--model", model, "--window", 1, "--threshold", 0.01, cwd=tmp_path).stdout
    assert len(printed.splitlines()) == len(segments)


BAD = {
    "gone.mp4": "no such file",
    "folder.mp4": "a folder|Is a directory|cannot be read|not a readable video",
    "text.mp4": "not a readable video",
    "empty.mp4": "the file is empty",
    "cut.mp4": "cut off|does not decode",
    "list.m3u8": "not a readable video",
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_a_sentence(tmp_path: Path, model: Path, name: str) -> None:
    """And nothing is written."""
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "text.mp4").write_text("a text\n" * 99)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:2,\nwhole.mp4\n")
    whole = headers_first(encode(tmp_path / "whole.mp4", KINDS["h264 mp4"]))
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    done = pptsm("timeline", name, "--model", model, "--json", "s.json", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr
    assert re.search(BAD[name], done.stderr), done.stderr
    assert not (tmp_path / "s.json").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--window", "0"], "--window is 0 s"),
        (["--window", "nan"], "--window is nan s"),
        (["--every", "-1"], "--every is -1 s"),
        (["--threshold", "1.5"], "--threshold is 1.5"),
        (["--threshold", "nan"], "--threshold is nan"),
        (["--smooth", "2"], "--smooth is 2"),
        (["--csv", "x", "--json", "x"], "--csv and --json both name x"),
        (["--csv", "a.mp4"], "--csv names the video itself"),
        (["--overlay", "x.avi"], "--overlay writes .mp4"),
        (["--picture", "x.gif"], "--picture writes .png"),
        (["--model", "gone.onnx"], "no exported model gone.onnx"),
    ],
)
def test_wrong_options_are_a_sentence(tmp_path: Path, model: Path, options: list[str], said: str) -> None:
    """Before anything is decoded."""
    write_video(tmp_path / "a.mp4", moving_square(3), 25, "h264")
    before = (tmp_path / "a.mp4").read_bytes()
    done = pptsm("timeline", "a.mp4", "--model", model, *options, cwd=tmp_path, check=False)
    assert (done.returncode, said in done.stderr) == (1, True), done.stderr
    assert (tmp_path / "a.mp4").read_bytes() == before


def test_three_frames_are_a_window(tmp_path: Path, model: Path) -> None:
    """A video shorter than a window is answered as a whole."""
    write_video(tmp_path / "a.mp4", moving_square(3), 25, "h264")
    found = of(tmp_path / "a.mp4", model, Grid(2.0, 1.0))
    assert [window[:2] for window in found.windows] == [(0.0, 0.12)]


@pytest.mark.parametrize(
    ("work", "error", "said"),
    [
        (hangs, FeedFailure, "the decoder hung"),
        (crashes, FeedFailure, "the decoder crashed"),
        (fails, VideoError, "no more"),
    ],
)
def test_a_decoder_that_hangs_or_crashes_is_a_sentence(work: object, error: type[Exception], said: str) -> None:
    """It runs in another process, which is ended; what it gave before has come."""
    with feed(work, (), 1.0) as results:  # type: ignore[arg-type]
        assert next(results) == 1
        with pytest.raises(error, match=said):
            next(results)


def test_a_slow_reader_is_no_silence_of_the_decoder(tmp_path: Path, model: Path) -> None:
    """The network may take longer for a window than a decoder may be silent."""
    video = encode(tmp_path / "a.mp4", KINDS["h264 mp4"])
    scorer, seen = WindowScorer(Predictor(model)), []

    def slow(window: object) -> object:
        seen.append(window)
        time.sleep(2.0 if len(seen) == 1 else 0)
        return scorer(window)  # type: ignore[arg-type]

    slow.labels, slow.clip, slow.sampling = scorer.labels, scorer.clip, scorer.sampling  # type: ignore[attr-defined]
    assert timeline_of(video, slow, Grid(0.5, 0.5), 0.5, 1, 1.0).windows  # type: ignore[arg-type]


def test_subtitles_and_picture_show_names_as_text(tmp_path: Path, model: Path) -> None:
    """No line of its own, no mark-up, no formula."""
    write_srt(tmp_path / "a.srt", [Segment("a\n2 --> <b>{x}", 3599.9996, 3661.25, 0.5)])
    assert (tmp_path / "a.srt").read_text() == "1\n01:00:00,000 --> 01:01:01,250\na\\n2 --› ‹b›(x) 50%\n"
    write_video(tmp_path / "a.mp4", moving_square(30), 25, "h264")
    found = of(tmp_path / "a.mp4", model, Grid(0.5, 0.25))
    found.labels = ["$\\frac$", "<b>", "c" * 99]
    write_picture(tmp_path / "p.svg", found)
    assert "frac" in (tmp_path / "p.svg").read_text()


def test_overlap_in_time() -> None:
    """Overlap over union; apart is 0, and so is nothing with nothing."""
    others = [Found("a", 0, 10), Found("a", 5, 15), Found("a", 10, 20), Found("a", 3, 3)]
    assert temporal_iou(Found("a", 0, 10), others).tolist() == [1, 1 / 3, 0, 0]
    assert temporal_iou(Found("a", 3, 3), [Found("a", 3, 3)]).tolist() == [0]


def test_average_precision_by_hand() -> None:
    """Ranks: right, twice the same (wrong), right; two of three found: (1 + 2/3) / 3. A lower bar changes nothing."""
    truth = {"v": [Found("a", 0, 10), Found("a", 20, 30)], "w": [Found("a", 0, 10)]}
    found = {"v": [Found("a", 0, 9, 0.9), Found("a", 1, 10, 0.8), Found("a", 20, 28, 0.7)], "w": []}
    assert average_precision(truth, found, 0.5) == pytest.approx((1 + 2 / 3) / 3)
    assert average_precision(truth, found, 0.85) == pytest.approx(1 / 3)
    assert average_precision(truth, {}, 0.5) == 0
    raised = {"v": [Found("a", 40, 50, 0.9), Found("a", 0, 10, 0.8), Found("a", 20, 30, 0.7)]}  # 0, 1/2, 2/3
    assert average_precision({"v": truth["v"]}, raised, 0.5) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="not a number"):
        average_precision(truth, {"v": [Found("a", 0, 9, math.nan)]}, 0.5)


def test_the_mean_is_over_the_classes_that_are_there() -> None:
    """A class that is only predicted counts nothing; one that is never predicted counts 0."""
    truth = {"v": [Found("a", 0, 10), Found("b", 10, 20)]}
    assert mean_average_precision(truth, {"v": [Found("a", 0, 10, 0.5), Found("c", 0, 9, 1)]}, 0.5) == 0.5
    with pytest.raises(ValueError, match="no segment"):
        mean_average_precision({"v": []}, {}, 0.5)
