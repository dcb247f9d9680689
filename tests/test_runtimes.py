"""Ways to compute an exported network: each says its precision, and none is let through that answers otherwise."""

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from conftest import good_index, moving_square, pptsm
from helpers.exported import CLIP, LABELS, SHAPE, exported, properties_of
from pptsm.data.clips import Dataset, FrameSource
from pptsm.deploy import quantize, runtimes
from pptsm.deploy.initialisers import constants_to_initialisers
from pptsm.deploy.int8_form import int8_form, means_as_convolutions, shifts_in_four_dimensions
from pptsm.deploy.quantize import quantise
from pptsm.deploy.runtimes import Gate, Row, as_values, files_at, table
from pptsm.evaluation import engines
from pptsm.evaluation.engines import Engine, has_bfloat16, open_engine
from pptsm.evaluation.model_file import Exported, has_right_digest, read_exported
from pptsm.runtime.cores import multiplies_int8
from pptsm.runtime.errors import UserError
from pptsm.serving.metadata import ModelMetadata
from pptsm.video.encode import write_video

GATE = Gate(max_drop=0.3, least_agreement=0.99)
NAN = math.nan


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported network that tests leave as it is."""
    return exported(tmp_path_factory.mktemp("exported"))


@pytest.fixture(scope="module")
def clips() -> list[NDArray[np.float32]]:
    """Normalised clips."""
    return list(np.random.default_rng(0).standard_normal((12, *SHAPE)).astype(np.float32))


@pytest.fixture(scope="module")
def int8_file(model_file: Path, clips: list[NDArray[np.float32]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network of int8."""
    target = tmp_path_factory.mktemp("quantized") / "model.int8.onnx"
    quantise(read_exported(model_file), ModelMetadata.of_file(model_file), clips, target)
    return target


