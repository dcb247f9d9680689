"""Which frames of a video make a clip: pure functions from a frame count to 0-based indices.

`rng=None` is evaluation: the same indices every time. With a generator it is training. Uniform and dense follow the
rules of PaddleVideo's sampler (checked index by index against it); S segments, n frames in the video.
"""

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

DENSE_WINDOW = 64
DENSE_CLIPS = 10


def uniform_indices(num_frames: int, num_segments: int, rng: np.random.Generator | None = None) -> Indices:
    """One frame from each of S equal parts of the video: its middle, or in training a random one.

    Args:
        num_frames: n, at least 1. With n < S the video is repeated: index i modulo n.
        num_segments: S.
        rng: None for evaluation.

    Returns:
        int64 [S], each in [0, n).

    Raises:
        ValueError: a count below 1.
    """
    _check(num_frames, num_segments)
    length = num_frames // num_segments
    if length == 0:
        return np.arange(num_segments, dtype=np.int64) % num_frames
    starts = np.arange(num_segments, dtype=np.int64) * length
    if rng is None:
        return starts + (length - 1) // 2
    return starts + rng.integers(0, length, size=num_segments)


def dense_indices(
    num_frames: int,
    num_segments: int,
    rng: np.random.Generator | None = None,
    *,
    window: int = DENSE_WINDOW,
    num_clips: int = DENSE_CLIPS,
) -> Indices:
    """S frames at equal steps through a window; in evaluation, windows at `num_clips` starts.

    Args:
        num_frames: n, at least 1. Where the window is longer than the video, indices wrap around.
        num_segments: S; the step is window // S.
        rng: None for evaluation; else one random window.
        window: frames that a clip spans, at least S.
        num_clips: clips in evaluation; a single one is the window in the middle.

    Returns:
        int64 [num_clips, S], or [1, S] in training.

    Raises:
        ValueError: a count below 1, or a window shorter than S.
    """
    _check(num_frames, num_segments)
    if window < num_segments:
        raise ValueError(f"the window ({window} frames) is shorter than {num_segments} segments")
    room = max(0, num_frames - window)
    if rng is None:
        starts = np.linspace(0, room, num_clips).astype(np.int64) if num_clips > 1 else np.array([room // 2])
    else:
        starts = np.array([rng.integers(0, room) if room > 0 else 0], dtype=np.int64)
    steps = np.arange(num_segments, dtype=np.int64) * (window // num_segments)
    return (starts[:, None] + steps) % num_frames


def centred_indices(num_frames: int, num_segments: int) -> Indices:
    """int64 [S]: `int(i*n/S + n/(2S))`, the middles of S equal parts whose borders need not be whole frames.

    Source: the evaluation of mit-han-lab's TSM and of mmaction2's. A short video's frames are repeated in place.

    Raises:
        ValueError: a count below 1.
    """
    _check(num_frames, num_segments)
    return (2 * np.arange(num_segments, dtype=np.int64) + 1) * num_frames // (2 * num_segments)


def twice_indices(num_frames: int, num_segments: int) -> Indices:
    """int64 [2, S]: `centred_indices`, then the beginnings of the same parts, `int(i*n/S)`.

    Source: mmaction2's evaluation of TSM on Something-Something.

    Raises:
        ValueError: a count below 1.
    """
    starts = np.arange(num_segments, dtype=np.int64) * num_frames // num_segments
    return np.stack([centred_indices(num_frames, num_segments), starts])


def _check(num_frames: int, num_segments: int) -> None:
    if num_frames < 1 or num_segments < 1:
        raise ValueError(f"num_frames ({num_frames}) and num_segments ({num_segments}) must be at least 1")
