"""All eight ways in which a picture can lie, through every entrance: as a player shows it.

Four corners of four colours tell where a picture's corners went.
"""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pytest
from av.bitstream import BitStreamFilterContext

from conftest import params_with, pptsm, spec_with, write_params
from pptsm.data.clips import EvaluationVideos, FrameSource, views_of_file
from pptsm.data.spec import IMAGENET_MEAN, IMAGENET_STD
from pptsm.data.transforms import normalise
from pptsm.frames.store import FrameRequest, stored_name, write_stored
from pptsm.video.orientation import ALL, Orientation, message_kinds, nearest
from pptsm.video.types import FrameRange
from pptsm.video.video import Video, probe

WIDTH, HEIGHT, COUNT = 96, 64, 12
ONE, W = 1 << 16, 1 << 30
COLOURS = {"red": (230, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 230), "grey": (90, 90, 90)}
# (a, b, c, d) of the display matrix, and what a player shows of the stored picture
MATRICES: dict[str, tuple[tuple[int, int, int, int], Callable[[np.ndarray], np.ndarray]]] = {
    "as stored": ((1, 0, 0, 1), lambda s: s),
    "mirrored": ((-1, 0, 0, 1), lambda s: s[:, ::-1]),
    "upside down, mirrored": ((1, 0, 0, -1), lambda s: s[::-1]),
    "half a turn": ((-1, 0, 0, -1), lambda s: s[::-1, ::-1]),
    "a quarter clockwise": ((0, 1, -1, 0), lambda s: np.rot90(s, -1)),
    "a quarter anticlockwise": ((0, -1, 1, 0), np.rot90),
    "transposed": ((0, 1, 1, 0), lambda s: s.transpose(1, 0, 2)),
    "transposed at the other diagonal": ((0, -1, -1, 0), lambda s: s[::-1, ::-1].transpose(1, 0, 2)),
}


def stored_picture() -> np.ndarray:
    picture = np.full((HEIGHT, WIDTH, 3), COLOURS["grey"], np.uint8)
    picture[: HEIGHT // 2, : WIDTH // 2] = COLOURS["red"]
    picture[: HEIGHT // 2, WIDTH // 2 :] = COLOURS["green"]
    picture[HEIGHT // 2 :, : WIDTH // 2] = COLOURS["blue"]
    return picture


def corners(picture: np.ndarray) -> list[str]:
    """The colours at upper left, upper right, lower left, lower right of [H, W, 3]."""
    height, width = picture.shape[:2]
    pixels = [picture[int(height * y), int(width * x)].astype(int) for y in (0.25, 0.75) for x in (0.25, 0.75)]
    return [min(COLOURS, key=lambda name: np.abs(pixel - COLOURS[name]).sum()) for pixel in pixels]


def film(path: Path, matrix: tuple[int, int, int, int] | None, encoder: str = "libx264", **options: str) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=25, options={"g": "4", **options})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        if matrix is not None:
            a, b, c, d = matrix
            stream.set_display_matrix([a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, W])
        for _ in range(COUNT):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(stored_picture(), format="rgb24")))
        container.mux(stream.encode(None))
    return path


def rewritten(path: Path, target: Path, change: str) -> Path:
    """The same packets through one of FFmpeg's filters of bit streams."""
    with av.open(str(path)) as source, av.open(str(target), "w") as container:
        stream = source.streams.video[0]
        copy, bits = container.add_stream_from_template(stream), BitStreamFilterContext(change, stream)
        for packet in source.demux(stream):
            for part in bits.filter(packet) if packet.size else ():
                part.stream = copy
                container.mux(part)
    return target


def entrances(path: Path, folder: Path) -> dict[str, tuple[np.ndarray, tuple[int, int]]]:
    """A picture and its size (width, height), by each way to the network and to the index."""
    settings = params_with().frames
    every = np.arange(COUNT)
    found: dict[str, tuple[np.ndarray, tuple[int, int]]] = {}
    for name, frames in {
        "by number": Video(path).frames(every).images,
        "one by number": Video(path).frames(np.array([7])).images,
        "in order": list(Video(path)),
        "of the dataset": list(Video(path, decord=True)),
    }.items():
        assert len({frame.shape for frame in frames}) == 1, name
        assert len({tuple(corners(frame)) for frame in frames}) == 1, name
        found[name] = frames[-1], frames[-1].shape[1::-1]
    found["probe"] = found["in order"][0], (probe(path).width, probe(path).height)
    spec = spec_with(segments=4, resize_px=64, crop_px=64, test_crop_px=64, aspect="kept", crops="center")
    row = {"id": "a", "path": path.name, "first_frame": 0, "num_frames": COUNT, "label_index": 0}
    sources = {"video": FrameSource("video", path.parent)}
    for kind in ("archive", "short_gop"):
        changed = settings.model_copy(
            update={"kept": kind, "short_side_px": None, "key_frame_every": 4, "source": kind}
        )
        file = folder / stored_name(kind, "a")
        write_stored(path, [FrameRequest(file, FrameRange(0, COUNT))], changed)
        sources[kind] = FrameSource(kind, folder)
    for kind, source in sources.items():
        values = EvaluationVideos(pd.DataFrame([row]), source, spec, "uniform")[0][0]
        native = source.read(EvaluationVideos(pd.DataFrame([row]), source, spec, "uniform").excerpts[0], every).native
        found[f"evaluation from {kind}"] = shown(normalise(values)[1]), native
    found["prediction"] = shown(views_of_file(path, spec, "uniform")[1]), found["in order"][1]
    return found


