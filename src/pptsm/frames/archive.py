"""A frame archive: one ZIP of JPEGs per clip, stored without compression, readable at random.

Members are `img_00001.jpg`, `img_00002.jpg`, ... as in the classic frame folders. An archive is a few
times faster to version than loose files and opens in any file manager. Its comment is JSON and says the video's native
size, which decides where a pixel goes: an archive is a cache, and stores frames in whatever size it likes.
"""

import io
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pptsm.params.schema import FrameSettings
from pptsm.runtime.files import atomic_file
from pptsm.runtime.paths import StrPath
from pptsm.video.pixels import decode_jpeg, encode_jpeg, resized
from pptsm.video.types import DecodedWhenAsked, Frames, Size, VideoError, resized_size

# PKWARE's APPNOTE, 4.3.12 and 4.3.16: a record of a ZIP's directory with a name as long as ours; the directory's end.
RECORD = np.dtype(
    [
        ("signature", "S4"),
        ("versions", "<u2", 2),
        ("flags", "<u2"),
        ("method", "<u2"),
        ("date", "<u2", 2),
        ("crc", "<u4"),
        ("stored_bytes", "<u4"),
        ("bytes", "<u4"),
        ("name_bytes", "<u2"),
        ("extra_bytes", "<u2"),
        ("comment_bytes", "<u2"),
        ("disk", "<u2"),
        ("attributes", "<u2", 3),
        ("at", "<u4"),
        ("name", "S13"),
    ]
)
END = np.dtype(
    [
        ("signature", "S4"),
        ("disks", "<u2", 2),
        ("records_here", "<u2"),
        ("records", "<u2"),
        ("directory_bytes", "<u4"),
        ("directory_at", "<u4"),
        ("comment_bytes", "<u2"),
    ]
)
RECORD_SIGNATURE = b"PK\1\2"
END_SIGNATURE = b"PK\5\6"
EXTRACT_AGAIN = (
    "`dvc repro --force --single-item frames`"  # without --force DVC skips it: nothing that it knows changed
)
# what `zipfile` raises at damaged archives, beside BadZipFile: a bit of a header says another method, or a password
DAMAGE = (OSError, KeyError, ValueError, NotImplementedError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error)
LOCAL_HEADER_BYTES = 30
FIXED_DATE = (1980, 1, 1, 0, 0, 0)  # the same video gives the same bytes
TAIL_BYTES = 1 << 16  # the directory of 1,100 frames; that of a longer video is left to `zipfile`


class Place(NamedTuple):
    """Where an archive is: a file, or a part of one."""

    file: Path
    at: int = 0
    size: int | None = None  # None: to the file's end


def archive_name(clip_id: str) -> str:
    """Path below the frames folder of the archive of a row of the index."""
    return f"{clip_id}.zip"


def member_name(index: int) -> str:
    """Name in the archive of the frame with 0-based `index`."""
    return f"img_{index + 1:05d}.jpg"


def jpeg_of(frame: NDArray[np.uint8], settings: FrameSettings) -> bytes:
    """What an archive keeps of a frame."""
    return encode_jpeg(scaled_down(frame, settings.short_side_px), settings.jpeg_quality)


@contextmanager
def archive_writer(path: Path, native: Size) -> Iterator[Callable[[bytes], None]]:
    """What adds the next JPEG to a new archive of frames whose native size is this.

    It is whole or absent, but for a power cut: `is_whole` tells.
    """
    with atomic_file(path, settle=False) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = comment_of(native)

        def add(jpeg: bytes) -> None:
            name = member_name(len(archive.filelist))
            archive.writestr(zipfile.ZipInfo(name, FIXED_DATE), jpeg)

        yield add


def is_whole(path: Path, num_frames: int) -> bool:
    """Whether an archive holds so many frames, each with the bytes that were written."""
    try:
        with zipfile.ZipFile(path) as archive:
            return len(archive.infolist()) == num_frames and archive.testzip() is None
    except DAMAGE:
        return False


def comment_of(native: Size) -> bytes:
    """What kept frames say of their video."""
    return json.dumps({"native": list(native)}).encode()


def scaled_down(frame: NDArray[np.uint8], short_side_px: int | None) -> NDArray[np.uint8]:
    """A frame [H, W, 3] with at most this short side; null: as it is."""
    native = (frame.shape[1], frame.shape[0])
    if short_side_px is None or min(native) <= short_side_px:
        return frame
    return resized(frame, resized_size(native, short_side_px, "kept"))


def read_frames(archive: StrPath, indices: NDArray[np.int64]) -> Frames:
    """The frames at 0-based `indices` of an archive, all decoded.

    Raises:
        VideoError: the archive is missing, damaged or of an older version, or has no such frame.
    """
    archive = Path(archive)
    frames = frames_in(archive, indices)
    return Frames(list(frames.images), frames.native)


def frames_in(archive: Path | Place, indices: NDArray[np.int64]) -> Frames:
    """As `read_frames`, but decoded when they are asked for, and refused only then where one is no whole JPEG."""
    place = archive if isinstance(archive, Place) else Place(archive)
    names = [member_name(int(index)) for index in indices]
    try:
        comment, members = _read_own(place, indices, names) or _read_any(place, names)
        native = native_size(comment)
    except (*DAMAGE, VideoError) as error:
        raise VideoError(f"{place.file}: {error}") from None

    def image(number: int) -> NDArray[np.uint8]:
        frame = decode_jpeg(members[number])
        if frame is None:
            raise VideoError(f"{place.file}: {names[number]} is no whole JPEG")
        return frame

    return Frames(DecodedWhenAsked(len(members), image), native)


