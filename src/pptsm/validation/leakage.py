"""What the network would know of validation and test from its training: the same frames, or frames that look alike."""

from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pptsm.data.clips import FrameSource
from pptsm.data.table import SPLITS, ClipRef, excerpts
from pptsm.runtime.console import progress
from pptsm.runtime.errors import UserError
from pptsm.runtime.jobs import run_jobs
from pptsm.runtime.pool import JobFailure

HASH_SIDE = 16  # 256 bits per frame: with 64, plain backgrounds are taken for copies (docs/log/2026-11.md)
HASH_BITS = HASH_SIDE**2
THIRDS = 3  # frames per clip, in the middle of each third
CLIPS_OF_A_JOB = 64
BLOCK = (64, 8192)  # pairs compared at once, in 4 MB


def shared_with(clips: pd.DataFrame) -> NDArray[np.int64]:
    """For each clip the position of one of another split that has frames of the same content, or -1.

    Of two such clips the later in the file has the other's position; of whole files, which begin alike, the second.

    Args:
        clips: usable rows of the index, numbered from 0.
    """
    content = clips["sha256"].where(clips["sha256"] != "", clips["path"])
    order = clips[["first_frame", "num_frames", "split"]].assign(content=pd.factorize(content)[0])
    order = order.sort_values(["content", "first_frame"], kind="stable")
    ends = order["first_frame"] + order["num_frames"]
    partner = pd.Series(-1, order.index)
    for split in SPLITS:
        other = order["split"] != split
        # the furthest end so far of this split's clips of the content, and whose it is, in one number
        furthest = (ends * len(order) + order.index).mask(other, 0).groupby(order["content"]).cummax()
        reached = other & (furthest // len(order) > order["first_frame"])
        partner = partner.mask(reached, furthest % len(order))
    return np.asarray(partner.sort_index(), dtype=np.int64)


def frame_hashes(clips: pd.DataFrame, source: FrameSource, workers: Literal["auto"] | int) -> NDArray[np.uint64]:
    """Perceptual hashes [N, 3, 4] of clips: of three frames each, 256 bits as four numbers. About 5 ms per clip.

    Args:
        clips: columns as `ClipRef` and `num_frames`.
        source: where frames come from.
        workers: processes.

    Raises:
        UserError: a clip cannot be read.
    """
    requested = list(zip(excerpts(clips), clips["num_frames"].tolist(), strict=True))
    jobs = [(source, requested[start : start + CLIPS_OF_A_JOB]) for start in range(0, len(requested), CLIPS_OF_A_JOB)]
    done = run_jobs(_hashes_of, jobs, workers, timeout_sec=None)  # the index knows that they decode
    found = []
    for (_, part), answer in zip(jobs, progress(done, "hashes", "jobs", total=len(jobs)), strict=True):
        if isinstance(answer, JobFailure):
            names = f"{part[0][0].id!r} to {part[-1][0].id!r}"
            raise UserError(f"the clips {names} cannot be compared: {answer.reason}. Look at them with `pptsm views`.")
        found.append(answer)
    return np.concatenate(found) if found else np.empty((0, THIRDS, HASH_BITS // 64), np.uint64)


def _hashes_of(source: FrameSource, requested: list[tuple[ClipRef, int]]) -> NDArray[np.uint64]:
    """Runs in a worker."""
    import imagehash
    from PIL import Image

    hashes = np.empty((len(requested), THIRDS, HASH_BITS), bool)
    for place, (excerpt, num_frames) in enumerate(requested):
        middles = num_frames * (2 * np.arange(THIRDS) + 1) // (2 * THIRDS)
        for third, frame in enumerate(source.read(excerpt, middles).pixels):
            hashes[place, third] = imagehash.phash(Image.fromarray(frame), HASH_SIDE).hash.ravel()
    return np.packbits(hashes, axis=-1).view(np.uint64)


def nearest_copies(
    hashes: NDArray[np.uint64], splits: Sequence[str], contents: Sequence[str], most_bits: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each clip of validation and test, the clip of another split that looks most like it.

    Two clips are as far apart as those frames of theirs, at the same third, that differ most. All pairs of clips of
    different splits are compared, 2 to 3 ns a pair: 240,000 clips with a tenth held out in a quarter of a minute.

    Args:
        hashes: [N, 3, 4], of `frame_hashes`.
        splits: of each clip.
        contents: of each clip, a hash of its file: those of one file are not compared.
        most_bits: how many bits of 256 may differ.

    Returns:
        Position of the nearest clip, or -1 where none is so near; and how many bits differ, then 256.
    """
    number = np.unique(np.asarray(contents, dtype=object), return_inverse=True)[1]
    best = np.full(len(hashes), HASH_BITS * len(hashes) + len(hashes), np.int64)  # bits and position in one number
    of_split = {split: np.flatnonzero(np.asarray(splits) == split) for split in SPLITS}
    half_2N = np.ascontiguousarray(hashes[:, 1, :2].T)  # of the middle frame: it rules out all but a few
    space = np.empty(BLOCK, np.uint64)
    for here, there in combinations(SPLITS, 2):
        for rows in _blocks(of_split[there], BLOCK[0]):
            for columns in _blocks(of_split[here], BLOCK[1]):
                area = space[: len(rows), : len(columns)]
                bits = np.zeros(area.shape, np.uint8)
                for word in half_2N:
                    bits += np.bitwise_count(np.bitwise_xor.outer(word[rows], word[columns], out=area))
                at = np.flatnonzero(bits <= most_bits)
                row, column = rows[at // len(columns)], columns[at % len(columns)]
                apart = np.bitwise_count(hashes[row] ^ hashes[column]).sum(-1, dtype=np.int64).max(-1)
                alike = (apart <= most_bits) & (number[row] != number[column])
                np.minimum.at(best, row[alike], apart[alike] * len(hashes) + column[alike])
    bits, nearest = np.divmod(best, max(1, len(hashes)))
    found = bits <= most_bits
    return np.where(found, nearest, -1), np.where(found, bits, HASH_BITS)


def _blocks(positions: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [positions[start : start + size] for start in range(0, len(positions), size)]
