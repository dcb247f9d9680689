"""An exported file is what was exported, or it is refused: bits, arrays, metadata, memory."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from conftest import moving_square, pptsm
from helpers.exported import CLIP, LABELS, SHAPE, exported, properties_of
from pptsm.cli import app
from pptsm.evaluation.engines import open_session
from pptsm.evaluation.model_file import DIGEST, has_right_digest
from pptsm.params.checking import load_params
from pptsm.runtime.errors import UserError
from pptsm.serving.inbox import read_results
from pptsm.serving.metadata import ModelMetadata
from pptsm.serving.predictor import Answer, Guess, Predictor, predict_files
from pptsm.video.encode import write_video
from pptsm.video.types import FrameRange, Seconds, VideoError
from pptsm.weights.card import load_network


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported network that tests leave as it is."""
    return exported(tmp_path_factory.mktemp("exported"))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video that tests leave as it is."""
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    write_video(path, moving_square(16), 10, "h264")
    return path


def changed(model_file: Path, folder: Path, change: Callable[[onnx.ModelProto], None], *, digest: bool = False) -> Path:
    """A copy with a change, without its digest: as a file of an older version, or one that somebody made."""
    proto, file = onnx.load(str(model_file)), folder / "changed.onnx"
    if not digest:
        kept = {entry.key: entry.value for entry in proto.metadata_props if entry.key != DIGEST}
        helper.set_model_props(proto, kept)
    change(proto)
    onnx.save(proto, str(file))
    return file


def weights_in(proto: onnx.ModelProto) -> TensorProto:
    """An array of numbers of a network."""
    return next(tensor for tensor in proto.graph.initializer if tensor.data_type == TensorProto.FLOAT and tensor.dims)


# ---- bits -----------------------------------------------------------------------------------------------


def test_a_flipped_bit_anywhere_is_refused(model_file: Path, tmp_path: Path) -> None:
    """In the graph, in an array, in the metadata, in the digest; but for the digest's own name nothing is left out."""
    data, file = model_file.read_bytes(), tmp_path / "flipped.onnx"
    assert has_right_digest(data) is True
    name = data.rindex(DIGEST.encode())
    rng = np.random.default_rng(1)
    places = [int(place) for place in rng.integers(0, len(data), 300)]
    places += [0, len(data) - 1, data.index(b"pptsm.labels"), data.index(LABELS[0].encode()), name + 20]
    for place in places:
        if name - 2 <= place < name + len(DIGEST) + 2:
            continue
        file.write_bytes(data[:place] + bytes([data[place] ^ (1 << int(rng.integers(8)))]) + data[place + 1 :])
        assert has_right_digest(file.read_bytes()) is False
        with pytest.raises(UserError, match=r"flipped\.onnx is not as it was exported.*`dvc repro --force"):
            Predictor(file)


def test_a_change_by_an_editor_of_onnx_files_is_refused(model_file: Path, tmp_path: Path) -> None:
    """One weight in the last place: the graph is whole, and the answer nearly the same."""

    def nudge(proto: onnx.ModelProto) -> None:
        tensor = weights_in(proto)
        raw = bytearray(tensor.raw_data)
        raw[0] ^= 1
        tensor.raw_data = bytes(raw)

    with pytest.raises(UserError, match="is not as it was exported"):
        open_session(changed(model_file, tmp_path, nudge, digest=True))


def test_a_file_of_before_there_were_digests_answers_with_a_remark(
    model_file: Path, video: Path, tmp_path: Path
) -> None:
    """The same answer; the command says once that nothing was compared. One with a digest says nothing."""
    older = changed(model_file, tmp_path, lambda _: None)
    assert Predictor(older).predict(video) == Predictor(model_file).predict(video)
    assert (Predictor(older).has_digest, Predictor(model_file).has_digest) == (False, True)
    done = pptsm("predict", video, "--model", older, "--json", cwd=tmp_path)
    assert done.stderr.count("was exported before files had a digest") == 1
    assert json.loads(done.stdout)[0]["top"]
    assert "digest" not in pptsm("predict", video, "--model", model_file, cwd=tmp_path).stderr


