"""Batches from other processes: the same as without them, started once, and never a reason to hang."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from pptsm.data.prefetch import collate, prepared, prepared_ahead, segments_of
from pptsm.data.transforms import Pixels
from pptsm.runtime.errors import UserError

SHARED_MEMORY = Path("/dev/shm")
SCALE = np.ones(3, np.float32)


class Numbered:
    """Items that say their number and who made them; those in `bad` fail in one way or another."""

    may_hang = False

    def __init__(self, bad: dict[int, str] | None = None, folder: Path | None = None) -> None:
        self.bad, self.folder = bad or {}, folder

    def video_of(self, number: int) -> str:
        return f"run/{number}.mp4"

    def __len__(self) -> int:
        return 100

    def __getitem__(self, number: int) -> tuple[Pixels, np.int64]:
        if self.folder:
            (self.folder / str(number)).touch()
        if self.bad.get(number) == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.bad.get(number) == "unreadable":
            raise UserError(f"clip {number} cannot be read")
        return Pixels(np.full((2, 3, 4, 5), number, np.uint8), SCALE * number, SCALE), np.int64(os.getpid())


def segments() -> set[str]:
    """What this process's batches have left; other programs' memory is none of our business."""
    return {path.name for path in SHARED_MEMORY.glob(f"{segments_of(os.getpid())}-*")}


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_are_the_same_for_any_number_of_processes(workers: int) -> None:
    """Of any size, in order, every field, down to the last bit; without any process too."""
    batches = [[3, 1], [2], [0, 5, 4], [9, 8], [7], [6]]
    found = list(prepared(Numbered(), batches, workers))
    assert len(found) == len(batches)
    for batch, arrays in zip(batches, found, strict=True):
        for array, expected in zip(
            arrays[:3], collate((Numbered()[number] for number in batch), len(batch)), strict=False
        ):
            assert array.dtype == expected.dtype
            np.testing.assert_array_equal(array, expected)


def test_the_loader_hands_over_what_the_processes_made() -> None:
    """Tensors of their own: the memory is given back before they are looked at."""
    from pptsm.data.loader import load_batches  # Paddle, which the processes that import this file need not

    before = segments()
    loaded = list(load_batches(Numbered(), [[1], [2, 3]], workers=1))
    assert [pixels.values[:, 0, 0, 0, 0].tolist() for pixels, _ in loaded] == [[1], [2, 3]]
    assert loaded[1][0].scale.numpy().tolist() == [[2.0] * 3, [3.0] * 3]
    assert segments() == before


def test_no_large_array_is_copied_on_its_way_to_a_cpu() -> None:
    """A video's views have tens of megabytes: the tensor is the item's own memory, and a batch of one is the item."""
    from pptsm.data.loader import as_tensor, load_batches

    class One(Numbered):
        item = Pixels(np.zeros((2, 3, 4, 5), np.uint8), SCALE, SCALE), np.int64(7)

        def __getitem__(self, number: int) -> tuple[Pixels, np.int64]:
            return self.item

    ((loaded, label),) = load_batches(One(), [[0]], workers=0, device="cpu")
    One.item[0].values[1, 2, 3, 4] = 9
    assert loaded.values.numpy()[0, 1, 2, 3, 4] == 9
    assert label.numpy().tolist() == [7]
    mirrored = One.item[0].values[..., ::-1]  # no memory that a tensor could have
    np.testing.assert_array_equal(as_tensor(mirrored, "cpu").numpy(), mirrored)


def test_processes_are_started_once() -> None:
    """The next epoch's clips come from the same ones, other than this."""
    makers = [{int(labels[0]) for *_, labels in prepared_ahead(Numbered(), [[1], [2], [3], [4]], 1)} for _ in range(2)]
    assert makers[0] == makers[1]
    assert len(makers[0]) == 1
    assert os.getpid() not in makers[0]


def test_the_next_batches_are_prepared_behind_the_step(tmp_path: Path) -> None:
    """While one is computed on; and no more of them than memory is meant for."""
    batches = prepared_ahead(Numbered(folder=tmp_path), [[number] for number in range(20)], 1)
    next(batches)
    until = time.monotonic() + 20
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.3)
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1"}
    batches.close()


def test_what_a_process_finds_wrong_arrives_as_it_was_said() -> None:
    """After the batches before it, and what is then given up leaves no memory behind."""
    before, batches = segments(), [[0], [1, 2], [3], [4]]
    prepared = prepared_ahead(Numbered({2: "unreadable"}), batches, 1)
    assert next(prepared)[0].shape[0] == 1
    with pytest.raises(UserError, match=r"^clip 2 cannot be read$"):
        next(prepared)
    assert segments() == before


def test_a_process_that_is_killed_ends_it_with_a_sentence() -> None:
    """Within seconds, with what to do; the next run gets another process."""
    started = time.monotonic()
    with pytest.raises(UserError, match=r"ended from outside .*/dev/shm.*compute\.workers"):
        list(prepared_ahead(Numbered({1: "killed"}), [[0], [1], [2]], 1))
    assert time.monotonic() - started < 30
    assert len(list(prepared_ahead(Numbered(), [[0], [1]], 1))) == 2


def test_one_that_is_killed_between_batches_does_not_hang() -> None:
    """As by the system, when memory is short: a sentence, or another process in its place."""
    for arrays in prepared_ahead(Numbered(), [[1]], 1):
        psutil.Process(int(arrays[3][0])).kill()
    try:
        assert len(list(prepared_ahead(Numbered(), [[1], [2]], 1))) == 2
    except UserError as error:
        assert "ended from outside" in str(error)  # noqa: PT017  either is right, by how soon the death is noticed
    assert len(list(prepared_ahead(Numbered(), [[1], [2]], 1))) == 2


def test_one_that_is_killed_while_others_wait_does_not_hang() -> None:
    """In the middle of an epoch, between two batches of it."""
    prepared = prepared_ahead(Numbered(), [[number] for number in range(30)], 2)
    psutil.Process(int(next(prepared)[3][0])).kill()
    try:
        assert len(list(prepared)) == 29
    except UserError as error:
        assert "ended from outside" in str(error)  # noqa: PT017  either is right, by how soon the death is noticed
