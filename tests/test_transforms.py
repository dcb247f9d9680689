"""Pixels: sizes, crop positions, order of views, and what training draws."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from pptsm.data.transforms import (
    MEAN,
    MULTI_SCALES,
    STD,
    box_positions,
    center_crop,
    evaluation_views,
    full_height_crops,
    multi_scale_box,
    normalise,
    resized_size,
    training_clip,
)

RNG = np.random.default_rng(5)
RECIPE = {
    "keep_aspect": True,
    "resize_px": 256,
    "crop_px": 224,
    "crop": "multi_scale",
    "flip": False,
    "brightness": 0.0,
}


@pytest.mark.parametrize(
    ("size", "keep_aspect", "expected"),
    [
        ((320, 240), False, (341, 256)),
        ((240, 320), False, (256, 341)),
        ((454, 256), False, (454, 256)),  # a short side of 256 stays untouched
        ((320, 240), True, (341, 256)),
        ((480, 240), True, (512, 256)),
        ((100, 100), False, (256, 341)),
        ((100, 100), True, (256, 256)),
    ],
)
def test_resized_size(size: tuple[int, int], keep_aspect: bool, expected: tuple[int, int]) -> None:
    """The official code distorts to 4:3 unless told otherwise."""
    assert resized_size(*size, 256, keep_aspect) == expected


def test_crop_positions_of_a_landscape_frame() -> None:
    """Centre with halves to even; dense left, right, centre at 4*(117//4) and 2*(117//4)."""
    assert center_crop(341, 256, 224) == (58, 16)
    assert full_height_crops(341, 256, 224) == [(0, 16), (116, 16), (58, 16)]


@pytest.mark.parametrize(("sampling", "lefts"), [("uniform", [58]), ("dense", [0, 116, 58])])
def test_evaluation_views_are_pillow_resize_crop_normalise(sampling: str, lefts: list[int]) -> None:
    """Frame by frame with Pillow, crops outermost: all clips of the left crop come first."""
    frames = RNG.integers(0, 256, (16, 120, 160, 3), dtype=np.uint8)
    views = evaluation_views(frames, sampling)  # type: ignore[arg-type]
    expected = []
    for left in lefts:
        for frame in frames:
            big = np.asarray(Image.fromarray(frame).resize((341, 256), Image.Resampling.BILINEAR))
            crop = big[16:240, left : left + 224] / 255
            expected.append(((crop - MEAN) / STD).transpose(2, 0, 1))
    assert views.dtype == np.float32
    assert views.shape == (16 * len(lefts), 3, 224, 224)
    np.testing.assert_allclose(views, np.stack(expected), atol=1e-5)


def test_black_and_white_are_what_imagenet_makes_of_them() -> None:
    """The published numbers, channel by channel; the middle grey of each channel is 0."""
    frames = np.stack([np.zeros((1, 1, 3)), np.full((1, 1, 3), 255)]).astype(np.uint8)
    black, white = normalise(frames).reshape(2, 3)
    np.testing.assert_allclose(black, [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], rtol=1e-6)
    np.testing.assert_allclose(white, [0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225], rtol=1e-6)


def test_multi_scale_boxes_stay_inside_and_reach_every_size_and_corner() -> None:
    """Scales of the short side, aspect one step at most, corners included."""
    rng, boxes = np.random.default_rng(0), []
    for _ in range(3000):
        boxes.append(multi_scale_box(341, 256, 256, rng))
    left, top, width, height = np.array(boxes).T
    assert (left >= 0).all()
    assert (left + width <= 341).all()
    assert (top + height <= 256).all()
    sizes = [int(256 * scale) for scale in MULTI_SCALES]
    assert set(width) == set(sizes)
    assert set(height) == set(sizes)
    steps = [abs(sizes.index(int(w)) - sizes.index(int(h))) for w, h in zip(width, height, strict=True)]
    assert max(steps) == 1
    assert any((left == 0) & (top == 0) & (width == 168))
    assert any((left + width == 341) & (top + height == 256) & (width == 168))


@pytest.mark.parametrize(
    ("step_x", "step_y", "tops"),
    [
        (5, 7, {0: 3, 7: 2, 14: 3, 21: 2, 28: 3}),
        (0, 7, {0: 2, 7: 2, 14: 3, 21: 2, 28: 2}),  # full width: two corners fall away
        (5, 0, {0: 11}),
    ],
)
def test_a_corner_is_drawn_once_where_the_box_has_no_room(step_x: float, step_y: float, tops: dict) -> None:
    """The official list of places, without its duplicate corners: 13 places, or 11."""
    places = box_positions(step_x, step_y)
    assert Counter(top for _, top in places) == tops
    assert {left for left, _ in places} <= {k * step_x for k in range(5)}


def test_training_clip_cuts_the_same_box_from_all_frames() -> None:
    """A clip of one repeated frame stays constant in time."""
    frame = RNG.integers(0, 256, (1, 90, 120, 3), dtype=np.uint8)
    clip = training_clip(np.repeat(frame, 4, axis=0), np.random.default_rng(3), **RECIPE)
    assert clip.shape == (4, 3, 224, 224)
    assert (clip == clip[:1]).all()


@pytest.mark.parametrize("zoom", [1, 2])
@pytest.mark.parametrize("crop", ["random", "multi_scale"])
def test_a_training_clip_lies_where_its_generator_says(crop: str, zoom: int) -> None:
    """Every pixel holds its own column and row, in frames as large as `resize_px` and twice as large."""
    x, y = np.meshgrid(np.arange(200 * zoom) / zoom, np.arange(100 * zoom) / zoom)
    frames = np.stack([x, y, 0 * x], axis=2).round().astype(np.uint8)[None]
    settings = RECIPE | {"resize_px": 100, "crop_px": 80, "crop": crop}
    for seed in range(8):
        rng = np.random.default_rng(seed)
        clip = training_clip(frames, np.random.default_rng(seed), **settings)[0]
        columns, rows = ((clip[c] * STD[c] + MEAN[c]) * 255 for c in (0, 1))
        left, top, width, height = (0, 0, 200, 100) if crop == "random" else multi_scale_box(200, 100, 100, rng)
        across, down = (80, 80) if crop == "random" else (0.8 * width, 0.8 * height)
        left, top = left + (width - across) * rng.random(), top + (height - down) * rng.random()
        middles = (np.arange(80) + 0.5) / 80
        np.testing.assert_allclose(columns[40], left + middles * across - 0.5, atol=1.3)
        np.testing.assert_allclose(rows[:, 40], top + middles * down - 0.5, atol=1.3)


def test_flip_mirrors_the_same_clip() -> None:
    """With the same generator only the direction differs."""
    frames = RNG.integers(0, 256, (2, 90, 120, 3), dtype=np.uint8)
    plain = training_clip(frames, np.random.default_rng(3), **RECIPE)
    mirrored = training_clip(frames, np.random.default_rng(3), **{**RECIPE, "flip": True})
    np.testing.assert_array_equal(mirrored, plain[..., ::-1])


def test_brightness_changes_the_whole_clip_alike() -> None:
    """One contrast (around ImageNet's mean) and one shift a clip, drawn after the crop from its generator."""
    frames = RNG.integers(0, 256, (2, 90, 120, 3), dtype=np.uint8)
    settings = {**RECIPE, "crop": "random", "crop_px": 256, "resize_px": 256}
    plain = training_clip(frames, np.random.default_rng(3), **settings)
    bright = training_clip(frames, np.random.default_rng(3), **{**settings, "brightness": 0.3})
    rng = np.random.default_rng(3)
    rng.random(2)  # where the crop lies
    contrast, brightness = rng.uniform(0.7, 1.3), rng.uniform(0.7, 1.3)
    expected = plain * contrast + (brightness - 1) / np.mean(STD)
    np.testing.assert_allclose(bright, expected, atol=1e-5)