def test_a_damaged_copy_in_dvcs_cache_is_replaced_by_the_named_command(tmp_path: Path) -> None:
    """What is computed again, equal to the bit, would else leave it there, and `dvc checkout` hand it out."""
    stage = tmp_path / "stage.py"
    stage.write_text(
        "from pathlib import Path\n"
        "from pptsm.deploy.cached import drop_damaged_copies\n"
        "Path('out').mkdir(exist_ok=True)\n"
        "Path('out/model.onnx').write_bytes(b'whole')\n"
        "drop_damaged_copies(Path('out'))\n"
    )
    command = json.dumps(shlex.join([sys.executable, "stage.py"]))
    (tmp_path / "dvc.yaml").write_text(
        f"stages:\n  export:\n    cmd: {command}\n    deps: [stage.py]\n    outs: [out]\n"
    )

    def run(*words: str) -> None:
        subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)

    run("git", "init", "-q")
    run("dvc", "init", "-q")
    run("dvc", "repro", "-q")
    (cached,) = (path for path in (tmp_path / ".dvc/cache/files").rglob("*") if path.is_file() and path.suffix == "")
    facts = cached.stat()
    cached.chmod(0o644)
    cached.write_bytes(b"whale")
    os.utime(cached, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    run("dvc", "repro", "-q", "--force", "--single-item", "export")
    run("rm", "-r", "out")
    run("dvc", "checkout", "-q")
    assert (tmp_path / "out/model.onnx").read_bytes() == b"whole"


# ---- arrays ---------------------------------------------------------------------------------------------


def spoil(value: float) -> Callable[[onnx.ModelProto], None]:
    """Put a value into one of the arrays of the graph."""

    def change(proto: onnx.ModelProto) -> None:
        tensor = weights_in(proto)
        array = numpy_helper.to_array(tensor).copy()
        array.flat[1] = value
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))

    return change


def spoil_constant(proto: onnx.ModelProto) -> None:
    """A constant where an initialiser was, as older exports wrote all weights."""
    tensor = weights_in(proto)
    spoilt = numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(np.nan))
    proto.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=spoilt))
    proto.graph.initializer.remove(tensor)


def keep_elsewhere(proto: onnx.ModelProto) -> None:
    """An array that names another file."""
    tensor = weights_in(proto)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/hostname")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (spoil(np.nan), r"1 of the [\d,]+ values of its array '[^']+' are not a number or infinite"),
        (spoil(np.inf), r"1 of the [\d,]+ values of its array '[^']+' are not a number or infinite"),
        (spoil_constant, r"of its array '[^']+' are not a number or infinite"),
        (keep_elsewhere, r"its array '[^']+' is kept in another file"),
        (lambda proto: proto.graph.ClearField("node"), r"no network is in it"),
        (lambda proto: proto.ClearField("graph"), r"no network is in it"),
        (lambda proto: proto.graph.node[0].ClearField("op_type"), r"is no ONNX file that can be loaded"),
    ],
)
def test_a_network_of_no_numbers_or_of_several_files_is_refused_by_its_array(
    model_file: Path, tmp_path: Path, change: Callable[[onnx.ModelProto], None], sentence: str
) -> None:
    """Before it computes anything."""
    with pytest.raises(UserError, match=sentence) as refused:
        open_session(changed(model_file, tmp_path, change))
    assert "changed.onnx" in str(refused.value)


@pytest.mark.parametrize("data", [b"", b"hello", b"\x08\x07", bytes(range(256)), b"{}"])
def test_what_is_no_onnx_file_is_a_sentence(tmp_path: Path, data: bytes) -> None:
    """Empty, text, a header alone."""
    (tmp_path / "x.onnx").write_bytes(data)
    with pytest.raises(UserError, match=r"x\.onnx .*no ONNX file that can be loaded"):
        Predictor(tmp_path / "x.onnx")
    with pytest.raises(UserError, match=r"no exported model|is no package"):
        Predictor(tmp_path)


# ---- metadata -------------------------------------------------------------------------------------------

