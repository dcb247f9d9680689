"""What a network looks at of a clip: its frames, how they change, or both; computed by the network itself.

So a network takes the same frames whatever it looks at, and every entrance to it gives it the same: training,
evaluation, and an exported file in any runtime.

Shape legend: N clips, S segments (frames of a clip), C channels, H/W pixels.

Source of differences as an input: Wang et al., "Temporal Segment Networks" (ECCV 2016), section 3.2.
"""

import paddle

from pptsm.params.choices import Input

CHANNELS: dict[Input, int] = {"rgb": 3, "difference": 3, "both": 6}
# Brings differences of normalised frames to about the size of the frames: as they are, their root mean square was 0.33
# to 0.91 on three sets of videos (docs/log/2026-11.md). It is a part of what the words mean: another factor would need
# another word.
SCALE = 1.5


def frame_differences(frames: paddle.Tensor, num_segments: int) -> paddle.Tensor:
    """How much brighter each frame of a clip is than the one before it, times `SCALE`.

    The first frame has none before it, and is given the difference of the second: a network then never sees an empty
    frame, unless nothing moves.

    Args:
        frames: normalised [N*S, C, H, W].
        num_segments: S, at least 2.

    Returns:
        [N*S, C, H, W].
    """
    _, channels, height, width = frames.shape
    clips = frames.reshape([-1, num_segments, channels, height, width])
    steps = (clips[:, 1:] - clips[:, :-1]) * SCALE
    return paddle.concat([steps[:, :1], steps], axis=1).reshape([-1, channels, height, width])


def looked_at(frames: paddle.Tensor, num_segments: int, what: Input) -> paddle.Tensor:
    """Normalised frames [N*S, 3, H, W] as the first convolution takes them: [N*S, `CHANNELS[what]`, H, W]."""
    if what == "rgb":
        return frames
    differences = frame_differences(frames, num_segments)
    return differences if what == "difference" else paddle.concat([frames, differences], axis=1)
