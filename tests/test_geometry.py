"""One geometry: where a pixel goes follows from the video's native size and the clip, not from stored frames."""

import json
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, get_args

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conftest import ROOT, params_with, pptsm, spec_with, write_params
from pptsm.commands.views import views
from pptsm.data.clips import EvaluationVideos, FrameSource, middle_clip, seen_clip
from pptsm.data.geometry import crop_places
from pptsm.data.spec import IMAGENET_MEAN, IMAGENET_STD, ClipSpec, read_spec
from pptsm.data.table import ClipRef
from pptsm.frames.archive import read_frames
from pptsm.frames.store import write_archive
from pptsm.params.choices import Crops
from pptsm.video.types import VideoError
from pptsm.video.video import Video

CLIP = {"resize_px": 256, "crop_px": 224, "test_crop_px": 224, "dense_window": 8, "dense_clips": 1}
ASPECTS = ("kept", "distorted_2_1", "distorted_2_2")
# (width, height) as shown, and how much wider than high a circle gets under each of ASPECTS
LYING, STANDING = (1, 0.75, 0.75), (1, 4 / 3, 4 / 3)
NATIVE = {
    "1280x720": (1280, 720, LYING),
    "720x1280": (720, 1280, STANDING),
    "320x240": (320, 240, (1, 1, 1)),
    "454x256": (454, 256, (1, 1, 1)),  # its short side fits: no release resizes it
    "256x454": (256, 454, (1, 1, 1)),
    "300x300": (300, 300, (1, 4 / 3, 0.75)),
    "1280x720 turned": (720, 1280, STANDING),  # stored lying, with the matrix of a phone held upright
}
CASES = [(name, aspect) for name in NATIVE for aspect in ASPECTS]


def scene(width: int, height: int, number: int) -> np.ndarray:
    """uint8 [H, W, 3]: a bright circle in the middle of a dark, waved ground that moves."""
    y, x = np.mgrid[:height, :width]
    side = min(width, height)
    waves = 20 * np.sin(2 * np.pi * (5 * x / side + number / 16)) + 20 * np.cos(2 * np.pi * 7 * y / side)
    inside = np.hypot(x - (width - 1) / 2, y - (height - 1) / 2) < 0.3 * side
    frame = np.stack([60 + waves, 70 + waves, 60 - waves], axis=2)
    frame[inside] = (220, 230, 210)
    return frame.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def video_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A video of eight frames in each native size, made when it is first asked for."""
    folder = tmp_path_factory.mktemp("native")

    @cache
    def video(name: str) -> Path:
        width, height, _ = NATIVE[name]
        turned = name.endswith("turned")
        with av.open(str(folder / f"{name}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "18"})
            stream.width, stream.height = (height, width) if turned else (width, height)
            stream.pix_fmt = "yuv420p"
            if turned:
                stream.set_display_rotation(90)
            for number in range(8):
                shown = scene(width, height, number)
                stored = np.ascontiguousarray(np.rot90(shown, -1)) if turned else shown
                container.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
            container.mux(stream.encode(None))
        return folder / f"{name}.mp4"

    return video


def looked_at(folder: Path, video: Path, source: str, clip: dict[str, Any], **options: Any) -> np.ndarray:
    """What `pptsm views` writes, with archives of short side 256 unless `frames` says otherwise."""
    changes = {"clip": CLIP | clip, "frames": options.pop("frames", {}), "training": options.pop("recipe", {})}
    write_params(folder / "params.yaml", changes)
    arguments = {"sampling": None, "training": None} | options
    views(video, folder / "views.npy", folder / "params.yaml", source, **arguments)  # type: ignore[arg-type]
    array: np.ndarray = np.load(folder / "views.npy")
    return array


def wider_than_high(view: np.ndarray) -> float:
    """Of the circle in a normalised view [3, H, W]: pixels in its row through the middle, by those in the column."""
    red = view[0] * IMAGENET_STD[0] + IMAGENET_MEAN[0]
    bright = red > 0.65
    return float(bright[bright.shape[0] // 2].sum() / bright[:, bright.shape[1] // 2].sum())


@pytest.mark.parametrize(("name", "aspect"), CASES)
def test_an_archive_changes_no_geometry(
    video_of: Callable[[str], Path], tmp_path: Path, name: str, aspect: str
) -> None:
    """Through JPEGs of short side 256 the network is given what it is given of the file, to 0.06 of a deviation."""
    video = video_of(name)
    for sampling in ("uniform", "dense"):
        archive, file = (
            looked_at(tmp_path, video, source, {"aspect": aspect}, sampling=sampling) for source in ("archive", "file")
        )
        assert archive.shape == file.shape == ((8 if sampling == "uniform" else 24), 3, 224, 224)
        assert np.abs(archive - file).mean() < 0.06


@pytest.mark.parametrize(("name", "aspect"), CASES)
def test_a_circle_has_the_shape_that_the_clip_gives_it(
    video_of: Callable[[str], Path], tmp_path: Path, name: str, aspect: str
) -> None:
    """From either source, in the release's own way; to two pixels in a hundred."""
    expected = NATIVE[name][2][ASPECTS.index(aspect)]
    for source in ("archive", "file"):
        array = looked_at(tmp_path, video_of(name), source, {"aspect": aspect})
        assert wider_than_high(array[0]) == pytest.approx(expected, rel=0.025), source