SPEC = json.loads(CLIP.model_dump_json())
DEEP = "[" * 100_000 + "]" * 100_000
CLIPS: list[dict[str, Any]] = [
    {"segments": 0}, {"segments": -4}, {"segments": 8}, {"segments": 10**30}, {"segments": "many"}, {"segments": None},
    {"resize_px": 0}, {"resize_px": -1}, {"resize_px": 10**9}, {"resize_px": 31}, {"resize_px": 40.5},
    {"test_crop_px": 0}, {"test_crop_px": 16}, {"test_crop_px": 10**12}, {"crop_px": -5}, {"crop_px": 10**6},
    {"dense_window": 0}, {"dense_window": -8}, {"dense_window": 10**20}, {"dense_clips": 0}, {"dense_clips": 10**9},
    {"mean": [0, 0]}, {"mean": [0, 0, "x"]}, {"mean": [1e308, 0, 0]}, {"mean": None}, {"std": [1, 0, 1]},
    {"std": [1, -1, 1]}, {"std": [1e-320, 1, 1]}, {"std": 1}, {"sampling": "often"}, {"crops": 7}, {"aspect": []},
    {"filter": "cubic"}, {"colour": "BGR"}, {"average": {}}, {"frame_rule": ""}, {"version": "x"}, {"version": -1},
    {"unknown": 1}, {"input": "flow"}, {"input": 3}, {"input": None, "version": 2},
]  # fmt: skip
PROPERTIES: list[dict[str, str | None]] = [
    {"labels": None}, {"labels": ""}, {"labels": "[]"}, {"labels": '["a", "b"]'}, {"labels": '["a", "b", "c", "d"]'},
    {"labels": '["a", "b", 3]'}, {"labels": '{"a": 1}'}, {"labels": "null"}, {"labels": DEEP}, {"labels": '"abc"'},
    {"labels": '["\\ud800", "b", "c"]'}, {"labels": "[" + "9" * 5000 + "]"}, {"clip": None}, {"clip": ""},
    {"clip": "[]"}, {"clip": "NaN"}, {"clip": DEEP}, {"clip": '{"version": ' + "9" * 5000 + "}"}, {"revision": None},
    {"clip": json.dumps(SPEC).replace("0.485", "NaN")}, {"clip": json.dumps(SPEC).replace("0.229", "Infinity")},
    {"clip": json.dumps({"num_segments": 4, "resize_px": 0, "crop_px": 32, "keep_aspect": 1, "dense_window": 8})},
    {"clip": json.dumps({"num_segments": 4, "resize_px": 36, "crop_px": 32, "keep_aspect": True, "dense_window": 8,
                         "dense_clips": -2})},
]  # fmt: skip
CASES = [{"clip": json.dumps(SPEC | change)} for change in CLIPS] + PROPERTIES


@pytest.mark.parametrize("case", CASES, ids=[str(case)[:60] for case in CASES])
def test_crafted_metadata_are_a_sentence(
    model_file: Path, video: Path, tmp_path: Path, case: dict[str, str | None]
) -> None:
    """Huge, negative, of a wrong type or another network: refused when the file is opened, by the command as well."""

    def craft(proto: onnx.ModelProto) -> None:
        properties = {entry.key: entry.value for entry in proto.metadata_props}
        properties |= {f"pptsm.{name}": value for name, value in case.items() if value is not None}
        for name, value in case.items():
            if value is None:
                del properties[f"pptsm.{name}"]
        helper.set_model_props(proto, properties)

    file = changed(model_file, tmp_path, craft)
    done = CliRunner().invoke(app, ["predict", str(video), "--model", str(file)])
    assert isinstance(done.exception, UserError), repr(done.exception)
    assert "changed.onnx" in str(done.exception)
    assert len(str(done.exception)) < 1000


def rename_output(proto: onnx.ModelProto) -> None:
    """Another project's name."""
    node = next(node for node in proto.graph.node if "logits" in node.output)
    node.output[:] = ["scores" if name == "logits" else name for name in node.output]
    proto.graph.output[0].name = "scores"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (rename_output, r"its output should be 'logits' of tensor\(float\), and is 'scores'"),
        (lambda proto: helper.set_model_props(proto, {}), r"was not written by `pptsm export`"),
        (lambda proto: helper.set_model_props(proto, {"author": "x"}), r"was not written by `pptsm export`"),
    ],
)
def test_the_network_of_another_project_is_a_sentence(
    model_file: Path, tmp_path: Path, change: Callable[[onnx.ModelProto], None], sentence: str
) -> None:
    """By its names, or by what it does not say of itself."""
    with pytest.raises(UserError, match=sentence):
        Predictor(changed(model_file, tmp_path, change))


# ---- answers --------------------------------------------------------------------------------------------


def small_graph(folder: Path, nodes: list[onnx.NodeProto], *arrays: onnx.TensorProto) -> Path:
    """An ONNX file of a few nodes that says of itself what the export would say."""
    clips = helper.make_tensor_value_info("clips", TensorProto.FLOAT, ["N", *SHAPE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])
    graph = helper.make_graph(nodes, "small", [clips], [logits], list(arrays))
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(proto, ModelMetadata(LABELS, CLIP, "small-0").to_properties())
    onnx.save(proto, str(folder / "small.onnx"))
    return folder / "small.onnx"


