"""Pixels: sizes, crop positions, order of views, and what training draws."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from conftest import spec_with
from pptsm.data.geometry import (
    MULTI_SCALES,
    box_positions,
    crop_places,
    multi_scale_box,
)
from pptsm.data.loader import normalise_on_device
from pptsm.data.spec import IMAGENET_MEAN as MEAN
from pptsm.data.spec import IMAGENET_STD as STD
from pptsm.data.spec import ClipSpec
from pptsm.data.transforms import Pixels, evaluation_views, normalise, scale_and_offset, training_clip, views_of
from pptsm.video.pixels import resized
from pptsm.video.types import Box, Frames, resized_size

RNG = np.random.default_rng(5)
SPEC = spec_with(resize_px=256, crop_px=224, test_crop_px=224)
ONE_LEVEL = 1.01 / 255 / min(STD)  # of 255, normalised
RECIPE = {"crop": "multi_scale", "flip": False, "brightness": 0.0}


def as_pixels(frames: np.ndarray, spec: ClipSpec, gain: float = 1.0, shift: float = 0.0) -> Pixels:
    """Whole frames [T, H, W, 3] as a clip."""
    return Pixels(frames.transpose(0, 3, 1, 2), *scale_and_offset(spec, gain, shift))


def native(pixels: np.ndarray) -> Frames:
    """Frames stored in the size of their video."""
    return Frames(pixels, (pixels.shape[2], pixels.shape[1]))


@pytest.mark.parametrize(
    ("size", "kept", "release_2_1", "release_2_2"),
    [
        ((320, 240), (341, 256), (341, 256), (341, 256)),
        ((240, 320), (256, 341), (256, 341), (256, 341)),
        ((1280, 720), (455, 256), (341, 256), (341, 256)),
        ((720, 1280), (256, 455), (256, 341), (256, 341)),
        ((454, 256), (454, 256), (454, 256), (454, 256)),  # a short side of 256 stays untouched
        ((256, 454), (256, 454), (256, 454), (256, 454)),
        ((256, 256), (256, 256), (256, 256), (256, 256)),
        ((300, 300), (256, 256), (341, 256), (256, 341)),
        ((100, 100), (256, 256), (341, 256), (256, 341)),
    ],
)
def test_resized_size(
    size: tuple[int, int], kept: tuple[int, int], release_2_1: tuple[int, int], release_2_2: tuple[int, int]
) -> None:
    """The official code distorts to 4:3; its releases disagree on squares."""
    assert resized_size(size, 256, "kept") == kept
    assert resized_size(size, 256, "distorted_2_1") == release_2_1
    assert resized_size(size, 256, "distorted_2_2") == release_2_2


@pytest.mark.parametrize(
    ("crops", "expected"),
    [
        ("center", [(58, 16)]),  # halves to even
        ("three", [(0, 16), (116, 16), (58, 16)]),  # left, right, centre at 4*(117//4) and 2*(117//4)
        ("ten", [(0, 0), (116, 0), (0, 32), (116, 32), (58, 16)]),
    ],
)
def test_crop_positions_of_a_landscape_frame(crops: str, expected: list[tuple[int, int]]) -> None:
    """341x256 and a side of 224; of ten crops the last five are the first five, mirrored."""
    places = crop_places(crops, (341, 256), 224)  # type: ignore[arg-type]
    assert places[:5] == [(*place, False) for place in expected]
    assert places[5:] == ([(*place, True) for place in expected] if crops == "ten" else [])


@pytest.mark.parametrize(
    ("width", "height", "atol"),
    [(160, 120, ONE_LEVEL), (400, 300, 1e-5), (350, 200, 1e-5)],
    ids=["grows", "shrinks", "shrinks one way"],
)
@pytest.mark.parametrize(("sampling", "lefts"), [("uniform", [58]), ("dense", [0, 116, 58])])
def test_evaluation_views_are_pillow_resize_crop_normalise(
    sampling: str, lefts: list[int], width: int, height: int, atol: float
) -> None:
    """Frame by frame with Pillow, crops outermost: all clips of the left crop come first; exactly where it averages."""
    frames = RNG.integers(0, 256, (16, height, width, 3), dtype=np.uint8)
    views = evaluation_views(frames, sampling)  # type: ignore[arg-type]
    expected = []
    for left in lefts:
        for frame in frames:
            big = np.asarray(Image.fromarray(frame).resize((341, 256), Image.Resampling.BILINEAR))
            crop = big[16:240, left : left + 224] / 255
            expected.append(((crop - MEAN) / STD).transpose(2, 0, 1))
    assert views.dtype == np.float32
    assert views.shape == (16 * len(lefts), 3, 224, 224)
    np.testing.assert_allclose(views, np.stack(expected), atol=atol)


def test_the_aspect_is_distorted_unless_it_is_to_be_kept() -> None:
    """A frame twice as wide as high; and a square, which stands."""
    frames = RNG.integers(0, 256, (1, 128, 256, 3), dtype=np.uint8)
    for keep_aspect, width in ((False, 341), (True, 512)):
        big = np.asarray(Image.fromarray(frames[0]).resize((width, 256), Image.Resampling.BILINEAR))
        left = round((width - 224) / 2)
        expected = (big[16:240, left : left + 224] / 255 - MEAN) / STD
        views = evaluation_views(frames, "uniform", keep_aspect)
        np.testing.assert_allclose(views[0], expected.transpose(2, 0, 1), atol=ONE_LEVEL)
    square = np.asarray(Image.fromarray(frames[0, :, :128]).resize((256, 341), Image.Resampling.BILINEAR))
    expected = (square[58:282, 16:240] / 255 - MEAN) / STD
    np.testing.assert_allclose(
        evaluation_views(frames[:, :, :128], "uniform")[0], expected.transpose(2, 0, 1), atol=ONE_LEVEL
    )


@pytest.mark.parametrize("crops", ["center", "three", "ten"])
@pytest.mark.parametrize("sampling", ["uniform", "dense"])
def test_each_sampling_has_crops_of_its_own(sampling: str, crops: str) -> None:
    """In evaluation's size, not training's; clips within crops."""
    changes = {"crops": "center", "dense_crops": "center"} | {
        "crops" if sampling == "uniform" else "dense_crops": crops
    }
    spec = spec_with(resize_px=60, crop_px=40, test_crop_px=48, dense_window=8, **changes)
    pixels = RNG.integers(0, 256, (8, 60, 100, 3), dtype=np.uint8)  # two clips of four
    views = normalise(views_of(native(pixels), spec, sampling))  # type: ignore[arg-type]
    whole = normalise(as_pixels(pixels, spec))
    places = {"center": [(26, 6)], "three": [(0, 6), (52, 6), (26, 6)]}.get(
        crops, [(0, 0), (52, 0), (0, 12), (52, 12), (26, 6)]
    )
    expected = [whole[:, :, top : top + 48, left : left + 48] for left, top in places]
    expected += [view[..., ::-1] for view in expected] if crops == "ten" else []
    np.testing.assert_array_equal(views, np.concatenate(expected))


@pytest.mark.parametrize(
    ("box", "levels"),
    [
        (None, 0),
        ((0, 0, 60, 50), 1),
        ((3.3, 10.75, 50.2, 47.5), 1),
        ((20.25, 0.5, 100.25, 64.5), 1),  # as large as the outcome, between the pixels
        ((20.2, 3.1, 100.2 + 1e-9, 60), 1),  # as what its arithmetic makes of such a box
        ((10.5, 3.1, 110.2, 40), 0),  # shrinks across, grows down
        ((0.3, 0.2, 119.9, 89.8), 0),
    ],
)
def test_a_box_is_resampled_as_by_pillow(box: Box | None, levels: int) -> None:
    """To 80x64: a box anywhere between the pixels, at the frame's edges too; of noise, cut from a larger frame."""
    frame = RNG.integers(0, 256, (100, 150, 3), dtype=np.uint8)[5:95, 20:140]
    expected = np.asarray(Image.fromarray(frame).resize((80, 64), Image.Resampling.BILINEAR, box=box))
    assert np.abs(resized(frame, (80, 64), box).astype(int) - expected).max() <= levels