@pytest.mark.parametrize("crop", ["random", "multi_scale"])
@pytest.mark.parametrize(("name", "aspect"), CASES)
def test_training_places_its_crops_in_the_native_frame(
    video_of: Callable[[str], Path], tmp_path: Path, name: str, aspect: str, crop: str
) -> None:
    """The same boxes from an archive as from the file: three clips, drawn by the parameters' seed."""
    options = {"recipe": {"crop": crop, "flip": "horizontal", "brightness": 0.2}, "training": 3}
    archive, file = (
        looked_at(tmp_path, video_of(name), source, {"aspect": aspect}, **options) for source in ("archive", "file")
    )
    assert archive.shape == file.shape == (24, 3, 224, 224)
    assert np.abs(archive - file).mean() < 0.06


@pytest.mark.parametrize("short_side_px", [256, 400, None])
def test_the_size_of_an_archive_is_of_no_consequence(
    video_of: Callable[[str], Path], tmp_path: Path, short_side_px: int | None
) -> None:
    """A distorted 1280x720 video, from archives of three sizes."""
    clip, frames = {"aspect": "distorted_2_1"}, {"short_side_px": short_side_px}
    archive = looked_at(tmp_path, video_of("1280x720"), "archive", clip, frames=frames)
    file = looked_at(tmp_path, video_of("1280x720"), "file", clip)
    assert np.abs(archive - file).mean() < 0.06
    assert wider_than_high(archive[0]) == pytest.approx(0.75, rel=0.025)


@pytest.mark.parametrize("name", NATIVE)
def test_frames_know_their_native_size(video_of: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    """As a player shows them; the archive says it in its comment, where any ZIP tool finds it."""
    width, height, _ = NATIVE[name]
    first = np.array([0])
    assert Video(video_of(name)).frames(first).native == (width, height)
    settings = params_with().frames.model_copy(update={"short_side_px": 64})
    write_archive(tmp_path / "a.zip", video_of(name), 8, settings)
    read = read_frames(tmp_path / "a.zip", first)
    assert read.native == (width, height)
    assert min(read.pixels.shape[1:3]) == 64
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.comment == b'{"native": [%d, %d]}' % (width, height)


@pytest.mark.parametrize("comment", [b"", b"made by hand", b"[]", b'{"native": 7}'])
def test_an_archive_without_the_native_size_is_refused(
    video_of: Callable[[str], Path], tmp_path: Path, comment: bytes
) -> None:
    """As those of older versions: its frames could be placed in two ways."""
    write_archive(tmp_path / "a.zip", video_of("320x240"), 8, params_with().frames)
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        archive.comment = comment
    with pytest.raises(VideoError, match=r"a\.zip: it does not say the video's native size.* extract again"):
        read_frames(tmp_path / "a.zip", np.array([0]))


def test_the_command_draws_training_clips(video_of: Callable[[str], Path], tmp_path: Path) -> None:
    """N rows of S frames, each clip another, the same again for the same seed; others for another."""
    recipe = {"crop": "multi_scale", "flip": "horizontal", "flip_labels": {"left": "right", "right": "left"}}
    changes = {"clip": CLIP | {"crop_px": 112}, "training": recipe}
    write_params(tmp_path / "params.yaml", changes)
    write_params(tmp_path / "other.yaml", changes, {"seed": 7})
    video = video_of("320x240")
    for out, options in {"a.npy": (), "b.npy": (), "c.npy": ("--params", "other.yaml"), "d.png": ()}.items():
        done = pptsm("views", video, "--training", 3, "--out", out, *options, cwd=tmp_path)
        assert f"{out}: 3 training clips of 8 frames, uniform" in done.stdout
    first, again, other = (np.load(tmp_path / f"{name}.npy") for name in "abc")
    assert first.shape == (24, 3, 112, 112)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[:8], first[8:16])
    with Image.open(tmp_path / "d.png") as sheet:
        assert sheet.size == (8 * 112, 3 * 112)