def constant_answer(folder: Path, *logits: float) -> Path:
    """A network that answers the same of every clip: logits * (the clip's mean square > -1)."""
    nodes = [
        helper.make_node("ReduceMean", ["clips"], ["mean"], axes=[1, 2, 3, 4], keepdims=0),
        helper.make_node("Mul", ["mean", "none"], ["zero"]),
        helper.make_node("Unsqueeze", ["zero", "axis"], ["column"]),
        helper.make_node("Add", ["column", "large"], ["sums"]),
        helper.make_node("Mul", ["sums", "factor"], ["logits"]),
    ]
    # as products of two numbers, so that no array holds what is not a number
    large = np.array([logit if np.isfinite(logit) else 3e38 * np.sign(logit) for logit in logits], np.float32)
    factor = np.array([1 if np.isfinite(logit) else 10 for logit in logits], np.float32)
    arrays = {"none": np.float32(0), "axis": np.array([1]), "large": large, "factor": factor}
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    return small_graph(folder, nodes, *tensors)


def test_an_answer_that_is_no_number_is_an_error_of_the_file(tmp_path: Path, video: Path) -> None:
    """In the command, its JSON, the results of a folder, and from Python; a network of numbers answers."""
    good = constant_answer(tmp_path, 1.0, 2.0, 0.5)
    assert Predictor(good).predict(video, 1)[0].label == LABELS[1]
    bad = constant_answer(tmp_path, 1.0, np.inf, 0.5)
    with pytest.raises(UserError, match="1 of 3 logits are not a number or infinite"):
        Predictor(bad).predict(video)
    done = pptsm("predict", video, "--model", bad, "--json", cwd=tmp_path, check=False)
    assert done.returncode == 1
    (entry,) = json.loads(done.stdout, parse_constant=pytest.fail)
    assert set(entry) == {"file", "error"}
    assert "gave no answer" in entry["error"]
    (tmp_path / "in").mkdir()
    os.link(video, tmp_path / "in/a.mp4")
    os.utime(video, (0, 0))
    done = pptsm("predict", "in", "--model", bad, "--results", "r.csv", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "gave no answer" in (tmp_path / "r.csv").read_text()


@pytest.mark.parametrize("logit", [3e38, -3e38, 1e-42])
def test_numbers_at_the_ends_of_their_range_are_answers(tmp_path: Path, video: Path, logit: float) -> None:
    """Nothing overflows on the way to probabilities, which sum to 1."""
    guesses = Predictor(constant_answer(tmp_path, logit, -logit, 0.0)).predict(video)
    assert sum(guess.score for guess in guesses) == pytest.approx(1, abs=1e-5)


def test_a_small_file_that_asks_for_much_memory_is_a_sentence(tmp_path: Path, video: Path) -> None:
    """The command and what it starts may take as much as what probes a video; 24 GB here, by one node."""
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["much"]),
        helper.make_node("ReduceMean", ["much"], ["one"], axes=[0, 1], keepdims=0),
        helper.make_node("ReduceMean", ["clips"], ["mean"], axes=[1, 2, 3, 4], keepdims=0),
        helper.make_node("Add", ["mean", "one"], ["sum"]),
        helper.make_node("Unsqueeze", ["sum", "axis"], ["column"]),
        helper.make_node("Mul", ["column", "row"], ["logits"]),
    ]
    arrays = {"shape": np.array([60_000, 100_000]), "axis": np.array([1]), "row": np.ones((1, 3), np.float32)}
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    file = small_graph(tmp_path, nodes, *tensors)
    done = pptsm("predict", video, "--model", file, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "error: " in done.stderr


def test_a_video_for_which_memory_runs_out_is_an_error_of_its_own(tmp_path: Path, video: Path) -> None:
    """The network of this file asks for the more, the brighter a video is; the dark one has its answer."""
    nodes = [
        helper.make_node("ReduceMean", ["clips"], ["bright"], axes=[0, 1, 2, 3, 4], keepdims=1),
        helper.make_node("Relu", ["bright"], ["above"]),
        helper.make_node("Mul", ["above", "factor"], ["many"]),
        helper.make_node("Add", ["many", "one"], ["more"]),
        helper.make_node("Cast", ["more"], ["number"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["number", "one_long"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["much"]),
        helper.make_node("ReduceMean", ["much"], ["nothing"], axes=[0], keepdims=1),
        helper.make_node("ReduceMean", ["clips"], ["mean"], axes=[1, 2, 3, 4], keepdims=0),
        helper.make_node("Add", ["mean", "nothing"], ["sum"]),
        helper.make_node("Unsqueeze", ["sum", "axis"], ["column"]),
        helper.make_node("Mul", ["column", "row"], ["logits"]),
    ]
    arrays = {
        "factor": np.float32([1e10]), "one": np.float32([1]), "one_long": np.array([1]), "axis": np.array([1]),
        "row": np.ones((1, 3), np.float32),
    }  # fmt: skip
    file = small_graph(tmp_path, nodes, *[numpy_helper.from_array(array, name) for name, array in arrays.items()])
    (tmp_path / "in").mkdir()
    for name, grey in (("a", 0), ("b", 255), ("c", 0)):
        write_video(tmp_path / f"in/{name}.mp4", np.full((8, 32, 32, 3), grey, np.uint8), 10, "h264")
        os.utime(tmp_path / f"in/{name}.mp4", (0, 0))
    done = pptsm("predict", "in", "--model", file, "--runtime", "onnxruntime", "--json", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert [set(entry) - {"file"} for entry in json.loads(done.stdout)] == [
        {"sampling", "runtime", "precision", "top"},
        {"error"},
        {"sampling", "runtime", "precision", "top"},
    ]
    assert "in/b.mp4: ONNX Runtime cannot compute" in done.stderr
    assert "1 of 3 files got no answer" in done.stderr
    pptsm("predict", "in", "--model", file, "--runtime", "onnxruntime", "--results", "r.csv", cwd=tmp_path)
    rows = read_results(tmp_path / "r.csv").values()
    assert [(row["file"], "ONNX Runtime cannot" in row["error"], row["tries"]) for row in rows] == [
        ("a.mp4", False, 1), ("b.mp4", True, 1), ("c.mp4", False, 1),
    ]  # fmt: skip


# ---- from Python ----------------------------------------------------------------------------------------


def test_names_and_arrays_are_the_same_video(model_file: Path, video: Path) -> None:
    """A path or text of one, for model and video; the frames themselves; several at once."""
    from pptsm.video.video import Video

    predictor = Predictor(str(model_file))
    expected = Predictor(model_file).predict(video)
    assert isinstance(expected[0], Guess)
    frames = np.stack(list(Video(video)))
    for given in (str(video), os.fspath(video), video, frames, np.asfortranarray(frames)):
        assert predictor.predict(given) == expected
    found = list(predictor.predict_many((each for each in (video, str(video), frames)), top_k=2))
    assert found == [Answer(video, expected[:2]), Answer(video, expected[:2]), Answer(None, expected[:2])]
    assert list(predictor.predict_many([])) == []
    assert list(predictor.predict_many(np.stack([frames, frames])))[1].top == expected
    (answer,) = predict_files([video], model_file, None, 5, 60)
    assert answer.top == expected
    assert repr(predictor).startswith(f"Predictor({str(model_file)!r}, sampling='uniform'): 3 classes, clips of [4, 3")


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((4, 32, 32, 3)),
        np.zeros((4, 3, 32, 32), np.uint8),
        np.zeros((32, 32, 3), np.uint8),
        np.zeros((0, 32, 32, 3), np.uint8),
        np.zeros((4, 0, 32, 3), np.uint8),
        np.zeros((4, 32, 32, 4), np.uint8),
        np.full((4, 32, 32, 3), np.nan, np.float32),
        np.zeros((4, 32, 32, 3), np.int8),
        np.zeros((4, 32, 32, 3), bool),
        np.zeros((2, 4, 32, 32, 3), np.uint8),
        np.array(None),
        np.array([]),
        np.array(["a.mp4"]),
    ],
    ids=lambda frames: f"{frames.dtype} {frames.shape}",
)
def test_an_array_that_is_no_video_is_a_sentence(model_file: Path, frames: np.ndarray) -> None:
    """With what it should be and what it is; among others it is an answer of its own."""
    predictor = Predictor(model_file)
    with pytest.raises(UserError, match=r"uint8 of shape \[T, H, W, 3\], RGB .* and are "):
        predictor.predict(frames)
    good = moving_square(8)
    bad, answer = predictor.predict_many([frames, good])
    assert (bad.file, bad.top) == (None, [])
    assert "uint8 of shape [T, H, W, 3]" in str(bad.error)
    assert answer.top == predictor.predict(good)


def test_frames_turned_round_are_read_as_they_are(model_file: Path) -> None:
    """BGR made RGB by a view with a negative step, frames taken by a step, and a single frame."""
    predictor, frames = Predictor(model_file), moving_square(16)
    for view in (frames[..., ::-1], frames[::2], frames[::-1], frames[:1], frames[:, ::-1]):
        assert predictor.predict(view) == predictor.predict(view.copy())
    assert predictor.predict(frames[::-1]) != predictor.predict(frames)


@pytest.mark.parametrize("video", [None, 3, 2.5, ["a.mp4"], {"a": 1}, "", b"", "a\0.mp4", ...], ids=repr)
def test_what_is_neither_name_nor_array_is_a_sentence(model_file: Path, video: object) -> None:
    """For a video, and for the model; among others it is an answer of its own."""
    predictor = Predictor(model_file)
    with pytest.raises(UserError, match=r"a video should be (a|the) name"):
        predictor.predict(video)  # type: ignore[arg-type]
    bad, answer = predictor.predict_many([video, moving_square(8)])  # type: ignore[list-item]
    assert "a video should be" in str(bad.error)
    assert answer.error is None
    with pytest.raises(UserError, match=r"the exported model should be (a|the) name"):
        Predictor(video)  # type: ignore[arg-type]
    for load in (load_network, load_params):
        with pytest.raises(UserError, match=r"should be (a|the) name"):
            load(video)  # type: ignore[arg-type]


def test_a_bad_video_is_an_answer_of_its_own(model_file: Path, video: Path, tmp_path: Path) -> None:
    """Missing, empty, cut off, a folder, a name of bytes; from `predict` it is a sentence with the video's name."""
    predictor = Predictor(model_file)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:300])
    bad = [tmp_path / name for name in ("gone.mp4", "empty.mp4", "cut.mp4", ".", "there/img_%05d.jpg")]
    found = list(predictor.predict_many([*bad, os.fsencode(video), video]))  # type: ignore[list-item]
    assert [answer.file for answer in found] == [*bad, video, video]
    assert [bool(answer.error) for answer in found] == [True] * len(bad) + [False] * 2
    assert found[-1].top == predictor.predict(video)
    for path in bad:
        with pytest.raises(VideoError, match=f"{re.escape(str(path))} gets no answer: "):
            predictor.predict(path)


