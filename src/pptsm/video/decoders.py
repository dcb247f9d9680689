"""Frames by number or in order, by PyAV or decord.

Where a file's packets tell which frame is where, PyAV decodes what is asked for from the key frame before it;
everywhere else from the first frame on, and counts. The same packets say whether decord can be trusted to read a whole
file in order. Pixels are the same to within two levels. decord brings FFmpeg libraries of 2018 along: it reads files of
the dataset, and no others.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pptsm.runtime.pool import heartbeat
from pptsm.video.orientation import AS_STORED, Orientation, orientation_in
from pptsm.video.packets import Packets, open_container
from pptsm.video.timing import Clock, Timing, timing_of
from pptsm.video.types import Decoder, Image, Presented, VideoError


class Decord:
    """A whole file in order, by decord; for files whose packets divide at the key frames."""

    name: Decoder = "decord"

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    @staticmethod
    def open(path: Path, num_packets: int) -> "Decord | None":
        """None where decord is absent or refuses the file, or where its own list has other packets than are shown."""
        if not has_decord():
            return None
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        try:
            # one thread: several readers work side by side in processes, and memory stays small; no tolerance:
            # decord would return the frame before in place of one that does not decode
            reader = decord.VideoReader(str(path), num_threads=1, fault_tol=1e-9)
            if len(reader) != num_packets:
                return None
            starts_sec = reader.get_frame_timestamp(np.arange(num_packets))[:, 0]
        except _decord_errors():
            return None
        return Decord(reader) if (np.diff(starts_sec) > 0).all() else None

    def __len__(self) -> int:
        return len(self._reader)

    def __iter__(self) -> Iterator[Image]:
        self._reader.seek_accurate(0)
        for index in range(len(self)):
            heartbeat()
            try:
                yield _rgb(self._reader.next().asnumpy())
            except _decord_errors() as error:
                raise VideoError(f"frame {index} does not decode ({_first_line(error)})") from None


class Pyav:
    """Frames by number or in order, by PyAV; the file is open only while that goes on."""

    name: Decoder = "pyav"

    def __init__(self, path: Path, packets: Packets) -> None:
        self.path = path
        self.packets = packets
        self._found: _Decodable | None = None

    def __len__(self) -> int:
        return self.packets.count if self.packets.indexed else len(self._decodable.times)

    def timing(self, num_frames: int | None = None) -> Timing:
        """When the frames are shown: by the packets where they can be trusted, else by the decoded frames."""
        packets = self.packets
        shown = packets if packets.indexed else self._decodable
        times, lasts = shown.times[:num_frames], shown.lasts[:num_frames]
        return timing_of(times, lasts, packets.tick_sec, packets.rate, packets.in_order)

    @property
    def problem(self) -> str:
        """What ended the decoding before the file's end; empty where nothing did, or nothing was decoded."""
        return "" if self.packets.indexed else self._decodable.problem

    @property
    def _decodable(self) -> "_Decodable":
        """What decoding the whole file showed; it is done once."""
        if self._found is None:
            try:
                for _ in self._decoded():
                    pass
            except VideoError:
                pass  # `_found` says it
        assert self._found is not None
        if not len(self._found.times):
            raise VideoError(self._found.problem or "no frame decodes")
        return self._found

    @cached_property
    def orientation(self) -> Orientation:
        """How all frames are turned: as the first one says it, for itself or by the container."""
        return next((orientation_in(frame) for frame in self._decoded()), None) or AS_STORED

    def __iter__(self) -> Iterator[Image]:
        return map(self._converter(), self._decoded())

    def presented(self) -> Iterator[Presented]:
        """All frames in order with their times; pixels are computed only of those that are asked for.

        Raises:
            VideoError: a frame does not decode.
        """
        clock, convert = Clock(self.packets.tick_sec, self.packets.rate), self._converter()
        # those of AVI belong to the frames, but not each to its own
        known = None if self.packets.indexed or self.packets.in_order else iter(self.timing().begins_sec)
        for frame in self._decoded():
            begin_sec = clock.begin_sec(frame.pts if known is None else None)
            begin_sec = begin_sec if known is None else float(next(known))
            yield Presented(begin_sec, max(clock.end_sec(frame.duration or 0), begin_sec), partial(convert, frame))

    def frames(self, indices: list[int]) -> list[Image]:
        """The frames at these numbers, in that order.

        Raises:
            VideoError: one of them is not there or does not decode.
        """
        images = self._from_key_frames(indices) if self.packets.indexed else self._from_the_first(indices)
        return [images[index] for index in indices]

    def _from_the_first(self, indices: list[int]) -> dict[int, Image]:
        convert, images, requested, count = self._converter(), {}, set(indices), 0
        for count, frame in enumerate(self._decoded(), start=1):
            if count - 1 in requested:
                images[count - 1] = convert(frame)
            if count > max(indices):
                break
        _check(indices, count)
        return images

    def _from_key_frames(self, indices: list[int]) -> dict[int, Image]:
        """Images by number, found by their times, so that none stands for one that does not decode."""
        import av

        times, keys, convert, images = self.packets.times, self.packets.keys, self._converter(), {}
        _check(indices, len(times))
        with open_container(self.path) as (container, stream):
            stream.codec_context.thread_count = 1
            for place, numbers in groupby(sorted(set(indices)), lambda number: bisect_right(keys, number)):
                requested = {int(times[number]): number for number in numbers}
                for start in (times[keys[place - 1]], times[0]):  # the second where a seek leads beyond the key frame
                    try:
                        for frame in _shown_at(container, stream, int(start), requested):
                            images[requested.pop(frame.pts)] = convert(frame)
                    except av.FFmpegError as error:
                        raise VideoError(
                            f"frame {min(requested.values())} does not decode ({error.strerror})"
                        ) from None
                    if not requested:
                        break
                else:
                    raise VideoError(f"frame {min(requested.values())} does not decode")
        return images

    def _decoded(self) -> Iterator[Any]:
        """PyAV's frames, not yet converted."""
        import av

        times: list[int | None] = []
        lasts: list[int] = []
        problem, due = "", self.packets.times
        with open_container(self.path) as (container, stream):
            stream.codec_context.thread_count = 1
            try:
                for frame in _shown_frames(container, stream, self.packets.leading):
                    if len(due) and (len(times) == len(due) or frame.pts != due[len(times)]):
                        break  # one before it is missing: the next would take its number
                    yield frame
                    times.append(frame.pts)
                    lasts.append(frame.duration or 0)
            except av.FFmpegError as error:
                problem = f"frame {len(times)} does not decode ({error.strerror})"
        if len(times) < len(due) and not problem:
            problem = f"frame {len(times)} does not decode"
        self._found = _Decodable(times, lasts, problem)
        if problem:
            raise VideoError(problem)

    def _converter(self) -> Callable[[Any], Image]:
        from av.video.reformatter import VideoReformatter

        reformatter = VideoReformatter()  # one for all frames: making it costs more than its work on a small frame
        turned: bool | None = None

        def convert(frame: Any) -> Image:
            nonlocal turned
            # all frames get the size that the container gives, as with decord, even if the stream changes it
            shape = self.packets.width, self.packets.height
            rgb: Image = np.asarray(reformatter.reformat(frame, *shape, "rgb24", threads=1).to_ndarray(), np.uint8)
            # One orientation for all: in a stream that says it, perhaps only some frames do. And one frame is asked,
            # because whoever looks at what comes with it binds it into a cycle that the garbage collector has to find.
            if turned is None:
                turned = self.packets.says_orientation or orientation_in(frame) is not None
            return self.orientation.applied(rgb) if turned else rgb

        return convert


