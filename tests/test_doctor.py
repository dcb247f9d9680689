"""What `pptsm doctor` works out."""

from pathlib import Path

import pytest

from conftest import params_with, pptsm, write_params
from pptsm.doctor import largest_batch_bytes, shared_memory

ONE_FRAME = 3 * 64 * 64 * 4  # bytes, float32
SMALL = {
    "clip": {"resize_px": 64, "crop_px": 64, "test_crop_px": 64, "dense_clips": 5, "dense_crops": "three"},
    "training": {"batch_size": 10},
    "teacher": {"segments": 8},
    "student": {"segments": 8},
    "evaluate": {"sampling": "uniform"},
}


@pytest.mark.parametrize(
    ("changes", "frames"),
    [
        ({}, 10 * 8),  # a batch of training
        ({"clip": {**SMALL["clip"], "crops": "ten"}, "training": {"batch_size": 9}}, 10 * 8),  # the views of a video
        ({"evaluate": {"sampling": "both"}}, 5 * 3 * 8),
    ],
)
def test_the_largest_batch_counts(changes: dict[str, dict[str, object]], frames: int) -> None:
    """Of training, or all views of a video as evaluation looks at them."""
    assert largest_batch_bytes(params_with(**SMALL | changes)) == frames * ONE_FRAME


@pytest.mark.parametrize(
    ("workers", "free_batches", "good", "remedy"),
    [(3, 7.0, True, None), (3, 6.9, False, "compute.workers to 2"), (1, 2.0, False, "to 0"), (0, 0.0, True, None)],
)
def test_shared_memory_must_hold_two_batches_a_process_and_one(
    workers: int, free_batches: float, good: bool, remedy: str | None
) -> None:
    """As Paddle's loader was measured; where it does not, the number that fits is said."""
    params = params_with(**SMALL)
    found = shared_memory(params, workers, int(free_batches * largest_batch_bytes(params)))
    assert found.good is good
    assert f"{workers} processes of the loader hold up to" in found.found
    if remedy:
        assert remedy in found.remedy


def test_the_parameters_in_this_folder_decide(tmp_path: Path) -> None:
    """More processes than any memory holds are BAD, with what to lower and an exit code above 0; no trace."""
    write_params(tmp_path / "params.yaml", {"compute": {"workers": 1_000_000}})
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
    assert "Traceback" not in done.stdout + done.stderr
