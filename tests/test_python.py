"""The package in a program of one's own: what docstrings, docs/python.md and README show, run, with what it prints."""

import doctest
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest

import pptsm
from conftest import ROOT, good_index, moving_square, params_with
from helpers.networks import seeded_state
from helpers.shown import DOCTESTED
from pptsm.data.clips import views_of_file
from pptsm.data.spec import clip_spec
from pptsm.data.table import load_index, load_labels, save_index, save_labels
from pptsm.deploy.convert import convert_to_onnx, save_inference
from pptsm.evaluation.engines import open_session
from pptsm.frames.archive import read_frames, unpack
from pptsm.frames.store import write_archive
from pptsm.ingest.index import find_videos
from pptsm.ingest.motion import CLASSES
from pptsm.params.checking import load_params
from pptsm.serving.metadata import ModelMetadata
from pptsm.serving.predictor import Predictor, predict_files
from pptsm.video.encode import write_video
from pptsm.video.image_sequence import open_clip
from pptsm.video.scan import scan_for_videos
from pptsm.video.video import Video, probe
from pptsm.weights.card import make_card, network_arguments, read_card, save_network
from pptsm.weights.loading import load_weights
from pptsm.weights.state_dict import as_arrays

PAGES = [ROOT / name for name in DOCTESTED]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `make repro` leaves it: the student's network, trained for "left" alone, its export, and videos."""
    folder = tmp_path_factory.mktemp("project")
    params = params_with()
    spec = clip_spec(params.clip, params.student.network.num_segments, params.sampling)
    network = network_arguments(params.student, len(CLASSES)).build()
    state = seeded_state(network)
    bias = np.zeros(len(CLASSES), np.float32)
    bias[CLASSES.index("left")] = 8  # the same answer on every processor
    state["head.fc.bias"] = paddle.to_tensor(bias)
    state["head.fc.weight"] = state["head.fc.weight"] * 0.1
    network.set_state_dict(state)
    (folder / "models/student").mkdir(parents=True)
    (folder / "models/export").mkdir()
    card = make_card("student", params.student, list(CLASSES), spec, revision="student-0123456789abcdef")
    save_network(folder / "models/student", card, as_arrays(network.state_dict()))
    save_inference(network, folder / "inference", spec.shape)
    metadata = ModelMetadata(list(CLASSES), spec, card.revision)
    convert_to_onnx(folder / "inference", folder / "models/export/model.onnx", 17, metadata.to_properties())
    (folder / "model.onnx").symlink_to("models/export/model.onnx")  # docstrings name no path of the graph
    (folder / "student").symlink_to("models/student")
    (folder / "videos").mkdir()
    for name, seed in (("a", 0), ("video", 0), ("videos/b", 1), ("videos/c", 2)):
        write_video(folder / f"{name}.mp4", moving_square(32, seed=seed), 10, "h264")
    (folder / "videos/broken.mp4").write_bytes(b"no video")
    return folder


def examples() -> Iterator[Any]:
    """Those of the public names and their methods, and of the pages."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    for name in ("", *pptsm.__all__):
        found = getattr(pptsm, name) if name else pptsm
        for test in finder.find(found, name or "pptsm", module=False, globs={}):
            if test.examples and (name or test.name == "pptsm"):
                yield pytest.param(test, id=test.name)
    for page in PAGES:
        blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.S)
        test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, page.name, str(page), 0)
        yield pytest.param(test, id=page.name)


@pytest.mark.parametrize("test", list(examples()))
def test_an_example_prints_what_it_says(test: doctest.DocTest, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each runs as it stands, in a project's folder; those of a method have what its class's example made."""
    monkeypatch.chdir(project)
    owner, _, method = test.name.partition(".")
    if method and owner == "Predictor":
        test.globs.update({"predictor": Predictor("model.onnx"), "np": np})
    report: list[str] = []
    outcome = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append)
    assert outcome.attempted > 0
    assert outcome.failed == 0, "".join(report)


def test_every_public_name_and_method_has_an_example() -> None:
    """Of the four names of the package, and of what a Predictor is asked."""
    shown = {param.id for param in examples()}
    assert {
        *pptsm.__all__,
        "Predictor.predict",
        "Predictor.predict_many",
        "Predictor.answer",
        *(page.name for page in PAGES),
    } <= shown


def test_what_is_shown_of_a_clip_makes_it_again(project: Path) -> None:
    """Its repr is Python, without the fields that have their default; one that is another value is shown."""
    spec = Predictor(project / "models/export/model.onnx").metadata.clip
    other = spec.model_copy(update={"mean": (0.5, 0.5, 0.5)})
    for each in (spec, other):
        assert eval(repr(each), {"ClipSpec": pptsm.ClipSpec}) == each
    assert "mean" not in repr(spec)
    assert "mean=(0.5, 0.5, 0.5)" in repr(other)


@pytest.mark.parametrize(
    "arguments", [{"activation": "gelu"}, {"width": float("nan")}, {"width": float("inf")}], ids=str
)
def test_what_no_network_has_is_refused(arguments: dict[str, Any]) -> None:
    """By `build_model`, naming the argument."""
    with pytest.raises(ValueError, match=next(iter(arguments))):
        pptsm.build_model("pptsm", 18, 3, 4, **{"width": 0.125, **arguments})


class Name:
    """A path of another library."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


@pytest.mark.parametrize("named", [str, Path, Name])
def test_each_function_takes_names_and_paths(project: Path, tmp_path: Path, named: Any) -> None:
    """Of files that are read, and of those that are written; what comes out is the same."""
    params = load_params(named(ROOT / "params.yaml"))
    assert params == params_with()
    video, student = named(project / "a.mp4"), named(project / "models/student")
    assert (probe(video).num_frames, len(Video(video)), len(open_clip(video))) == (32, 32, 32)
    assert [path.name for path in scan_for_videos(named(project / "videos"))] == ["b.mp4", "broken.mp4", "c.mp4"]
    assert set(find_videos(named(project / "videos"))) == {"b.mp4", "broken.mp4", "c.mp4"}
    network, card = pptsm.load_network(student), read_card(student)
    assert load_weights(network, named(project / "models/student/weights.pdparams")).coverage == 1
    (tmp_path / "again").mkdir()
    save_network(named(tmp_path / "again"), card, as_arrays(network.state_dict()))
    assert read_card(tmp_path / "again") == card
    write_archive(named(tmp_path / "a.frames.zip"), video, 4, params.frames)
    assert read_frames(named(tmp_path / "a.frames.zip"), np.arange(4)).pixels.shape[0] == 4
    assert unpack(named(tmp_path / "a.frames.zip"), named(tmp_path / "loose")) == 4
    assert views_of_file(video, card.clip, "uniform").shape == card.clip.shape
    model = named(project / "models/export/model.onnx")
    assert open_session(model).get_inputs()[0].name == "clips"
    (answer,) = predict_files([video], model, None, 1, 60)
    assert answer.top == Predictor(model).predict(video, 1)
    save_labels(["a", "b"], named(tmp_path / "labels.txt"))
    assert load_labels(named(tmp_path / "labels.txt")) == ["a", "b"]
    save_index(good_index(), named(tmp_path / "index.csv"))
    assert len(load_index(named(tmp_path / "index.csv"))) == len(good_index())
    write_video(named(tmp_path / "written.mp4"), moving_square(4), 10, "mpeg4")
    assert len(Video(tmp_path / "written.mp4")) == 4