class _Decodable(NamedTuple):
    """What decoding a file from its first key frame on showed."""

    times: list[int | None]  # of the frames, in ticks, as they came
    lasts: list[int]  # how long each is shown; 0 where it does not say
    problem: str  # what ended it before the file's end; empty where nothing did


def _shown_frames(container: Any, stream: Any, leading: int) -> Iterator[Any]:
    """PyAV's frames from the first key frame on, whatever decoders make of those before it: grey, errors or nothing.

    A decoder knows a key frame, too, that its packet is not marked as.
    """
    import av

    begun, key_at = leading == 0, None
    for number, packet in enumerate(container.demux(stream)):
        heartbeat()
        key_at = packet.pts if number == leading else key_at
        try:
            frames = packet.decode()
        except av.FFmpegError:
            if begun or number >= leading:
                raise
            continue
        for frame in frames:
            begun = begun or frame.key_frame or (None not in (key_at, frame.pts) and frame.pts >= key_at)
            if begun:
                yield frame


def _shown_at(container: Any, stream: Any, start: int, requested: dict[int, int]) -> Iterator[Any]:
    """PyAV's frames that are shown at the `requested` times, decoded from the key frame of time `start` on.

    Who reads them takes their times out of `requested`; when none is left, reading ends. There are none if the
    container leads elsewhere than to a key frame not later than `start`.
    """
    container.seek(start, stream=stream)
    context, first = stream.codec_context, True
    for packet in container.demux(stream):
        if first and not (packet.is_keyframe and packet.pts is not None and packet.pts <= start):
            return
        first = False
        heartbeat()
        if context.name == "h264":
            # Nothing looks back at a frame that says so: it need not be decoded. HEVC says it of a layer only.
            context.skip_frame = "DEFAULT" if packet.pts in requested else "NONREF"
        for frame in packet.decode():
            if frame.pts in requested:
                yield frame
        if not requested:
            return


def has_decord() -> bool:
    """Whether decord is installed. It has no wheel for arm64; where it is absent, PyAV reads every file."""
    # not by an import: loaded before PyAV, its codecs of 2018 would take the place of PyAV's
    return find_spec("decord") is not None


def _decord_errors() -> tuple[type[Exception], ...]:
    from decord._ffi.base import DECORDError, DECORDLimitReachedError

    return DECORDError, DECORDLimitReachedError, RuntimeError, AssertionError, StopIteration


def _check(indices: list[int], count: int) -> None:
    if absent := sorted(index for index in indices if index >= count):
        raise VideoError(f"there are no frames {absent}: {count} decode")


def _rgb(frame: Image) -> Image:
    """At some widths (48, 72) decord takes the padding at each row's end for a fourth channel."""
    height, width, channels = frame.shape
    if channels == 3:
        return frame
    return frame.reshape(height, width * channels)[:, : width * 3].reshape(height, width, 3)


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].split("] ", 2)[-1][:160]
