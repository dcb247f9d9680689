"""Short-GOP clips: each frame is the one asked for, and they take an archive's place wherever frames are read."""

from pathlib import Path

import numpy as np
import pytest

from conftest import params_with, spec_with
from helpers.archives import rows_of, video
from helpers.videos import numbered, numbers_in
from pptsm.data.clips import EvaluationVideos, FrameSource, TrainingClips
from pptsm.data.transforms import normalise
from pptsm.frames.extract import extract_all
from pptsm.frames.short_gop import clip_writer, fitting, read_frames
from pptsm.frames.store import FrameRequest, is_whole, write_stored
from pptsm.params.schema import FrameSettings
from pptsm.video.encode import write_video
from pptsm.video.types import FrameRange, VideoError, resized_size
from pptsm.video.video import Video

__all__ = ["video"]  # a fixture

COUNT = 61  # the last group of pictures is cut short
SIZES = {"320x240": (320, 240), "1280x720": (1280, 720), "720x1280": (720, 1280)}


def settings(**changes: object) -> FrameSettings:
    """Section frames for short-GOP clips."""
    return params_with(frames={"source": "short_gop", **changes}).frames


@pytest.fixture(scope="module", params=SIZES)
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A numbered video of this size."""
    path = tmp_path_factory.mktemp("original") / f"{request.param}.mp4"
    write_video(path, np.stack([numbered(number, *SIZES[request.param]) for number in range(COUNT)]), 25, "h264")
    return path


@pytest.mark.parametrize("every", [8, 16])
def test_each_frame_is_the_one_that_was_asked_for(original: Path, tmp_path: Path, every: int) -> None:
    """One by one, from whatever key frame; small, and with a key frame where one must be; native size as it was."""
    clip, native = tmp_path / "a.mp4", SIZES[original.stem]
    write_stored(original, [FrameRequest(clip, FrameRange(0, COUNT))], settings(key_frame_every=every))
    assert Video(clip).packets.keys.tolist() == list(range(0, COUNT, every))
    for number in range(COUNT):
        frames = read_frames(clip, np.array([number]))
        assert numbers_in(frames.images) == [number]
        assert frames.native == native
    width, height = resized_size(native, 256, "kept") if min(native) > 256 else native
    assert frames.images[0].shape == (height - height % 2, width - width % 2, 3)
    some = np.array([60, 3, 3, 17, 0, 59])
    assert numbers_in(read_frames(clip, some).images) == some.tolist()


def test_a_part_of_a_video(original: Path, tmp_path: Path) -> None:
    """Parts that share frames are encoded from one decoding, each from its own first frame on."""
    wanted = [FrameRequest(tmp_path / "a.mp4", FrameRange(5, 20)), FrameRequest(tmp_path / "b.mp4", FrameRange(10, 30))]
    write_stored(original, wanted, settings())
    for clip, span in wanted:
        assert numbers_in(read_frames(clip, np.arange(span.num_frames)).images) == list(range(span.first, sum(span)))


def test_sides_are_even_and_the_native_size_is_not(tmp_path: Path) -> None:
    """The encoder takes no odd ones; where a pixel goes follows from the native size."""
    frames = [numbered(number, 323, 241) for number in range(9)]
    with clip_writer(tmp_path / "a.mp4", (323, 241), 0.0, settings()) as add:
        for frame in frames:
            add(fitting(frame, settings()))
    found = read_frames(tmp_path / "a.mp4", np.arange(9))
    assert found.native == (323, 241)
    assert found.images[0].shape == (240, 322, 3)
    assert numbers_in(found.images) == list(range(9))


def test_the_same_frames_give_the_same_bytes(original: Path, tmp_path: Path) -> None:
    """Or DVC would call every clip a new one."""
    for name in ("a.mp4", "b.mp4"):
        write_stored(original, [FrameRequest(tmp_path / name, FrameRange(0, COUNT))], settings())
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_clip_is_known_to_be_whole(original: Path, tmp_path: Path) -> None:
    """Its last box is the hash of what was written; players pass it over."""
    clip = tmp_path / "a.mp4"
    write_stored(original, [FrameRequest(clip, FrameRange(0, COUNT))], settings())
    assert is_whole(clip, COUNT)
    assert not is_whole(clip, COUNT + 1)
    assert not is_whole(tmp_path / "none.mp4", COUNT)
    content = clip.read_bytes()
    middle = len(content) // 2
    for damaged in (b"", content[:-50], content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]):
        clip.write_bytes(damaged)
        assert not is_whole(clip, COUNT)


def test_a_video_that_is_no_such_clip_is_refused(original: Path) -> None:
    """It does not say its native size."""
    with pytest.raises(VideoError, match=r"\.mp4: it does not say the video's native size"):
        read_frames(original, np.array([0]))


def test_extraction_and_every_reader_take_them(video: Path, tmp_path: Path) -> None:
    """Beside the video's path and an archive's: the same frames, but for the encoding."""
    spec = spec_with(resize_px=32, crop_px=32, test_crop_px=32, dense_window=8)
    params, rows = params_with(frames={"source": "short_gop", "short_side_px": None}), rows_of(video)
    extract_all(rows, tmp_path / "videos", tmp_path / "frames", params.frames, 1)
    assert (tmp_path / "frames" / "run" / "a_1.mp4.mp4").exists()
    kinds = FrameSource("short_gop", tmp_path / "frames"), FrameSource("video", tmp_path / "videos")
    kept, read = (normalise(EvaluationVideos(rows, kind, spec, "dense")[0][0]) for kind in kinds)
    assert np.abs(kept - read).mean() < 0.1
    drawn = [TrainingClips(rows, kind, ["any"], spec, params.training, 1, 0)[0][0].values for kind in kinds]
    assert np.abs(drawn[0].astype(int) - drawn[1]).mean() < 5