def test_black_and_white_are_what_imagenet_makes_of_them() -> None:
    """The published numbers, channel by channel; the middle grey of each channel is 0."""
    frames = np.stack([np.zeros((1, 1, 3)), np.full((1, 1, 3), 255)]).astype(np.uint8)
    black, white = normalise(as_pixels(frames, SPEC)).reshape(2, 3)
    np.testing.assert_allclose(black, [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], rtol=1e-6)
    np.testing.assert_allclose(white, [0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225], rtol=1e-6)


def test_mean_and_deviation_come_from_the_clip() -> None:
    """In evaluation and in training: with 0 and 1 a white frame is white."""
    spec = SPEC.model_copy(update={"mean": (0.0, 0.25, 0.5), "std": (1.0, 0.5, 0.25)})
    white = native(np.full((4, 256, 256, 3), 255, dtype=np.uint8))
    for clip in (views_of(white, spec, "uniform"), training_clip(white, spec, np.random.default_rng(0), **RECIPE)):
        np.testing.assert_allclose(normalise(clip).mean(axis=(0, 2, 3)), [1, 1.5, 2], rtol=1e-5)


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
    clip = training_clip(native(np.repeat(frame, 4, axis=0)), SPEC, np.random.default_rng(3), **RECIPE).values
    assert clip.shape == (4, 3, 224, 224)
    assert (clip == clip[:1]).all()