def test_no_training_clip_is_a_mistake(video_of: Callable[[str], Path], tmp_path: Path) -> None:
    """Said in a sentence; no file is left."""
    write_params(tmp_path / "params.yaml", {"clip": CLIP})
    done = pptsm("views", video_of("320x240"), "--training", 0, "--out", "a.npy", cwd=tmp_path, check=False)
    assert done.returncode != 0
    assert "--training" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "a.npy").exists()


@pytest.mark.parametrize(
    ("sampling", "crops", "view"), [("uniform", "center", 0), ("uniform", "three", 2), ("dense", "ten", 4 * 3 + 1)]
)
def test_what_the_network_saw_can_be_shown(
    video_of: Callable[[str], Path], tmp_path: Path, sampling: Any, crops: str, view: int
) -> None:
    """The pixels of the middle clip's centre crop, and where it lies in the frame as stored, of half the size here."""
    name = "1280x720"
    spec = spec_with(sampling, 4, **CLIP, crops=crops, dense_crops=crops, aspect="distorted_2_1").model_copy(
        update={"dense_clips": 3, "dense_window": 4}
    )
    write_archive(tmp_path / "a.zip", video_of(name), 8, params_with(frames={"short_side_px": 360}).frames)
    source, row = FrameSource("archive", tmp_path), {"id": "a", "path": "a", "first_frame": 0, "num_frames": 8}
    seen = seen_clip(source.read(ClipRef("a", "a", 0), middle_clip(8, spec, sampling)), spec, sampling)
    every = EvaluationVideos(pd.DataFrame([row | {"label_index": 0}]), source, spec, sampling)[0][0].values
    expected = every.reshape(-1, 4, 3, 224, 224)[view].transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(seen.images, expected)
    assert seen.frames.shape == (4, 360, 640, 3)
    assert len(seen.boxes) == {"center": 1, "three": 3, "ten": 10}[crops]
    # 341 x 256 were cut to 224 x 224: by those shares of the stored 640 x 360, from the middle
    left, top, right, bottom = seen.boxes[view // (3 if sampling == "dense" else 1)]  # crop by crop, of each all clips
    assert (right - left, bottom - top) == pytest.approx((640 * 224 / 341, 360 * 224 / 256))
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((320, 180), abs=3)


@pytest.mark.parametrize("crops", get_args(Crops))
def test_as_many_crops_are_counted_as_are_cut(crops: Crops) -> None:
    """The report and the time of a cross-validation count them; a uniform view of both rules has two clips."""
    spec = spec_with(crops=crops, dense_crops=crops, frame_rule="twice")
    cut = len(crop_places(crops, (40, 32), 32))
    assert spec.views == {"uniform": (2, cut), "dense": (spec.dense_clips, cut)}


def test_the_document_describes_every_field_of_the_spec() -> None:
    """docs/clip.md: its JSON is a whole spec, and its table has a row for each field."""
    text = (ROOT / "docs" / "clip.md").read_text(encoding="utf-8")
    shown = text.split("```json\n")[1].split("```")[0]
    assert set(json.loads(shown)) == set(ClipSpec.model_fields) - {"input"}  # which a clip of frames does not say
    assert read_spec(shown, None).shape == (8, 3, 224, 224)
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    assert set(ClipSpec.model_fields) <= {name.strip(" `") for row in rows for name in row.split(",")}
