"""Which way answers: what was asked for, or the fastest here of what may be taken; and what is not found out twice."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import moving_square, pptsm
from helpers import deadly
from helpers.exported import LABELS, SHAPE, exported
from pptsm.deploy.package import write_package
from pptsm.deploy.quantize import quantise
from pptsm.evaluation import model_file as looked_into
from pptsm.evaluation.engines import has_bfloat16
from pptsm.evaluation.model_file import read_exported
from pptsm.runtime.errors import UserError
from pptsm.runtime.memory import all_remembered, recall, remember
from pptsm.serving import decode, opening
from pptsm.serving.metadata import ModelMetadata
from pptsm.serving.predictor import Predictor, predict_files
from pptsm.video.encode import write_video

EXACT, INT8 = ("onnxruntime", "float32"), ("onnxruntime", "int8")
OTHER, ROUGH = ("openvino", "float32"), ("openvino", "bfloat16")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is remembered yet."""
    monkeypatch.setenv("PPTSM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported network that tests leave as it is."""
    return exported(tmp_path_factory.mktemp("exported"))


@pytest.fixture(scope="module")
def int8_file(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of int8, alone in its folder."""
    target = tmp_path_factory.mktemp("int8") / "small.onnx"
    clips = list(np.random.default_rng(0).standard_normal((4, *SHAPE)).astype(np.float32))
    quantise(read_exported(model_file), ModelMetadata.of_file(model_file), clips, target)
    return target


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of videos."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(3):
        write_video(folder / f"{number}.mp4", moving_square(16, seed=20 * number), 10, "h264")
    return folder


class Clock:
    """Decides how long each way takes, and counts how often it is asked."""

    def __init__(self, **ms: float) -> None:
        self.ms, self.asked = ms, []

    def __call__(self, engine: Any, _: Any) -> float:
        self.asked.append((engine.runtime, engine.precision))
        return self.ms[f"{engine.runtime}_{engine.precision}"]


def row(way: tuple[str, str], passed: Any = True) -> dict[str, Any]:
    return {"runtime": way[0], "precision": way[1], "passed": passed}


def package(folder: Path, model: Path, int8: Path | None, text: str) -> Path:
    """A package as stage `package` writes it, with this table of runtimes."""
    folder.mkdir()
    models = {"model.onnx": model} | ({"model.int8.onnx": int8} if int8 else {})
    write_package(folder, models, None, LABELS, {"runtimes.json": text})
    return folder


def runtimes_json(*rows: dict[str, Any], **serving: str) -> str:
    return json.dumps({"rows": rows, "serving": serving})


def way_of(predictor: Predictor) -> tuple[str, str]:
    return predictor.runtime, predictor.precision


# ---- what is asked for ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"runtime": "tensorrt"}, "runtime is 'tensorrt', and should be one of auto, onnxruntime, openvino"),
        ({"precision": "fp16"}, "precision is 'fp16', and should be one of auto, float32, bfloat16, int8"),
        ({"runtime": None}, "runtime is None, and should be"),
        ({"precision": "int8"}, r"there is no file of int8: looked for .*model\.int8\.onnx"),
        ({"runtime": "onnxruntime", "precision": "bfloat16"}, "take --runtime openvino"),
    ],
)
def test_what_cannot_be_had_is_a_sentence(words: dict[str, Any], sentence: str, model_file: Path) -> None:
    """Nothing else is taken in its place."""
    with pytest.raises(UserError, match=sentence):
        Predictor(model_file, **words)


def test_a_file_alone_is_computed_in_what_it_is(model_file: Path, int8_file: Path) -> None:
    """No other precision is taken by itself; and of a file of int8 there is no float32."""
    assert Predictor(model_file).precision == "float32"
    assert Predictor(int8_file).precision == "int8"
    assert way_of(Predictor(int8_file, precision="int8", runtime="onnxruntime")) == INT8
    with pytest.raises(UserError, match=r"small\.onnx is of int8, and cannot be computed in float32"):
        Predictor(int8_file, precision="float32")


def test_a_file_of_int8_is_answered_where_its_sums_may_overflow(
    int8_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who names it asks for it."""
    monkeypatch.setattr(opening, "multiplies_int8", lambda: False)
    assert Predictor(int8_file).precision == "int8"


def test_without_openvino_all_else_works(model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for it reads how to install it; a package that would have it does without."""
    monkeypatch.setattr(opening, "find_spec", lambda _: None)
    monkeypatch.setattr(opening, "WORTH_MS", 0)
    assert way_of(Predictor(model_file)) == EXACT
    folder = package(tmp_path / "p", model_file, None, runtimes_json(row(OTHER), runtime="openvino", precision="auto"))
    assert way_of(Predictor(folder)) == EXACT


# ---- the fastest ----------------------------------------------------------------------------------------


def test_what_was_measured_is_remembered(model_file: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """By machine and model; the second time nothing is measured. What is garbled was never known."""
    pytest.importorskip("openvino")
    clock = Clock(onnxruntime_float32=50.0, openvino_float32=40.0)
    monkeypatch.setattr(opening, "clip_ms", clock)
    assert [way_of(Predictor(model_file)) for _ in range(3)] == [OTHER] * 3
    assert clock.asked == [EXACT, OTHER]
    ((digest, known),) = all_remembered("models").items()
    assert known["file"] == str(model_file)
    (times,) = known["ms"].values()
    assert times == {"onnxruntime float32": 50.0, "openvino float32": 40.0}
    for garbled in (5, {"x": 5}, {next(iter(known["ms"])): {"onnxruntime float32": "fast"}}):
        remember("models", digest, ms=garbled)
        assert way_of(Predictor(model_file)) == OTHER
    (cache / "models" / f"{digest}.json").write_text("{")
    assert way_of(Predictor(model_file)) == OTHER
    assert len(clock.asked) == 10


def test_a_quick_network_is_not_compared(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another runtime would take longer to start than it gains."""
    clock = Clock(onnxruntime_float32=opening.WORTH_MS - 1, openvino_float32=0.1)
    monkeypatch.setattr(opening, "clip_ms", clock)
    assert way_of(Predictor(model_file)) == EXACT
    assert set(clock.asked) <= {EXACT}


@pytest.mark.parametrize(("ms", "expected"), [(79.0, OTHER), (81.0, EXACT), (100.0, EXACT), (120.0, EXACT)])
def test_another_runtime_must_be_clearly_faster(
    ms: float, expected: tuple[str, str], model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A little time is not worth other last digits than the evaluation had."""
    pytest.importorskip("openvino")
    monkeypatch.setattr(opening, "clip_ms", Clock(onnxruntime_float32=100.0, openvino_float32=ms))
    assert way_of(Predictor(model_file)) == expected


def test_a_runtime_that_cannot_load_the_file_is_never_taken(
    model_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said once, and remembered as any time."""
    pytest.importorskip("openvino")
    real = opening.open_engine

    def fails(exported: Any, runtime: Any, precision: Any) -> Any:
        if runtime == "openvino":
            raise UserError("OpenVINO cannot load it.")
        return real(exported, runtime, precision)

    monkeypatch.setattr(opening, "open_engine", fails)
    monkeypatch.setattr(opening, "WORTH_MS", 0)
    assert [way_of(Predictor(model_file)) for _ in range(2)] == [EXACT, EXACT]
    assert capsys.readouterr().err.count("openvino in float32 is never taken for this model") == 1


def test_a_cache_that_cannot_be_written_is_no_error(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is measured each time; a file is in the folder's place, which stops root too."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PPTSM_CACHE", str(tmp_path / "file" / "below"))
    monkeypatch.setattr(opening, "WORTH_MS", 0)
    assert Predictor(model_file).precision == "float32"
    assert recall("models", "x") == {}


# ---- a package ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row(EXACT), row(INT8), row(OTHER), row(ROUGH)], INT8),
        ([row(EXACT), row(INT8, False), row(OTHER), row(ROUGH)], ROUGH),
        ([row(EXACT), row(INT8, "yes"), row(OTHER), row(ROUGH, None)], OTHER),  # passed is true, or it is not
        ([row(EXACT), {}, row(("openvino", "int4"))], OTHER),
        ([], OTHER),
    ],
)
def test_of_a_package_only_what_passed_is_taken(
    rows: list[dict[str, Any]],
    expected: tuple[str, str],
    model_file: Path,
    int8_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Then the fastest; float32 needs no gate."""
    if not has_bfloat16():
        pytest.skip("needs OpenVINO, and a processor that multiplies in bfloat16")
    clock = Clock(
        onnxruntime_float32=50, openvino_float32=40, openvino_bfloat16=30, onnxruntime_int8=20, openvino_int8=1
    )
    monkeypatch.setattr(opening, "clip_ms", clock)
    folder = package(tmp_path / "p", model_file, int8_file, runtimes_json(*rows))
    assert way_of(Predictor(folder)) == expected
    assert ("openvino", "int8") not in clock.asked


@pytest.mark.parametrize("reduced", [True, False])
def test_int8_is_taken_by_itself_only_where_its_sums_are_right(
    reduced: bool, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without VNNI it takes a file that was made for such processors."""
    from pptsm.deploy import quantize

    monkeypatch.setattr(quantize, "multiplies_int8", lambda: not reduced)
    clips = list(np.random.default_rng(0).standard_normal((2, *SHAPE)).astype(np.float32))
    quantise(read_exported(model_file), ModelMetadata.of_file(model_file), clips, tmp_path / "q.onnx")
    folder = package(tmp_path / "p", model_file, tmp_path / "q.onnx", runtimes_json(row(EXACT), row(INT8)))
    monkeypatch.setattr(opening, "find_spec", lambda _: None)
    monkeypatch.setattr(opening, "multiplies_int8", lambda: False)
    monkeypatch.setattr(opening, "clip_ms", Clock(onnxruntime_float32=50.0, onnxruntime_int8=20.0))
    assert way_of(Predictor(folder)) == (INT8 if reduced else EXACT)


def test_section_serving_of_a_package_is_followed(model_file: Path, int8_file: Path, tmp_path: Path) -> None:
    """Unless its user asks for something else."""
    text = runtimes_json(row(EXACT), row(INT8), runtime="onnxruntime", precision="int8")
    folder = package(tmp_path / "p", model_file, int8_file, text)
    assert way_of(Predictor(folder)) == INT8
    assert Predictor(folder).file == folder / "model.int8.onnx"
    assert way_of(Predictor(folder, runtime="onnxruntime", precision="float32")) == EXACT


@pytest.mark.parametrize(
    "text",
    [
        "{", "[]", "{}", "null", "\udce4", '{"rows": 5}', '{"rows": [5]}', '{"rows": [], "serving": 5}',
        '{"rows": [], "serving": {"runtime": "tensorrt"}}', '{"rows": [], "serving": {"precision": ["int8"]}}',
    ],
)  # fmt: skip
def test_a_garbled_table_of_runtimes_is_a_sentence(text: str, model_file: Path, tmp_path: Path) -> None:
    """Whoever wrote it."""
    folder = package(tmp_path / "p", model_file, None, "")
    data = text.encode(errors="surrogateescape")
    (folder / "runtimes.json").write_bytes(data)
    (folder / "SHA256SUMS").write_text(f"{hashlib.sha256(data).hexdigest()}  runtimes.json\n")
    with pytest.raises(UserError, match=r"runtimes\.json is no table of runtimes .*`dvc repro package`"):
        Predictor(folder)


def test_a_package_that_was_changed_or_is_none_is_refused(model_file: Path, tmp_path: Path) -> None:
    """By its checksums."""
    folder = package(tmp_path / "p", model_file, None, runtimes_json(row(EXACT), row(ROUGH, False)))
    table = folder / "runtimes.json"
    table.write_text(table.read_text().replace("false", "true "))
    with pytest.raises(UserError, match=r"runtimes\.json is not as it was packaged: SHA256SUMS says another hash"):
        Predictor(folder)
    (folder / "SHA256SUMS").unlink()
    with pytest.raises(UserError, match="has no readable SHA256SUMS"):
        Predictor(folder)
    (folder / "model.onnx").unlink()
    with pytest.raises(UserError, match=r"is no package: it has no model\.onnx"):
        Predictor(folder)


# ---- what is not done twice -----------------------------------------------------------------------------


def test_a_file_is_looked_into_once_and_again_when_it_changed(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes are what it is known by, not its name or its time."""
    looks: list[Path] = []
    real = looked_into._look_into
    monkeypatch.setattr(looked_into, "_look_into", lambda model, data: (looks.append(model), real(model, data)))
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(model_file.read_bytes())
    read_exported(model_file)
    read_exported(model_file)
    read_exported(copy)
    assert looks == [model_file]
    facts = copy.stat()
    copy.write_bytes(copy.read_bytes().replace(b"pptsm.sha256", b"pptsm.sha257"))  # as a file without a digest
    os.utime(copy, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    read_exported(copy)
    assert looks == [model_file, copy]
    copy.write_bytes(b"\x00" * 100)
    for _ in range(2):  # what is refused is not remembered as sound
        with pytest.raises(UserError, match="no ONNX file"):
            read_exported(copy)
    monkeypatch.setattr(looked_into, "RULES", looked_into.RULES + 1)  # a newer version looks for more
    read_exported(model_file)
    assert looks[-1] == model_file


MODULES = """
import json, sys
from pptsm.cli import main
sys.argv = ["pptsm", *sys.argv[1:]]
try:
    main()
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def modules_of(*words: object, cwd: Path) -> set[str]:
    """What a command imports in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", MODULES, *map(str, words)], cwd=cwd, capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_prediction_imports_no_more_than_it_needs(model_file: Path, videos: Path, tmp_path: Path) -> None:
    """What start time rests on: of a model that is known neither onnx nor pandas nor the schema of params.yaml."""
    words = ("predict", videos / "0.mp4", "--model", model_file, "--json")
    heavy = {"pandas", "pptsm.params.schema", "paddle", "matplotlib", "scipy", "sklearn", "openvino"}
    assert "onnx" in (first := modules_of(*words, cwd=tmp_path))
    assert "onnxruntime" in (second := modules_of(*words, cwd=tmp_path))
    assert not heavy & first
    assert not (heavy | {"onnx"}) & second


# ---- decoding beside the network ------------------------------------------------------------------------


def test_a_folder_is_answered_as_its_files_one_by_one(model_file: Path, videos: Path) -> None:
    """To the digit, and in their order."""
    files = sorted(videos.iterdir())
    predictor = Predictor(model_file)
    for answer, file in zip(predict_files(files, model_file), files, strict=True):
        assert (answer.file, answer.top) == (file, predictor.predict(file))
        assert answer == predictor.answer(file)


def test_a_decoder_that_ends_or_hangs_costs_its_file_alone(
    model_file: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its place another begins; the process with the network knows nothing of it."""
    monkeypatch.setattr(decode, "_pixels", deadly.pixels)
    files = [videos / "0.mp4", videos / "crash.mp4", videos / "1.mp4", videos / "hang.mp4", videos / "2.mp4"]
    answers = list(predict_files(files, model_file, timeout_sec=4))
    assert [answer.error is None for answer in answers] == [True, False, True, False, True]
    assert "crash" in (answers[1].error or "")
    assert "4 s" in (answers[3].error or "")


def test_answers_say_what_computed_them(model_file: Path, int8_file: Path, videos: Path, tmp_path: Path) -> None:
    """In JSON for each file, else once."""
    words = ("predict", videos / "0.mp4", videos / "1.mp4", "--model")
    for file, precision in ((model_file, "float32"), (int8_file, "int8")):
        done = pptsm(*words, file, "--runtime", "onnxruntime", "--json", cwd=tmp_path)
        said = [(entry["runtime"], entry["precision"]) for entry in json.loads(done.stdout)]
        assert said == [("onnxruntime", precision)] * 2
    done = pptsm(*words, model_file, "--precision", "float32", cwd=tmp_path)
    assert done.stderr.count(" in float32") == 1


@pytest.fixture(autouse=True)
def _no_leftovers() -> Iterator[None]:
    """No process outlives its test."""
    import multiprocessing

    before = set(multiprocessing.active_children())  # another test's, which this one is not to blame for
    yield
    assert not set(multiprocessing.active_children()) - before
