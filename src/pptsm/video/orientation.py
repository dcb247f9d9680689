"""How a player must turn and mirror a file's frames: by its display matrix, or by what the stream itself says.

PyAV, decord and OpenCV keep the angle of a display matrix only, so that a mirrored video comes out wrong: read here is
the matrix itself, as FFmpeg gives it for MP4, MOV and Matroska alike (ISO 14496-12, 6.2.2: a point (x, y) of the stored
picture is shown at (a x + c y, b x + d y)).
"""

import struct
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MATRIX = struct.Struct("=9i")  # a b u c d v x y w
DISPLAY_ORIENTATION = 47  # the message of H.264 and HEVC (ITU-T H.264, D.1.27; H.265, D.2.17)
# the units of a stream that carry messages, and the bytes before the first message in one
MESSAGE_UNITS = {"h264": (6, 1), "hevc": (39, 2)}


class Orientation(NamedTuple):
    """One of the eight ways in which a picture can lie: first rows and columns are exchanged, then it is mirrored."""

    transposed: bool
    mirrored: bool  # left to right
    upside_down: bool  # top to bottom

    @property
    def is_rotation(self) -> bool:
        """Whether turning alone does it."""
        return self.transposed == (self.mirrored != self.upside_down)

    def applied(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A stored frame [H, W, 3] as it is shown."""
        if self.transposed:
            frame = frame.transpose(1, 0, 2)
        if self.mirrored:
            frame = frame[:, ::-1]
        if self.upside_down:
            frame = frame[::-1]
        return np.ascontiguousarray(frame)


AS_STORED = Orientation(transposed=False, mirrored=False, upside_down=False)
ALL = [Orientation(*kind) for kind in product((False, True), repeat=3)]


def nearest(matrix: tuple[int, ...]) -> Orientation:
    """The orientation that is most like a display matrix of nine numbers, whatever it is scaled or tilted by."""
    a, b, _, c, d = matrix[:5]

    def likeness(kind: Orientation) -> int:
        across, down = (c, b) if kind.transposed else (a, d)
        return (-across if kind.mirrored else across) + (-down if kind.upside_down else down)

    return max(ALL, key=likeness)  # of equals the first: as stored


def orientation_in(frame: Any) -> Orientation | None:
    """What comes with one of PyAV's frames, from the container or from the stream; the container's counts first."""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            return nearest(MATRIX.unpack(bytes(data)[: MATRIX.size]))
    return None


def says_orientation(packet: Any, stream: Any) -> bool:
    """Whether the first key frame of a stream brings an orientation of its own, which those after it may lack."""
    from av import FFmpegError, Packet
    from av.bitstream import BitStreamFilterContext

    content, codec = bytes(packet), stream.codec_context.name
    if codec == "mjpeg":
        return b"Exif\0" in content
    if codec not in MESSAGE_UNITS or DISPLAY_ORIENTATION not in content:
        return False
    kind, head = MESSAGE_UNITS[codec]
    try:
        only_messages = BitStreamFilterContext(f"{codec}_mp4toannexb,filter_units=pass_types={kind}", stream)
        units = b"".join(bytes(part) for part in only_messages.filter(Packet(content))).split(b"\0\0\1")
    except FFmpegError:  # damaged: the decoder shall say it
        return True
    return any(DISPLAY_ORIENTATION in message_kinds(unit[head:]) for unit in units)


def message_kinds(unit: bytes) -> Iterator[int]:
    """The kinds of the messages in a unit of them, without its head (ITU-T H.264, 7.3.2.3.1)."""
    content, at = unit.replace(b"\0\0\3", b"\0\0"), 0
    while at + 2 < len(content):
        numbers = []
        for _ in ("kind", "size"):
            number = 0
            while at < len(content) and content[at] == 0xFF:
                number, at = number + 0xFF, at + 1
            if at == len(content):
                return
            numbers.append(number + content[at])
            at += 1
        yield numbers[0]
        at += numbers[1]
