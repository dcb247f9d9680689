"""What the families of networks share."""

import paddle
import paddle.nn.functional as F


def temporal_shift(
    frames: paddle.Tensor, num_segments: int, ratio: float, *, backward_first: bool = False
) -> paddle.Tensor:
    """Move a share of the channels one frame forward in time and the next share one frame back.

    Args:
        frames: [N*S, C, H, W]; the shift stays inside groups of `num_segments` frames.
        num_segments: S.
        ratio: share of the channels moved in each direction, in (0, 0.5].
        backward_first: PP-TSM takes channels [0, C*ratio) from t-1 and [C*ratio, 2*C*ratio) from t+1;
            True is the opposite order, that of mit-han-lab's TSM and mmaction2.

    Returns:
        [N*S, C, H, W]; zeros come in at both ends of a group.
    """
    if not backward_first:
        return F.temporal_shift(frames, num_segments, ratio)
    _, channels, height, width = frames.shape
    fold = int(channels * ratio)
    clips = frames.reshape([-1, num_segments, channels, height, width])
    from_next, from_previous, unmoved = clips[:, 1:, :fold], clips[:, :-1, fold : 2 * fold], clips[:, :, 2 * fold :]
    silence = paddle.zeros_like(clips[:, :1, :fold])
    shifted = paddle.concat(
        [paddle.concat([from_next, silence], axis=1), paddle.concat([silence, from_previous], axis=1), unmoved],
        axis=2,
    )
    return shifted.reshape([-1, channels, height, width])


def scaled(channels: int, width: float) -> int:
    """A number of channels times `width`, to a multiple of 8: a shift of one eighth then moves whole channels."""
    return max(8, round(channels * width / 8) * 8)