def answers(file: Path, precision: str, clips: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    engine = open_engine(read_exported(file), "onnxruntime", precision)  # type: ignore[arg-type]
    return np.concatenate([engine.score(clip[None]) for clip in clips])


# ---- int8 -----------------------------------------------------------------------------------------------


def test_weights_are_initialisers_and_answers_the_same_bits(
    model_file: Path, clips: list[NDArray[np.float32]], tmp_path: Path
) -> None:
    """Of a file with constants, as older exports wrote, and of one that has none any more."""
    proto = onnx.load(str(model_file))
    assert not [node for node in proto.graph.node if node.op_type == "Constant"]
    assert sum(numpy_helper.to_array(array).size for array in proto.graph.initializer) > 10_000
    older = onnx.load(str(model_file))
    for array in proto.graph.initializer:
        older.graph.node.insert(0, onnx.helper.make_node("Constant", [], [array.name], value=array))
    del older.graph.initializer[:]
    constants, moved = tmp_path / "constants.onnx", tmp_path / "moved.onnx"
    onnx.helper.set_model_props(older, {})
    onnx.save(older, str(constants))
    constants_to_initialisers(older.graph)
    onnx.save(older, str(moved))
    assert not [node for node in older.graph.node if node.op_type == "Constant"]
    expected = answers(model_file, "float32", clips)
    for file in (constants, moved):
        np.testing.assert_array_equal(answers(file, "float32", clips), expected)


def test_a_shift_in_four_dimensions_answers_the_same_bits(
    model_file: Path, clips: list[NDArray[np.float32]], tmp_path: Path
) -> None:
    """One for each block, and of several clips at once none takes a frame of another; another padding stays."""
    proto = onnx.load(str(model_file))
    padded = [node for node in proto.graph.node if node.op_type == "Pad"]
    assert len(padded) >= 4
    values = {array.name: numpy_helper.to_array(array) for array in proto.graph.initializer}
    other = values[padded[-1].input[1]].copy()
    other[2] = 1  # a channel too
    proto.graph.initializer.append(numpy_helper.from_array(other, "other"))
    ordinary = padded[-1].input[1]
    padded[-1].input[1] = "other"
    assert shifts_in_four_dimensions(proto.graph) == len(padded) - 1
    (left,) = [node for node in proto.graph.node if node.op_type == "Pad"]
    left.input[1] = ordinary
    whole = onnx.load(str(model_file))
    assert shifts_in_four_dimensions(whole.graph) == len(padded)
    onnx.checker.check_model(whole)
    batch = np.stack(clips)
    for name, graph in (("other", proto), ("whole", whole)):
        onnx.helper.set_model_props(graph, {})
        onnx.save(graph, str(tmp_path / f"{name}.onnx"))
        found, expected = (
            open_engine(read_exported(file), "onnxruntime", "float32").score
            for file in (tmp_path / f"{name}.onnx", model_file)
        )
        for views in (batch, batch[:1]):
            np.testing.assert_array_equal(found(views), expected(views))


def test_the_form_for_8_bits_keeps_no_array_that_nothing_reads(model_file: Path) -> None:
    """ONNX Runtime would print a warning of each, a hundred lines in the middle of a run."""
    graph = int8_form(onnx.load(str(model_file))).graph
    read = {name for node in graph.node for name in node.input}
    assert [array.name for array in graph.initializer if array.name not in read] == []


def test_a_mean_over_windows_becomes_a_convolution_of_the_same_values(tmp_path: Path) -> None:
    """Where windows lie side by side and fill the picture; others stay."""
    kinds = {  # of 6 x 6 places
        "whole": {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
        "cut": {"kernel_shape": [4, 4], "strides": [4, 4], "ceil_mode": 1},
        "overlapping": {"kernel_shape": [2, 2], "strides": [1, 1]},
        "padded": {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    }
    places = np.random.default_rng(0).standard_normal((2, 3, 6, 6)).astype(np.float32)
    described = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3, 6, 6])
    for name, said in kinds.items():
        nodes = [
            onnx.helper.make_node("Identity", ["x"], ["same"]),
            onnx.helper.make_node("AveragePool", ["same"], ["y"], **said),
        ]
        out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
        proto = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [described], [out]), ir_version=8)
        proto.opset_import[0].version = 17
        proto = onnx.shape_inference.infer_shapes(proto)
        expected = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": places})[0]
        assert means_as_convolutions(proto.graph) == (name == "whole")
        onnx.checker.check_model(proto)
        found = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": places})[0]
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_int8_is_smaller_answers_the_same_and_says_what_it_is(
    model_file: Path, int8_file: Path, clips: list[NDArray[np.float32]]
) -> None:
    """All that its parent says of itself, precision and range; the digest is its own."""
    assert int8_file.stat().st_size < 0.5 * model_file.stat().st_size
    exact, found = answers(model_file, "float32", clips), answers(int8_file, "int8", clips)
    np.testing.assert_array_equal(found.argmax(1), exact.argmax(1))
    assert 0 < np.abs(found - exact).max() / np.abs(exact).max() < 0.1
    parent, said = ModelMetadata.of_file(model_file), ModelMetadata.of_file(int8_file)
    assert said == replace(parent, precision="int8", reduced_range=not multiplies_int8())
    assert has_right_digest(int8_file.read_bytes()) is True
    assert properties_of(int8_file)["pptsm.sha256"] != properties_of(model_file)["pptsm.sha256"]


def weights_of(file: Path) -> NDArray[np.int8]:
    arrays = [numpy_helper.to_array(array) for array in onnx.load(str(file)).graph.initializer]
    return np.concatenate([array.ravel() for array in arrays if array.dtype == np.int8 and array.ndim > 1])


