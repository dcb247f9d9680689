"""A folder of numbered JPEGs as a video: frames that somebody extracted before.

Such a video is named as FFmpeg names it, `folder/img_%05d.jpg`. The frames are those of these names, in the order of
their numbers, which begin anywhere and have no gap; other files may lie beside them.
"""

import hashlib
import re
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pptsm.params.choices import NUMBERED_FRAMES
from pptsm.runtime.files import sha256_of
from pptsm.runtime.paths import StrPath
from pptsm.runtime.pool import heartbeat
from pptsm.video.pixels import decode_sound_jpeg
from pptsm.video.timing import Timing
from pptsm.video.types import FrameRange, Frames, Image, Part, Probe, Seconds, VideoError
from pptsm.video.video import Video, probe


def members_pattern(frame_name: str) -> re.Pattern[str] | None:
    """What matches the names that img_%05d.jpg or the like stands for, its group the number; None: it is no such."""
    match = re.fullmatch(NUMBERED_FRAMES, frame_name)
    if match is None:
        return None
    before, digits, after = match.groups()
    return re.compile(f"{re.escape(before)}([0-9]{{{digits or 1},}}){re.escape(after)}")


def source_path(root: Path, path: str, frame_name: str | None) -> Path:
    """The video of a row of the index: a file, or the frames of this name in a folder."""
    return root / path if frame_name is None else root / path / frame_name


class ImageSequence:
    """The frames of a folder by number, with what `Video` offers.

    Raises:
        VideoError: there is no such folder, or no such frame in it.
    """

    decoder = "jpeg"
    rate = 0.0  # unknown
    promised = 0

    def __init__(self, path: StrPath) -> None:
        path = Path(path)
        pattern = members_pattern(path.name)
        assert pattern is not None
        self.folder = path.parent
        try:
            names = [path.name for path in self.folder.iterdir()]
        except OSError as error:
            raise VideoError(f"the folder of frames cannot be read: {error.strerror}") from None
        numbers = sorted((int(match[1]), match[0]) for match in map(pattern.fullmatch, names) if match)
        if not numbers:
            raise VideoError(f"no frame named like {path.name} among the {len(names)} files of the folder")
        self._first = numbers[0][0]
        self._names = [name for _, name in numbers]
        # the first place where the number is not the one that is due: a gap, or img_1.jpg beside img_01.jpg
        self._whole = next((place for place, (number, _) in enumerate(numbers) if number != self._first + place), None)

    def __len__(self) -> int:
        """Frames up to the first gap in their numbers."""
        return len(self._names) if self._whole is None else self._whole

    def __iter__(self) -> Iterator[Image]:
        """All frames [H, W, 3] in order.

        Raises:
            VideoError: a frame is missing, does not decode, or has another size than the first.
        """
        for number in range(len(self)):
            yield self._decoded(number)
        self.require_whole()

    in_order = __iter__

    def frames(self, indices: NDArray[np.int64]) -> Frames:
        """The frames at 0-based `indices`, in that order.

        Raises:
            VideoError: as iteration, or there is no such frame.
        """
        if absent := [int(index) for index in indices if not 0 <= index < len(self)]:
            raise VideoError(f"there are no frames {absent}: there are {len(self)}, and numbers begin at 0")
        images = [self._decoded(int(index)) for index in indices]
        return Frames(images, (images[0].shape[1], images[0].shape[0]))

    def span(self, part: Part) -> FrameRange:
        """The frames of a part.

        Raises:
            VideoError: it is given in seconds.
        """
        if isinstance(part, Seconds):
            raise VideoError("a folder of frames does not say when they are shown: name the part by its frames")
        return part or FrameRange(0, len(self))

    def timing(self, num_frames: int | None = None) -> Timing:
        """Unknown: nothing says when the frames are shown."""
        return Timing(np.zeros(len(self) if num_frames is None else num_frames), 0.0, 0.0)

    def length_sec(self, _: FrameRange) -> float:
        """Unknown: nothing says how long a part is shown."""
        return 0.0

    def require_whole(self) -> None:
        """Refuse frames with a gap in their numbers.

        Raises:
            VideoError: naming it.
        """
        if self._whole is not None:
            due, found = self._first + self._whole, self._names[self._whole]
            raise VideoError(f"frame {due} is missing: after {self._names[self._whole - 1]} comes {found}")

    def jpeg(self, number: int) -> bytes:
        """The file of a frame, as it is.

        Raises:
            VideoError: it cannot be read.
        """
        try:
            return (self.folder / self._names[number]).read_bytes()
        except OSError as error:
            raise VideoError(f"{self._names[number]} cannot be read: {error.strerror}") from None

    @cached_property
    def _shape(self) -> tuple[int, ...]:
        return self._image(0).shape

    def _decoded(self, number: int) -> Image:
        image = self._image(number)
        if image.shape != self._shape:
            (height, width, _), (first_height, first_width, _) = image.shape, self._shape
            raise VideoError(
                f"{self._names[number]} is {width}x{height}, but {self._names[0]} is {first_width}x{first_height}"
            )
        return image

    def _image(self, number: int) -> Image:
        heartbeat()
        data = self.jpeg(number)
        try:
            return decode_sound_jpeg(data)
        except ValueError as error:
            raise VideoError(f"{self._names[number]} is no whole JPEG ({error})") from None

    @property
    def files(self) -> list[Path]:
        """The frames' files, those after a gap in the numbers too."""
        return [self.folder / name for name in self._names]


def open_clip(path: StrPath, *, decord: bool = False) -> Video | ImageSequence:
    """A video file, or the frames of a folder by a name with %05d or the like.

    Args:
        path: of either.
        decord: as `Video` has it.

    Raises:
        VideoError: as either.
    """
    path = Path(path)
    return ImageSequence(path) if _is_of_frames(path) else Video(path, decord=decord)


def probe_clip(path: StrPath, *, decord: bool = False) -> Probe:
    """Decode a whole video, or all frames of a folder, and say what is in it, as `video.probe`."""
    return probe(path, partial(open_clip, decord=decord))


def hash_of(path: Path) -> str:
    """SHA-256 of a video file; of a folder of frames one over their names and contents.

    Raises:
        OSError: a file cannot be read.
        VideoError: the folder has no such frames.
    """
    if not _is_of_frames(path):
        return sha256_of(path)
    digest = hashlib.sha256()
    for file in ImageSequence(path).files:
        heartbeat()
        digest.update(f"{file.name}\n{sha256_of(file)}\n".encode())
    return digest.hexdigest()


def size_of(path: Path) -> int:
    """Bytes of a video file, or of all frames of a folder.

    Raises:
        OSError, VideoError: as `hash_of`.
    """
    return sum(file.stat().st_size for file in (ImageSequence(path).files if _is_of_frames(path) else [path]))


def _is_of_frames(path: Path) -> bool:
    return members_pattern(path.name) is not None and not path.exists()
