"""Parts of files: clips that annotations cut out of long videos by time, without encoding them anew."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import params_with
from pptsm.data.clips import EvaluationVideos, FrameSource, TrainingClips, views_of_file
from pptsm.data.spec import clip_spec
from pptsm.data.transforms import normalise
from pptsm.frames.archive import read_frames
from pptsm.frames.extract import extract_all
from pptsm.ingest.time_spans import cut_into_parts
from pptsm.runtime.errors import UserError
from pptsm.video.encode import write_video
from pptsm.video.types import FrameRange, Seconds, VideoError
from pptsm.video.video import Video

FPS, COUNT = 10, 60
PARTS = [(0.0, 1.0), (0.5, 2.05), (2.05, 4.0), (5.0, 6.3)]  # the first two share frames, the last is rounded up
SPANS = [FrameRange(0, 10), FrameRange(5, 16), FrameRange(21, 19), FrameRange(50, 10)]


def numbered(count: int, width: int, height: int) -> np.ndarray:
    """Frames that tell their number by brightness."""
    levels = np.linspace(20, 235, count).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, height, width, 3)).copy()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one file of six seconds, in which finished work is kept too."""
    monkeypatch.setenv("PPTSM_STATE", str(tmp_path / "state"))
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "day.mp4", numbered(COUNT, 320, 240), FPS, "h264")
    return tmp_path


def rows_of(parts: list[tuple[float, float]]) -> pd.DataFrame:
    """As the index has them before they are cut."""
    said = {"path": "day.mp4", "status": "ok", "num_frames": COUNT, "fps": float(FPS), "duration_sec": 6.0}
    places = {"where": [f"a.csv line {number}" for number in range(2, len(parts) + 2)]}
    times = pd.DataFrame(parts, columns=["start_sec", "end_sec"])
    ids = [f"day.mp4#{start:g}-{end:g}" for start, end in parts]
    return times.assign(id=ids, label_index=0, sha256="d" * 64, **said, **places)


def test_seconds_become_frames(place: Path) -> None:
    """Those that begin within them; the file's own length does not count for a clip."""
    rows = cut_into_parts(rows_of(PARTS), {"day.mp4": place / "videos/day.mp4"}, 1, 60)
    assert list(zip(rows["first_frame"], rows["num_frames"], strict=True)) == SPANS
    assert rows["duration_sec"].tolist() == [1.0, 1.6, 1.9, 1.0]


@pytest.mark.parametrize("name", ["day.avi", "day.mkv", "day.mov"])
@pytest.mark.parametrize("codec", ["h264", "mpeg4"])
def test_every_container_gives_the_same_frames(tmp_path: Path, name: str, codec: str) -> None:
    """With or without times in its packets."""
    import av

    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream({"h264": "libx264", "mpeg4": "mpeg4"}[codec], rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for frame in numbered(COUNT, 64, 48):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    assert [Video(tmp_path / name).span(Seconds(*part)) for part in PARTS] == SPANS


def test_a_part_that_is_not_there_has_a_sentence(place: Path) -> None:
    """With the line of each, and the whole files beside it unharmed."""
    rows = rows_of([(0.0, 1.0), (5.0, 7.0), (1.01, 1.04), (8.0, 9.0)])
    with pytest.raises(UserError) as error:
        cut_into_parts(rows, {"day.mp4": place / "videos/day.mp4"}, 1, 60)
    said = str(error.value)
    assert "3 of 4 annotated parts" in said
    assert "a.csv line 3 (day.mp4): it lasts 6.00 s, so nothing is at 5 to 7 s" in said
    assert "a.csv line 4 (day.mp4): no frame begins between 1.01 and 1.04 s" in said
    assert "a.csv line 5" in said
    assert "line 2 " not in said


def test_a_whole_file_and_one_that_does_not_decode_stay_as_they_are(place: Path) -> None:
    """Only parts of files that decode are looked up."""
    rows = rows_of([(np.nan, np.nan), (100.0, 200.0)])
    rows.loc[1, "status"] = "truncated"
    cut = cut_into_parts(rows, {"day.mp4": place / "videos/day.mp4"}, 1, 60)
    assert cut["first_frame"].tolist() == [0, 0]
    assert cut["num_frames"].tolist() == [COUNT, COUNT]


def test_a_file_is_decoded_once_for_all_its_parts(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each archive has the frames of its part; what is damaged is written again, and only that."""
    from pptsm.frames import extract as frames
    from pptsm.video import image_sequence as folders

    decoded = []

    class Counted(Video):
        def in_order(self):  # type: ignore[no-untyped-def]
            for image in super().in_order():
                decoded.append(int(image.mean()))
                yield image

    def here(work, jobs, workers, timeout_sec, prepare=None):  # type: ignore[no-untyped-def]
        return (work(*job) for job in jobs)

    monkeypatch.setattr(folders, "Video", Counted)
    monkeypatch.setattr(frames, "run_jobs", here)
    rows = cut_into_parts(rows_of(PARTS), {"day.mp4": place / "videos/day.mp4"}, 1, 60)
    params = params_with().frames
    extract_all(rows, place / "videos", place / "frames", params, 1)
    assert len(decoded) == COUNT
    whole = [frame.mean() for frame in Video(place / "videos/day.mp4")]
    for row in rows.itertuples():
        found = read_frames(place / "frames" / f"{row.id}.zip", np.arange(row.num_frames))
        span = slice(row.first_frame, row.first_frame + row.num_frames)
        np.testing.assert_allclose([frame.mean() for frame in found.pixels], whole[span], atol=1)

    stored = sorted((place / "state").rglob("*-5-16.zip"))
    stored[0].write_bytes(stored[0].read_bytes()[:-400])
    decoded.clear()
    extract_all(rows, place / "videos", place / "again", params, 1)
    assert len(decoded) == 21  # up to the last frame of the second part


@pytest.mark.parametrize("sampling", ["uniform", "dense"])
def test_archive_file_and_prediction_see_the_same_part(place: Path, sampling: str) -> None:
    """Pixels of training and evaluation, from archive and from the file, and of what is served."""
    params = params_with(frames={"short_side_px": None, "jpeg_quality": 100})
    spec = clip_spec(params.clip, 4, sampling)  # type: ignore[arg-type]
    rows = cut_into_parts(rows_of(PARTS), {"day.mp4": place / "videos/day.mp4"}, 1, 60)
    extract_all(rows, place / "videos", place / "frames", params.frames, 1)
    kinds = (FrameSource("archive", place / "frames"), FrameSource("video", place / "videos"))
    for number, span in enumerate(SPANS):
        archived, read = (EvaluationVideos(rows, kind, spec, sampling)[number][0] for kind in kinds)  # type: ignore[arg-type]
        np.testing.assert_allclose(archived.values.astype(int), read.values.astype(int), atol=2)
        served = views_of_file(place / "videos/day.mp4", spec, sampling, span)  # type: ignore[arg-type]
        np.testing.assert_array_equal(served, normalise(read))
        drawn = [TrainingClips(rows, kind, ["any"], spec, params.training, 1, 0)[number][0] for kind in kinds]
        np.testing.assert_allclose(drawn[0].values.astype(int), drawn[1].values.astype(int), atol=2)


def test_no_part_beyond_the_file(place: Path) -> None:
    """Asked of the file itself, as `pptsm predict` does."""
    with pytest.raises(VideoError, match=r"it lasts 6\.00 s"):
        Video(place / "videos/day.mp4").span(Seconds(6.1, 7))
