"""What `pptsm doctor` works out."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

from conftest import params_with, pptsm, write_params
from pptsm.commands.doctor import largest_batch_bytes, paddle_fault, shared_memory
from pptsm.data.prefetch import collate
from pptsm.data.transforms import Pixels
from pptsm.evaluation.engines import has_bfloat16
from pptsm.params.schema import MOST_PROCESSES
from pptsm.presets.compose import PRESETS, Choice, chosen_params
from pptsm.runtime.cores import cores, processor_name
from pptsm.runtime.memory import remember

doctor = import_module("pptsm.commands.doctor")  # pptsm.commands has the command under this name

SMALL = {
    "clip": {"resize_px": 64, "crop_px": 64, "test_crop_px": 64, "dense_clips": 5, "dense_crops": "three"},
    "training": {"batch_size": 10},
    "teacher": {"network": {"num_segments": 8}},
    "student": {"network": {"num_segments": 8}},
    "evaluate": {"sampling": "uniform"},
}


@pytest.mark.parametrize(
    ("changes", "clips", "frames"),
    [
        ({}, 10, 8),  # a batch of training
        ({"training": {"batch_size": 10, "batch_norm_clips": 3}}, 4, 8),  # a group of it: one of 4, 3 and 3
        ({"clip": {**SMALL["clip"], "crops": "ten"}, "training": {"batch_size": 9}}, 1, 10 * 8),  # a video's views
        ({"evaluate": {"sampling": "both"}}, 1, 5 * 3 * 8),
    ],
)
def test_the_largest_batch_counts(changes: dict[str, dict[str, object]], clips: int, frames: int) -> None:
    """Of training, or all views of a video as evaluation looks at them: what the loader makes of them, to the byte."""
    scale = np.ones(3, np.float32)
    clip = Pixels(np.zeros((frames, 3, 64, 64), np.uint8), scale, scale), np.int64(0)
    made = sum(array.nbytes for array in collate([clip] * clips, clips))
    assert largest_batch_bytes(params_with(**SMALL | changes)) == made


def test_the_published_recipe_needs_what_its_loader_takes() -> None:
    """128 clips of 8 frames as uint8, two of them for each of eight processes, and one to spare."""
    choice = Choice("k400-r50-uniform", settings=("training.batch_norm_clips=128",))
    params = chosen_params(PRESETS, choice)
    assert largest_batch_bytes(params) == 154_144_768
    assert "8 processes of the loader hold up to 2620 MB" in shared_memory(params, 8, 10**10).found


@pytest.mark.parametrize("release", ["3.2.2", "3.1.1", "3.0.0"])
def test_releases_of_paddle_that_work(release: str) -> None:
    """Those that were tried."""
    assert paddle_fault(release) == ""


@pytest.mark.parametrize("release", ["3.3.0", "3.3.1", "3.3.2", "3.10.0.dev20270101", "4.0"])
def test_releases_of_paddle_that_do_not(release: str) -> None:
    """With the reason; two of them have another besides."""
    assert "the slope of leaky ReLU" in paddle_fault(release)
    assert ("under oneDNN" in paddle_fault(release)) == (release in ("3.3.0", "3.3.1"))


@pytest.mark.parametrize(
    ("workers", "free_batches", "good", "remedy"),
    [(3, 7.0, True, None), (3, 6.9, False, "compute.workers to 2"), (1, 2.0, False, "to 0"), (0, 0.0, True, None)],
)
def test_shared_memory_must_hold_two_batches_a_process_and_one(
    workers: int, free_batches: float, good: bool, remedy: str | None
) -> None:
    """Where it does not, the number that fits is said."""
    params = params_with(**SMALL)
    found = shared_memory(params, workers, int(free_batches * largest_batch_bytes(params)))
    assert found.good is good
    assert f"{workers} processes of the loader hold up to" in found.found
    if remedy:
        assert remedy in found.remedy


def test_the_parameters_in_this_folder_decide(tmp_path: Path) -> None:
    """More processes than any memory holds are BAD, with what to lower and an exit code above 0; no trace."""
    large = {"resize_px": 2048, "crop_px": 2048, "test_crop_px": 2048}
    write_params(
        tmp_path / "params.yaml",
        {"compute": {"workers": MOST_PROCESSES}, "clip": large, "frames": {"short_side_px": None}},
    )
    done = pptsm("doctor", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "BAD  shared memory" in done.stdout
    assert "-> Set compute.workers to " in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_wrong_parameters_do_not_end_the_other_checks(tmp_path: Path) -> None:
    """Their sentence stands beside the check that needs them."""
    write_params(tmp_path / "params.yaml", {"compute": {"workers": -1}})
    done = pptsm("doctor", cwd=tmp_path, check=False, PPTSM_THREADS="abc")
    assert done.returncode == 1
    assert "-> params.yaml: compute.workers" in done.stdout
    assert "BAD  threads" in done.stdout
    assert "PPTSM_THREADS is 'abc', but should be" in done.stdout
    assert " git " in done.stdout
    assert " simplejpeg " in done.stdout  # decodes JPEGs, so the machine needs it
    assert "Traceback" not in done.stdout + done.stderr


def test_an_install_that_only_serves_lacks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no fault elsewhere is one where the whole pipeline is to run, and decord may be absent anywhere."""

    def no_version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "version", no_version)
    for extra, names in doctor.OF_EXTRAS.items():
        for name in names:
            found = doctor._package(name, extra)
            assert found.good
            assert f"'pptsm[{extra}]==" in found.found
    assert [finding.good for finding in (*doctor._paddle(), *doctor._decord())] == [True, True]
    assert not doctor._package("av", "").good
    Path("dvc.yaml").touch()
    assert [finding.good for finding in (*doctor._paddle(), *doctor._decord())] == [False, True]
    assert not doctor._package("dvc", "pipeline").good
    monkeypatch.setattr(doctor, "no_paddle", lambda: "there is no Paddle 3.2.2 for Linux on aarch64.")
    (found,) = doctor._paddle()
    assert (found.good, found.remedy) == (False, "There is no Paddle 3.2.2 for Linux on aarch64.")


def test_what_is_remembered_of_runtimes_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of files that are still there, on this machine, the fastest first; and what can be computed here at all."""
    monkeypatch.setenv("PPTSM_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "model\n1.onnx"
    file.touch()
    here = f"{processor_name()}, {cores()} cores, onnxruntime 1.0, clips of 8x3x224x224"
    times = {"onnxruntime float32": 409.0, "openvino bfloat16": 212.04, "openvino int8": float("inf")}
    remember("models", "a", file=str(file), ms={here: times, "another machine": {"onnxruntime float32": 1.0}})
    remember("models", "b", file=str(tmp_path / "gone.onnx"), ms={here: times})
    remember("models", "c", file=5, ms={here: times})
    remember("models", "d", file=str(file), ms=[])
    remember("models", "e", sound=1)
    monkeypatch.setattr(doctor, "multiplies_int8", lambda: False)
    openvino, precisions, *remembered = doctor._runtimes()
    assert openvino.good
    assert precisions.found.startswith("float32, int8 (weights of 7 bits")
    assert ("bfloat16" in precisions.found) == has_bfloat16()
    (found,) = remembered
    assert found.found.startswith("openvino bfloat16 212.0, onnxruntime float32 409.0, openvino int8 inf (")
    assert found.found.endswith("; onnxruntime 1.0, clips of 8x3x224x224)")
    assert "\n" not in found.found

    def no_version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", no_version)
    assert "'pptsm[openvino]==" in doctor._runtimes()[0].found