def test_a_part_of_a_video_is_two_numbers(model_file: Path, video: Path) -> None:
    """Seconds from the first frame, as `pptsm predict --start --end`; anything else is a sentence."""
    predictor = Predictor(model_file)
    assert predictor.predict(video, part=(0, 0.8)) == predictor.predict(video, part=Seconds(0, 0.8))
    assert predictor.predict(video, part=(0, 0.8)) == predictor.predict(video, part=FrameRange(0, 8))
    wrong: list[Any] = [
        (1, 1),
        (2, 1),
        (-1, 1),
        (0, float("inf")),
        (float("nan"), 1),
        (1,),
        (1, 2, 3),
        4,
        "12",
        {1, 2},
        ("a", "b"),
    ]
    for part in wrong:
        with pytest.raises(UserError, match=r"part is .* \(start, end\) in seconds"):
            predictor.predict(video, part=part)
    with pytest.raises(VideoError, match="gets no answer: it lasts"):
        predictor.predict(video, part=(50, 60))


def test_what_cannot_be_asked_for_is_a_sentence(model_file: Path, video: Path) -> None:
    """No class, a part of an array, another sampling."""
    predictor = Predictor(model_file)
    for top_k in (0, -1, 1.5, None, "5"):
        with pytest.raises(UserError, match=r"top_k is .* at least 1"):
            predictor.predict(video, top_k)  # type: ignore[arg-type]
        with pytest.raises(UserError, match=r"top_k is .* at least 1"):
            predictor.predict_many([video], top_k)  # type: ignore[arg-type]  # at once, not with the first answer
    for one in (str(video), video, os.fsencode(video), moving_square(8)):
        with pytest.raises(UserError, match="several videos, and was given one"):
            predictor.predict_many(one)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="a list of videos, and was given a int"):
        predictor.predict_many(3)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="pass that part of the array"):
        predictor.predict(np.zeros((4, 32, 32, 3), np.uint8), part=(0, 2))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="sampling is 'often'"):
        Predictor(model_file, "often")  # type: ignore[arg-type]


def test_the_digest_is_in_the_file_and_no_news_to_other_readers(model_file: Path) -> None:
    """A property of 64 hexadecimal digits beside the others; the ONNX checker is content."""
    onnx.checker.check_model(onnx.load(str(model_file)))
    assert len(bytes.fromhex(properties_of(model_file)[DIGEST])) == 32