def _read_own(place: Place, indices: NDArray[np.int64], names: list[str]) -> tuple[bytes, list[bytes]] | None:
    """Comment and members of an archive as `archive_writer` makes it; None for any other, and for a damaged one.

    All its records have one length, so that the directory is an array and need not be parsed: `zipfile` takes as long
    for that as two frames take to decode.
    """
    with place.file.open("rb", buffering=0) as file:
        descriptor = file.fileno()
        tail, size = _tail(descriptor, place)
        directory, comment = _own_directory(tail, size)
        if not 0 <= indices.min() <= indices.max() < len(directory):
            return None
        members = []
        for record, name in zip(directory[indices], names, strict=True):
            head = LOCAL_HEADER_BYTES + len(name)
            data = os.pread(descriptor, head + int(record["bytes"]), place.at + int(record["at"]))
            member = data[head:]
            stored = record["method"] == zipfile.ZIP_STORED and record["name"] == name.encode()
            if not stored or data[LOCAL_HEADER_BYTES:head] != name.encode() or zlib.crc32(member) != record["crc"]:
                return None
            members.append(member)
        return comment, members


def _tail(descriptor: int, place: Place) -> tuple[bytes, int]:
    """The last bytes of an archive, and how many it has."""
    size = os.fstat(descriptor).st_size if place.size is None else place.size
    start = max(0, size - TAIL_BYTES)
    return os.pread(descriptor, size - start, place.at + start), size


def _own_directory(tail: bytes, size: int) -> tuple[NDArray[np.void], bytes]:
    """Records and comment of an archive of `size` bytes, by its last ones; no records where they are not as ours."""
    at = tail.rfind(END_SIGNATURE)
    if at < 0 or len(tail) - at < END.itemsize:
        return np.empty(0, RECORD), b""
    end = np.frombuffer(tail, END, count=1, offset=at)[0]
    count, comment = int(end["records"]), tail[at + END.itemsize :]
    start = at - count * RECORD.itemsize
    whole = end["comment_bytes"] == len(comment) and end["directory_at"] == size - len(tail) + start
    if start < 0 or not whole:
        return np.empty(0, RECORD), b""
    records = np.frombuffer(tail, RECORD, count=count, offset=start)
    own = (records["signature"] == RECORD_SIGNATURE).all() and (records["name_bytes"] == RECORD["name"].itemsize).all()
    last_is_last = count > 0 and records["name"][-1] == member_name(count - 1).encode()  # nothing was put in twice
    return (records, comment) if own and last_is_last else (np.empty(0, RECORD), b"")


def _opened(place: Place) -> zipfile.ZipFile:
    if place.size is None:
        return zipfile.ZipFile(place.file)
    with place.file.open("rb") as file:
        return zipfile.ZipFile(io.BytesIO(os.pread(file.fileno(), place.size, place.at)))


def _read_any(place: Place, names: list[str]) -> tuple[bytes, list[bytes]]:
    """Comment and members of any ZIP, or what is wrong with it."""
    with _opened(place) as file:
        return file.comment, [file.read(name) for name in names]


def native_size(comment: bytes | str) -> Size:
    """The size that `comment_of` wrote.

    Raises:
        VideoError: it is something else.
    """
    try:
        width, height = json.loads(comment)["native"]
        return int(width), int(height)
    except (ValueError, TypeError, KeyError):
        raise VideoError(
            f"it does not say the video's native size, as archives of older versions; extract again ({EXTRACT_AGAIN})"
        ) from None


def unpack(path: StrPath | Place, folder: StrPath) -> int:
    """Write an archive's frames as files of their own below `folder`, byte for byte; how many they are.

    Raises:
        VideoError: the archive is missing, damaged or something else.
        OSError: the frames cannot be written.
    """
    place, folder = path if isinstance(path, Place) else Place(Path(path)), Path(folder)
    folder.mkdir(parents=True)
    count = 0
    for name, frame in _members(place):
        (folder / name).write_bytes(frame)
        count += 1
    return count


def _members(place: Place) -> Iterator[tuple[str, bytes]]:
    """The frames of an archive by their names. What goes wrong while the caller has one is none of its errors."""
    with ExitStack() as opened:
        try:
            archive = opened.enter_context(_opened(place))
        except DAMAGE as error:
            raise VideoError(f"{place.file}: {error}") from None
        for name in map(member_name, range(len(archive.namelist()))):  # no other: a name might lead out of the folder
            try:
                frame = archive.read(name)
            except DAMAGE as error:
                raise VideoError(f"{place.file}: {error}") from None
            yield name, frame


class KeptFacts(NamedTuple):
    """What a file of kept frames says without any frame being decoded."""

    num_frames: int
    native: Size  # of the video
    short_side_px: int  # of the frames in it
    bytes: int


def facts_of(path: Path | Place) -> KeptFacts:
    """Read an archive's directory, and the header of its first frame.

    Raises:
        VideoError: as `read_frames`.
    """
    place = path if isinstance(path, Place) else Place(path)
    try:
        with place.file.open("rb", buffering=0) as file:
            tail, size = _tail(file.fileno(), place)
            directory, comment = _own_directory(tail, size)
            num_frames = len(directory)
            if num_frames:
                head = LOCAL_HEADER_BYTES + len(member_name(0))
                first = os.pread(file.fileno(), int(directory["bytes"][0]), place.at + int(directory["at"][0]) + head)
            else:
                with _opened(place) as archive:
                    num_frames, comment = len(archive.infolist()), archive.comment
                    first = archive.read(member_name(0))
        with Image.open(io.BytesIO(first)) as image:  # reads the header only
            return KeptFacts(num_frames, native_size(comment), min(image.size), size)
    except FileNotFoundError:
        raise VideoError(f"there is no {place.file}") from None
    except (*DAMAGE, VideoError) as error:
        raise VideoError(f"{place.file}: {error}") from None