def test_weights_have_7_bits_where_the_processor_adds_products_in_16(
    model_file: Path, clips: list[NDArray[np.float32]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two products of 8 bits may overflow there; the file says so, for who computes it elsewhere."""
    found = {}
    for vnni in (True, False):
        monkeypatch.setattr(quantize, "multiplies_int8", lambda vnni=vnni: vnni)
        target = tmp_path / f"{vnni}.onnx"
        quantise(read_exported(model_file), ModelMetadata.of_file(model_file), clips[:2], target)
        assert ModelMetadata.of_file(target).reduced_range is not vnni
        found[vnni] = int(np.abs(weights_of(target).astype(int)).max())
    assert 64 < found[True] <= 128
    assert found[False] <= 64


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx2 avx512_vnni", True), ("fpu avx_vnni", True), ("fpu avx2 avx512f", False), ("", False)],
)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/cpuinfo")
def test_what_adds_products_of_8_bits_is_seen_by_its_flags(
    flags: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VNNI by either name; where nothing can be seen, no."""
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t\t: avx_vnni\n")
    assert multiplies_int8(tmp_path / "cpuinfo") is expected
    assert multiplies_int8(tmp_path / "no such file") is False


def test_without_clips_there_is_no_int8(model_file: Path, tmp_path: Path) -> None:
    """A sentence, and no file."""
    with pytest.raises(UserError, match="no training clip"):
        quantise(read_exported(model_file), ModelMetadata.of_file(model_file), [], tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()


# ---- the gate -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("difference", "low", "high", "different", "of"),
    [
        (0.0, -0.01, 0.01, 0, 100),
        (-0.003, -0.01, 0.01, 1, 100),  # just what may be lost
        (0.02, 0.0, 0.04, 0, 100),  # better
        (None, None, None, 1, 8),  # nothing labelled; one may always differ
        (0.0, None, None, 1, 2),  # one group: nothing is lost, so no interval is needed
    ],
)
def test_the_gate_lets_through(
    difference: float | None, low: float | None, high: float | None, different: int, of: int
) -> None:
    """What loses no more than it may."""
    assert GATE.fault(difference, low, high, different, of) == ""


@pytest.mark.parametrize(
    ("difference", "low", "high", "different", "of", "sentence"),
    [
        (0.0, 0.0, 0.0, 2, 100, r"2 of 100 answers differ \(at most 1\.0% may\)"),
        (None, None, None, 2, 8, r"2 of 8 answers differ"),
        (
            -0.02,
            -0.03,
            -0.01,
            1,
            100,
            r"falls by 2\.0 points, and at most 0\.3 are allowed \(95 % .* -3\.0 to -1\.0\)$",
        ),
        (-0.02, -0.05, 0.01, 1, 50, r"falls by 2\.0 points.*so few videos cannot tell"),
        (-0.02, None, None, 1, 50, r"falls by 2\.0 points.*all videos are of one group"),
        (NAN, 0.0, 0.0, 0, 100, "falls by"),
        (NAN, NAN, NAN, 0, 100, "falls by"),
        (NAN, None, None, 1, 1, "falls by"),
    ],
)
def test_the_gate_refuses(
    difference: float | None, low: float | None, high: float | None, different: int, of: int, sentence: str
) -> None:
    """Other answers, a loss, and what is not a number."""
    assert re.search(sentence, GATE.fault(difference, low, high, different, of))


@pytest.mark.parametrize("gate", [Gate(NAN, 0.99), Gate(0.3, NAN)])
def test_a_bound_that_is_not_a_number_lets_nothing_through(gate: Gate) -> None:
    """Whichever it is."""
    assert gate.fault(-0.001, -0.01, 0.01, 2, 100)


# ---- the table ------------------------------------------------------------------------------------------


def labelled(folder: Path) -> Dataset:
    """Six videos of the model's classes."""
    rows = good_index()
    for path, shift in zip(rows["path"], range(6), strict=True):
        (folder / path).parent.mkdir(exist_ok=True)
        write_video(folder / path, moving_square(30, seed=10 * shift), 10, "h264")
    return Dataset(rows, LABELS, FrameSource("video", folder))


def by_way(rows: list[Row]) -> dict[tuple[str, str], Row]:
    return {(row.runtime, row.precision): row for row in rows}


def test_the_reference_comes_first_and_all_are_compared_with_it(
    model_file: Path, int8_file: Path, tmp_path: Path
) -> None:
    """On labelled videos: accuracies with intervals, differences, times."""
    pytest.importorskip("openvino")
    data = labelled(tmp_path)
    rows = table(files_at(model_file, int8_file), CLIP, "uniform", data, Gate(100.0, 0.0), 4)
    first = rows[0]
    assert (first.runtime, first.precision, first.agreement, first.difference) == ("onnxruntime", "float32", 1.0, 0.0)
    assert first.passed
    assert first.file == "model.onnx"
    expected = {("onnxruntime", "float32"), ("onnxruntime", "int8"), ("openvino", "float32")}
    expected |= {("openvino", "bfloat16")} if has_bfloat16() else set()
    assert set(by_way(rows)) - {("openvino", "int8")} == expected  # OpenVINO loads some files of int8 only
    for row in rows:
        assert row.top1 is not None
        assert row.top1_low is not None
        assert row.top1_high is not None
        assert row.top1_low <= row.top1 <= row.top1_high
        assert row.top1 - first.top1 == pytest.approx(row.difference)  # type: ignore[operator]
        assert 0 < row.ms_p50 <= row.ms_p95
        assert row.size_mb == pytest.approx(
            (int8_file if row.precision == "int8" else model_file).stat().st_size / 1e6, abs=1e-3
        )
    assert by_way(rows)["openvino", "float32"].agreement == 1


def test_without_openvino_its_rows_are_missing_and_that_is_said(
    model_file: Path, int8_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a machine that has it not; without labelled videos no accuracy is known."""
    monkeypatch.setattr(runtimes, "find_spec", lambda _: None)
    rows = table(files_at(model_file, int8_file), CLIP, "uniform", None, GATE, 4)
    assert [(row.runtime, row.precision) for row in rows] == [("onnxruntime", "float32"), ("onnxruntime", "int8")]
    assert "OpenVINO is not installed (extra openvino)" in capsys.readouterr().err
    assert {row.top1 for row in rows} == {None}
    assert rows[0].agreement == 1
    json.dumps(as_values(rows), allow_nan=False)


def test_a_way_that_cannot_be_opened_is_left_out(
    model_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others go on; without the reference there is no table."""

    def two(files: dict[str, Exported]) -> list[tuple[str, str, Exported]]:
        exact = files["float32"]
        broken = replace(exact, data=exact.data[:1000])
        return [("onnxruntime", "float32", exact), ("onnxruntime", "int8", broken), ("onnxruntime", "float32", exact)]

    monkeypatch.setattr(runtimes, "ways", two)
    rows = table(files_at(model_file, None), CLIP, "uniform", None, GATE, 4)
    assert [row.precision for row in rows] == ["float32", "float32"]
    assert "onnxruntime in int8 is left out: " in capsys.readouterr().err
    monkeypatch.setattr(runtimes, "ways", lambda files: two(files)[1:])
    with pytest.raises(UserError, match="is no ONNX file that can be loaded"):
        table(files_at(model_file, None), CLIP, "uniform", None, GATE, 4)


@pytest.mark.parametrize("labels", [True, False])
def test_a_way_that_answers_what_is_not_a_number_is_refused(
    labels: bool, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row says why; nothing else of it is known."""
    exact = read_exported(model_file)

    def opened(exported: Exported, runtime: str, precision: str) -> Engine:
        engine = open_engine(exported, "onnxruntime", "float32")
        if precision == "float32":
            return engine
        return Engine("onnxruntime", "int8", lambda views: engine.score(views) * np.float32([1, np.nan, 1]))

    monkeypatch.setattr(runtimes, "open_engine", opened)
    two = [("onnxruntime", "float32", exact), ("onnxruntime", "int8", exact)]
    monkeypatch.setattr(runtimes, "ways", lambda _: two)
    rows = table({"float32": exact}, CLIP, "uniform", labelled(tmp_path) if labels else None, Gate(100, 0), 4)
    assert [row.passed for row in rows] == [True, False]
    assert "not a number" in rows[1].reason
    assert (rows[1].top1, rows[1].agreement) == (None, 0)
    monkeypatch.setattr(runtimes, "ways", lambda _: two[1:])
    with pytest.raises(UserError, match="not a number"):
        table({"float32": exact}, CLIP, "uniform", None, GATE, 4)


# ---- engines --------------------------------------------------------------------------------------------


def test_openvino_in_float32_is_float32(model_file: Path, clips: list[NDArray[np.float32]]) -> None:
    """Left to itself it computes in bfloat16 where the processor can, and is off by hundreds of times as much."""
    pytest.importorskip("openvino")
    if not has_bfloat16():
        pytest.skip("this processor does not multiply in bfloat16, so OpenVINO has no choice")
    exact = answers(model_file, "float32", clips)
    off = {}
    for precision in ("float32", "bfloat16"):
        score = open_engine(read_exported(model_file), "openvino", precision).score  # type: ignore[arg-type]
        found = np.concatenate([score(clip[None]) for clip in clips])
        off[precision] = np.abs(found - exact).max() / np.abs(exact).max()
    assert off["float32"] < 1e-5
    assert off["bfloat16"] > 1e-4


def test_bfloat16_wants_openvino_and_a_processor(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence with what to take."""
    file = read_exported(model_file)
    with pytest.raises(UserError, match=r"ONNX Runtime computes in float32 or int8.*--runtime openvino"):
        open_engine(file, "onnxruntime", "bfloat16")
    pytest.importorskip("openvino")
    monkeypatch.setattr(engines, "has_bfloat16", lambda: False)
    with pytest.raises(UserError, match="does not multiply in bfloat16: take --precision float32"):
        open_engine(file, "openvino", "bfloat16")


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_runtime_refuses_other_clips_and_files_in_a_sentence(runtime: str, model_file: Path, tmp_path: Path) -> None:
    """What a network is asked for comes from elsewhere, too."""
    if runtime == "openvino":
        pytest.importorskip("openvino")
    file = read_exported(model_file)
    score = open_engine(file, runtime, "float32").score  # type: ignore[arg-type]
    for shape in ((1, 4, 3, 32), (1, 4, 1, 32, 32), (1, 5, 3, 32, 32)):
        with pytest.raises(UserError, match=r"cannot compute the exported file on clips of \["):
            score(np.zeros(shape, np.float32))
    assert score(np.zeros((2, *SHAPE), np.float32)).shape == (2, len(LABELS))  # and it goes on
    sentence = (
        r"^OpenVINO cannot load .*--runtime onnx" if runtime == "openvino" else "is no ONNX file that can be loaded"
    )
    with pytest.raises(UserError, match=sentence):
        open_engine(replace(file, data=file.data[:999]), runtime, "float32")  # type: ignore[arg-type]


# ---- the command ----------------------------------------------------------------------------------------


def test_benchmark_needs_no_project(model_file: Path, tmp_path: Path) -> None:
    """A list of rows; no accuracy, because no video is there."""
    done = pptsm("benchmark", "--model", model_file, "--json", cwd=tmp_path)
    rows = json.loads(done.stdout)
    wanted = {"runtime", "precision", "top1", "agreement", "ms_p50", "ms_p95", "size_mb"}
    assert rows
    assert all(wanted <= row.keys() for row in rows)
    assert {row["top1"] for row in rows} == {None}
    assert (rows[0]["runtime"], rows[0]["precision"], rows[0]["agreement"]) == ("onnxruntime", "float32", 1.0)
    assert not list(tmp_path.iterdir())


def test_benchmark_compares_with_float32(int8_file: Path, tmp_path: Path) -> None:
    """A file of int8 alone has nothing beside it."""
    done = pptsm("benchmark", "--model", int8_file, cwd=tmp_path, check=False)
    assert done.returncode != 0
    assert "is of int8: name the file of float32" in done.stderr


def test_a_signal_is_handled_after_networks_in_openvino_are_gone(model_file: Path) -> None:
    """In a process of its own: with an OpenVINO for each, processors with AMX are left without a stack for signals."""
    pytest.importorskip("openvino")
    script = f"""
import gc, os, signal
from pptsm.evaluation.engines import open_engine
from pptsm.evaluation.model_file import read_exported
engines = [open_engine(read_exported({str(model_file)!r}), "openvino", "float32") for _ in range(2)]
while engines:
    del engines[0]
    gc.collect()
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGTERM)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
