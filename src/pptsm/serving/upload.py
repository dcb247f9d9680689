"""The body of a request, into a file of our own name: never whole in memory, never under the client's name."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from pptsm.runtime.files import FULL
from pptsm.serving.limits import Refused
from pptsm.video.video import VIDEO_SUFFIXES

SILENCE_SEC = 30  # without a byte of a body; then nobody will send the rest
SLOWEST_BYTES = 500_000  # a second of a body, beside the silence
WRITTEN_AT_ONCE = 1 << 20  # bytes, by a thread
ONE_FILE = "Send one video as a part of multipart/form-data that has a file name: curl -F file=@a.mp4 ADDRESS/predict"

Chunks = AsyncIterator[bytes]


@dataclass(frozen=True)
class Upload:
    """A file that arrived."""

    path: Path
    name: str  # as the client calls it: to be shown, never a path here


class Body:
    """The bytes of a request, counted and timed.

    Args:
        chunks: as they come.
        declared: the header `Content-Length`; None: the client does not say.
        most_bytes: more are refused, at once where they are declared.

    Raises:
        Refused: (413) too many bytes are declared.
    """

    def __init__(self, chunks: Chunks, declared: str | None, most_bytes: int) -> None:
        self._chunks = chunks
        self._most = most_bytes
        if declared is not None and declared.isdecimal() and int(declared) > most_bytes:
            raise self._too_large()

    async def read(self) -> Chunks:
        """The chunks.

        Raises:
            Refused: (413) more than may be; (408) they come too slowly.
        """
        count = 0
        try:
            async with asyncio.timeout(SILENCE_SEC + self._most / SLOWEST_BYTES):
                while True:
                    async with asyncio.timeout(SILENCE_SEC):
                        chunk = await anext(self._chunks, None)
                    if chunk is None:
                        return
                    count += len(chunk)
                    if count > self._most:
                        raise self._too_large()
                    yield chunk
        except TimeoutError:
            raise Refused(408, f"after {count} bytes the rest of the request did not come in time.") from None

    def _too_large(self) -> Refused:
        return Refused(413, f"the request has more than {self._most / 1e6:g} MB, which is the most that is taken.")


class Writer:
    """Writes to a file in large pieces, in a thread: the disk may be slow, and others wait for answers."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._pending = bytearray()

    async def write(self, data: bytes) -> None:
        """Take bytes, and put them into the file when there are enough.

        Raises:
            Refused: (507) the disk is full.
        """
        self._pending += data
        if len(self._pending) >= WRITTEN_AT_ONCE:
            await self.flush()

    async def flush(self) -> None:
        """Put what was taken into the file.

        Raises:
            Refused: (507) the disk is full.
        """
        pending, self._pending = self._pending, bytearray()
        try:
            if len(pending) >= WRITTEN_AT_ONCE:
                await asyncio.to_thread(self._file.write, pending)
            else:
                self._file.write(pending)
        except OSError as error:
            if error.errno in FULL:
                raise Refused(507, "the disk for uploads is full. Send it again when there is room.") from None
            raise


async def receive_raw(body: Body, path: Path) -> None:
    """Write a body to a file as it is.

    Raises:
        Refused: as `Body.read` and `Writer.write`.
    """
    with path.open("wb", buffering=0) as file:
        writer = Writer(file)
        async for chunk in body.read():
            await writer.write(chunk)
        await writer.flush()


async def receive_file(body: Body, content_type: str, path: Path) -> Upload:
    """Write the one file in a body of multipart/form-data to a path.

    The path gets the client's suffix if that is one of a video, which tells FFmpeg's raw formats apart.

    Raises:
        Refused: (415) it is of another type; (400) it is no such body, is cut off, or has no file or several; and as
            `Body.read` and `Writer.write`.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise Refused(415, f"the request is of type {content_type[:100]!r}. {ONE_FILE}")
    parts = _Parts()
    with path.open("wb", buffering=0) as file:
        writer = Writer(file)
        try:
            parser = MultipartParser(options[b"boundary"], parts.callbacks())
            async for chunk in body.read():
                parser.write(chunk)
                for piece in parts.arrived():
                    await writer.write(piece)
        except FormParserError as error:
            raise Refused(400, f"the request is no multipart/form-data ({error}). {ONE_FILE}") from None
        await writer.flush()
    if parts.name is None:
        raise Refused(400, f"the request has no file. {ONE_FILE}")
    if not parts.ended:
        raise Refused(400, f"the request ends in the middle of its file. {ONE_FILE}")
    suffix = PurePosixPath(parts.name.lower()).suffix
    return Upload(path.rename(path.with_suffix(suffix)) if suffix in VIDEO_SUFFIXES else path, parts.name)


class _Parts:
    """What the parser finds: the bytes of the one file, and its name."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.ended = False
        self._pieces: list[bytes] = []
        self._field, self._value, self._disposition = b"", b"", b""

    def callbacks(self) -> Any:
        """By the names that the parser gives to what it finds."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def arrived(self) -> list[bytes]:
        """The bytes of the file since the last call."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def _begin(self) -> None:
        self._field, self._value, self._disposition = b"", b"", b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field, self._value = b"", b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"filename" not in options:
            field = options.get(b"name", b"").decode(errors="replace")[:100]
            raise Refused(
                400,
                f"the request has a field {field!r} without a file; options belong into the address, as "
                f"/predict?top_k=3. {ONE_FILE}",
            )
        if self.name is not None:
            raise Refused(400, f"the request has several files. {ONE_FILE}")
        self.name = options[b"filename"].decode(errors="backslashreplace")

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append(data[start:end])

    def _end(self) -> None:
        self.ended = True