def shown(view_CHW: np.ndarray) -> np.ndarray:
    values = view_CHW.transpose(1, 2, 0) * IMAGENET_STD + IMAGENET_MEAN
    return (values * 255).clip(0, 255)


def require_everywhere(path: Path, folder: Path, expected: np.ndarray) -> None:
    for name, (picture, size) in entrances(path, folder).items():
        assert corners(picture) == corners(expected), name
        assert size == expected.shape[1::-1], name


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("kind", MATRICES)
def test_a_display_matrix_turns_and_mirrors(tmp_path: Path, kind: str, suffix: str) -> None:
    """In numbers, in order, by decord, kept, evaluated and predicted, with the size that follows."""
    matrix, player = MATRICES[kind]
    path = film(tmp_path / f"a{suffix}", matrix)
    require_everywhere(path, tmp_path, player(stored_picture()))


@pytest.mark.parametrize(
    ("encoder", "options"),
    [("libx264", {"x264-params": "bframes=3:open-gop=1:keyint=4:min-keyint=4"}), ("mpeg4", {"bf": "2"})],
)
@pytest.mark.parametrize("kind", ["mirrored", "transposed", "a quarter clockwise"])
def test_so_it_does_where_packets_are_not_trusted(
    tmp_path: Path, kind: str, encoder: str, options: dict[str, str]
) -> None:
    """Where frames are read from the first one on."""
    matrix, player = MATRICES[kind]
    path = film(tmp_path / "a.mp4", matrix, encoder, **options)
    assert not Video(path).packets.indexed
    require_everywhere(path, tmp_path, player(stored_picture()))


@pytest.mark.parametrize(
    ("change", "player"),
    [
        ("rotate=90", np.rot90),
        ("flip=horizontal", lambda s: s[:, ::-1]),
        ("flip=vertical:rotate=90", lambda s: s[::-1, ::-1].transpose(1, 0, 2)),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_what_the_stream_says_holds_for_all_its_frames(
    tmp_path: Path, change: str, player: Callable[[np.ndarray], np.ndarray], suffix: str
) -> None:
    """An H.264 stream names its orientation with the first frame only."""
    plain = film(tmp_path / "plain.mp4", None)
    path = rewritten(plain, tmp_path / f"a{suffix}", f"h264_metadata=display_orientation=insert:{change}")
    assert Video(path).packets.says_orientation
    assert Video(path, decord=True).decoder == "pyav"  # decord does not look there
    require_everywhere(path, tmp_path, player(stored_picture()))


def test_the_container_counts_before_the_stream(tmp_path: Path) -> None:
    """Where both say it, as players decide."""
    matrix, player = MATRICES["a quarter clockwise"]
    plain = film(tmp_path / "plain.mp4", matrix)
    path = rewritten(plain, tmp_path / "a.mp4", "h264_metadata=display_orientation=insert:flip=horizontal")
    require_everywhere(path, tmp_path, player(stored_picture()))


def test_the_command_shows_a_mirrored_video(tmp_path: Path) -> None:
    """`pptsm views`, of the file and through an archive."""
    matrix, player = MATRICES["transposed"]
    film(tmp_path / "a.mp4", matrix)
    sizes = {"resize_px": 64, "crop_px": 64, "test_crop_px": 64, "aspect": "kept"}
    write_params(tmp_path / "params.yaml", {"clip": sizes})
    for source in ("file", "archive"):
        pptsm("views", "a.mp4", "--source", source, "--out", "a.npy", cwd=tmp_path)
        assert corners(shown(np.load(tmp_path / "a.npy")[0])) == corners(player(stored_picture())), source


@pytest.mark.parametrize("kind", ALL, ids=str)
def test_the_nearest_orientation_is_taken(kind: Orientation) -> None:
    """Of a matrix that scales by a half, or tilts a little; a matrix of zeros turns nothing."""
    across, down = (-1 if kind.mirrored else 1), (-1 if kind.upside_down else 1)
    a, b, c, d = (0, down, across, 0) if kind.transposed else (across, 0, 0, down)
    for scale, tilt in ((ONE, 0), (ONE // 2, 0), (ONE, ONE // 3)):
        turned: tuple[Any, ...] = (a * scale + b * tilt, b * scale - a * tilt, 0, c * scale + d * tilt)
        assert nearest((*turned, d * scale - c * tilt, 0, 0, 0, W)) == kind
    assert nearest((0,) * 9) == Orientation(transposed=False, mirrored=False, upside_down=False)
    assert kind.is_rotation == (a * d - b * c == 1)


def test_messages_are_told_apart_by_their_kinds() -> None:
    """One of 300 bytes, which takes two numbers for its size, then an orientation; 47 inside a text is none."""
    unit = bytes([5, 0xFF, 45]) + b"/" * 300 + bytes([47, 3, 1, 2, 3, 0x80])
    assert list(message_kinds(unit)) == [5, 47]
    assert list(message_kinds(bytes([5, 4]) + b"////" + b"\x80")) == [5]
    assert list(message_kinds(b"\xff" * 20)) == []


@pytest.mark.parametrize("kind", ["as stored", "mirrored"])
def test_decoded_frames_do_not_wait_for_the_garbage_collector(tmp_path: Path, kind: str) -> None:
    """A large one has megabytes, and hundreds of them would be there before it comes."""
    matrix, _ = MATRICES[kind]
    video = Video(film(tmp_path / "a.mp4", matrix))
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            assert len(list(video.in_order())) == COUNT
            assert len(video.frames(np.arange(COUNT)).images) == COUNT
        waiting = sum(isinstance(each, av.VideoFrame) for each in gc.get_objects())
    finally:
        gc.enable()
    assert waiting < 10
