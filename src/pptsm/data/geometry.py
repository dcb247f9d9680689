"""Where a pixel goes: it follows from a video's native size and the spec alone, whatever size its frames are stored in.

Boxes lie in the resized frame, which has
the size that `resized_size` gives; `in_stored_frame` maps them to the frame at hand.

Source: PaddleVideo's transforms of PP-TSM (sizes, crop positions and their order), releases 2.1 and 2.2; the ten crops
are mmaction2's.
"""

from typing import Literal

import numpy as np

from pptsm.data.spec import ClipSpec
from pptsm.params.choices import Crops
from pptsm.video.types import Box, Size

MULTI_SCALES = (1.0, 0.875, 0.75, 0.66)


def crop_places(crops: Crops, size: Size, crop_px: int) -> list[tuple[int, int, bool]]:
    """Left, top and whether mirrored, of each crop of a view in evaluation.

    Args:
        crops: "center"; "three" at half height: left, right, centre; "ten": four corners and the centre, then their
            mirror images.
        size: of the resized frame.
        crop_px: side of the crops, at most the short side.
    """
    width, height = size
    if crops == "center":  # halves are rounded to even, as the official code does
        return [(round((width - crop_px) / 2), round((height - crop_px) / 2), False)]
    step_x, step_y = (width - crop_px) // 4, (height - crop_px) // 4
    if crops == "three":
        return [(x * step_x, 2 * step_y, False) for x in (0, 4, 2)]
    places = [(x * step_x, y * step_y) for x, y in ((0, 0), (4, 0), (0, 4), (4, 4), (2, 2))]
    return [(left, top, mirrored) for mirrored in (False, True) for left, top in places]


def centre_place(places: list[tuple[int, int, bool]]) -> int:
    """The number of the crop in the centre among those of `crop_places`: the last not mirrored."""
    return max(number for number, (*_, mirrored) in enumerate(places) if not mirrored)


def seen_share(crops: Crops, size: Size, crop_px: int) -> float:
    """The share of a resized frame that lies in any of the crops of evaluation, 0 to 1."""
    width, height = size
    seen = np.zeros((height, width), dtype=bool)
    for left, top, _ in crop_places(crops, size, crop_px):
        seen[top : top + crop_px, left : left + crop_px] = True
    return float(seen.mean())


def training_box(size: Size, spec: ClipSpec, crop: Literal["multi_scale", "random"], rng: np.random.Generator) -> Box:
    """A random box of the resized frame, which becomes a square of `spec.crop_px`.

    The published recipe resizes, cuts a multi-scale box, resizes that to `resize_px` and cuts again; here the two cuts
    are one box, so that every frame is resampled once, which is cheaper and a little sharper.
    """
    if crop == "multi_scale":
        left, top, width, height = multi_scale_box(*size, spec.resize_px, rng)
        inner_width, inner_height = width * spec.crop_px / spec.resize_px, height * spec.crop_px / spec.resize_px
    else:
        left, top, width, height = 0.0, 0.0, float(size[0]), float(size[1])
        inner_width = inner_height = float(spec.crop_px)
    left += (width - inner_width) * rng.random()
    top += (height - inner_height) * rng.random()
    return left, top, left + inner_width, top + inner_height


def in_stored_frame(box: Box, size: Size, stored: Size) -> Box:
    """A box of the resized frame of `size`, in the coordinates of the same frame stored in another size."""
    to_x, to_y = stored[0] / size[0], stored[1] / size[1]
    left, top, right, bottom = box
    return left * to_x, top * to_y, right * to_x, bottom * to_y


def multi_scale_box(
    width: int, height: int, target_px: int, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """(left, top, width, height) of a random box: 4 scales, aspect distorted by one step, 13 positions.

    Sizes are shares of the short side; a size within 2 pixels of `target_px` becomes it.
    """
    base = min(width, height)
    sizes = [int(base * scale) for scale in MULTI_SCALES]
    sizes = [target_px if abs(size - target_px) < 3 else size for size in sizes]
    pairs = [(w, h) for i, h in enumerate(sizes) for j, w in enumerate(sizes) if abs(i - j) <= 1]
    box_width, box_height = pairs[rng.integers(len(pairs))]
    # clipped: the rounding up to target_px may leave the frame by a pixel
    box_width, box_height = min(box_width, width), min(box_height, height)
    step_x, step_y = (width - box_width) / 4, (height - box_height) / 4
    positions = box_positions(step_x, step_y)
    left, top = positions[rng.integers(len(positions))]
    return left, top, float(box_width), float(box_height)


def box_positions(step_x: float, step_y: float) -> list[tuple[float, float]]:
    """Left and top of a box at each of 13 places; a step is a quarter of the free room, in pixels.

    A box as wide or as high as the frame has no room to move that way, and places fall together. As in the
    official code a corner is then drawn once, but edge middles and quadrants count as often as they come.
    """
    corners = [(x, y) for x, y in ((0, 0), (4, 0), (0, 4), (4, 4)) if (step_x or not x) and (step_y or not y)]
    inner = [(2, 2), (0, 2), (4, 2), (2, 4), (2, 0), (1, 1), (3, 1), (1, 3), (3, 3)]
    return [(x * step_x, y * step_y) for x, y in corners + inner]
