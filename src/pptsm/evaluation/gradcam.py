"""Where a network looks: Grad-CAM of a whole clip, one map a segment from one backward pass.

The gradient runs through the temporal shift, so a frame's map also says what it gave its neighbours. It needs the
network itself, with its weights; an exported file has no gradient.

Shape legend: S segments, C channels, h/w places of a feature map, H/W pixels.

Source: Selvaraju et al., "Grad-CAM" (ICCV 2017), section 3, there of one picture.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pptsm.data.transforms import ClipArray
from pptsm.evaluation.metrics import require_numbers
from pptsm.runtime.errors import UserError
from pptsm.runtime.extras import require

if TYPE_CHECKING:
    import paddle

    from pptsm.model.network import VideoNetwork

LEAST_SIDE = 7  # places a side, of the last feature map: that of a picture of 224 pixels


def gradcam(model: "VideoNetwork", clip: ClipArray, label: int | None = None) -> NDArray[np.float32]:
    """What each place of each frame adds to a class's logit, by the network's own features and their gradient.

    Of the last feature map, as published, where that has at least `LEAST_SIDE` places a side. Small pictures have a
    last map of 2 by 2, which says nothing of places: there it is the stem's, which has most, and whose gradient has
    come through all shifts.

    Args:
        model: the network, in evaluation mode.
        clip: float32 [S, 3, H, W], normalised.
        label: the class; None: the answer.

    Returns:
        [S, h, w], at least 0, in one scale: logits that the mean of a map's places stands for.

    Raises:
        UserError: a logit or a value of the map is not a number.
    """
    import paddle

    from pptsm.model.input import looked_at

    frames = looked_at(paddle.to_tensor(clip), model.num_segments, model.input)
    with paddle.no_grad():  # up to the last map nothing is kept for a gradient, and that is nearly all memory
        features = model.backbone(frames)
    if min(features.shape[2:]) >= LEAST_SIDE:
        features.stop_gradient = False
        logits_K = model.head(features, len(clip))[0]
    else:
        features, logits_K = _from_the_stem(model, frames)
    require_numbers(logits_K.numpy(), "the network, asked about a clip,")
    (gradient,) = paddle.grad(logits_K[int(logits_K.argmax()) if label is None else label], features)
    # one weight for each channel of each segment
    maps: NDArray[np.float32] = paddle.nn.functional.relu(
        (gradient.sum(axis=[2, 3], keepdim=True) * features).sum(axis=1)
    ).numpy()
    require_numbers(maps, "the gradient of the network, asked about a clip,")
    return maps


def _from_the_stem(model: "VideoNetwork", frames: "paddle.Tensor") -> "tuple[paddle.Tensor, paddle.Tensor]":
    """The feature map of the stem, and the logits [K] that follow from it."""
    frames.stop_gradient = False  # so that there is a gradient of frozen layers too
    found: list[paddle.Tensor] = []
    hook = model.backbone.stem[-1].register_forward_post_hook(lambda _layer, _input, output: found.append(output))
    try:
        logits_K = model.head(model.backbone(frames), len(frames))[0]
    finally:
        hook.remove()
    return found[0], logits_K


def enlarged(maps: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """Maps [S, h, w] in the size of a picture, [S, height, width], by linear interpolation."""
    pictures = [
        Image.fromarray(each.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR) for each in maps
    ]
    return np.stack([np.asarray(picture, dtype=np.float32) for picture in pictures])


def network_of(folder: Path, revision: str, *, named: bool) -> "VideoNetwork | str":
    """The network that an exported file was made of, or why Grad-CAM does without.

    Args:
        folder: of the network's weights.
        revision: that the exported file names.
        named: the user named the folder, which must then be usable.

    Raises:
        UserError: a folder that was named has no weights, or those of another network; or Paddle is not installed.
    """
    remedy = "Grad-CAM needs a gradient, which an exported file does not have: name its weights' folder (--weights)"
    if not named and not (folder / "card.json").is_file():
        return f"there is no map: no weights in {folder}. {remedy}."
    if not named and find_spec("paddle") is None:
        return f"there is no map: Paddle, which computes gradients, is not installed here (the extra `cpu`). {remedy}."
    require("--weights", ["cpu"])
    from pptsm.weights.card import load_network, read_card

    made = read_card(folder).revision
    if made != revision:
        sentence = f"the weights in {folder} are {made}, and the model file was made of {revision}"
        if not named:
            return f"there is no map: {sentence}. {remedy}."
        raise UserError(f"{sentence}: they would explain another network. Name the folder that belongs to it.")
    return load_network(folder)