@pytest.mark.parametrize("zoom", [1, 2])
@pytest.mark.parametrize("crop", ["random", "multi_scale"])
def test_a_training_clip_lies_where_its_generator_says(crop: str, zoom: int) -> None:
    """Every pixel holds its own column and row, in frames as large as `resize_px` and twice as large."""
    x, y = np.meshgrid(np.arange(200 * zoom) / zoom, np.arange(100 * zoom) / zoom)
    frames = np.stack([x, y, 0 * x], axis=2).round().astype(np.uint8)[None]
    spec = spec_with(resize_px=100, crop_px=80, test_crop_px=80)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        clip = training_clip(native(frames), spec, np.random.default_rng(seed), **RECIPE | {"crop": crop})
        columns, rows, _ = clip.values[0].astype(np.float64)
        left, top, width, height = (0, 0, 200, 100) if crop == "random" else multi_scale_box(200, 100, 100, rng)
        across, down = (80, 80) if crop == "random" else (0.8 * width, 0.8 * height)
        left, top = left + (width - across) * rng.random(), top + (height - down) * rng.random()
        middles = (np.arange(80) + 0.5) / 80
        np.testing.assert_allclose(columns[40], left + middles * across - 0.5, atol=1.3)
        np.testing.assert_allclose(rows[:, 40], top + middles * down - 0.5, atol=1.3)


def test_flip_mirrors_the_same_clip() -> None:
    """With the same generator only the direction differs."""
    frames = RNG.integers(0, 256, (2, 90, 120, 3), dtype=np.uint8)
    plain = training_clip(native(frames), SPEC, np.random.default_rng(3), **RECIPE)
    mirrored = training_clip(native(frames), SPEC, np.random.default_rng(3), **RECIPE | {"flip": True})
    np.testing.assert_array_equal(mirrored.values, plain.values[..., ::-1])


def test_brightness_changes_the_whole_clip_alike() -> None:
    """One contrast (around ImageNet's mean) and one shift a clip, drawn after the crop from its generator."""
    frames = RNG.integers(0, 256, (2, 90, 120, 3), dtype=np.uint8)
    spec, settings = spec_with(resize_px=256, crop_px=256), RECIPE | {"crop": "random"}
    plain = training_clip(native(frames), spec, np.random.default_rng(3), **settings)
    bright = training_clip(native(frames), spec, np.random.default_rng(3), **settings | {"brightness": 0.3})
    rng = np.random.default_rng(3)
    rng.random(2)  # where the crop lies
    contrast, brightness = rng.uniform(0.7, 1.3), rng.uniform(0.7, 1.3)
    expected = normalise(plain) * contrast + (brightness - 1) / np.mean(STD)
    np.testing.assert_allclose(normalise(bright), expected, atol=1e-5)


def test_a_batch_is_normalised_as_its_clips_are_wherever_that_is() -> None:
    """Clips of several contrasts, on the host one by one and as a batch, and in Paddle: bit for bit the same."""
    frames = RNG.integers(0, 256, (3, 4, 6, 5, 3), dtype=np.uint8)
    clips = [as_pixels(frames[number], SPEC, 0.9 + 0.1 * number, 0.2 * number) for number in range(3)]
    batch = Pixels(*(np.stack(field) for field in zip(*clips, strict=True)))
    alone = np.stack([normalise(clip) for clip in clips])
    assert batch.values.dtype == np.uint8
    assert alone.dtype == np.float32
    np.testing.assert_array_equal(normalise(batch), alone)
    np.testing.assert_array_equal(normalise_on_device(batch).numpy(), alone)
    assert not np.array_equal(alone[0], alone[1])
