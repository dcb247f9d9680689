#!/usr/bin/env bash
# Of a display matrix that mirrors, PyAV, OpenCV and decord know an angle at most: the picture comes out wrong.
#
# One would guess that who turns a frame as the file's display matrix says also mirrors it where that says so. PyAV's
# `frame.rotation` of a mirrored video is 0 or 180, which no turning makes right; OpenCV, which applies the matrix by
# itself, and decord, which does so too, give one of the four turned pictures, never the mirrored one. Of a matrix that
# turns by 90 degrees OpenCV gives the right picture. Seen with PyAV 18.1.0, opencv-python-headless 5.0.0.93, decord
# 0.6.0.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
"${PYTHON:-python3.11}" -m venv venv
venv/bin/python -m pip install -q av==18.1.0 numpy==2.4.6 opencv-python-headless==5.0.0.93 decord==0.6.0
venv/bin/python - <<'PY'
import struct

import av
import cv2
import numpy as np
from decord import VideoReader

ONE = 1 << 16
# four corners of four brightnesses, twice as wide as high
STORED = np.repeat(np.repeat(np.array([[20, 90], [160, 230]], np.uint8), 32, axis=0), 64, axis=1)
# a, b, c, d of ISO 14496-12, 6.2.2: a stored point (x, y) is shown at (a x + c y, b x + d y)
KINDS = {
    "turned": ((0, ONE, -ONE, 0), np.rot90(STORED, -1)),
    "mirrored": ((-ONE, 0, 0, ONE), STORED[:, ::-1]),
}


def corners(picture: np.ndarray) -> list[int]:
    """Their brightnesses, rounded to tens, row by row."""
    height, width = picture.shape[:2]
    grey = picture.reshape(height, width, -1).mean(axis=2)
    return [int(round(grey[y, x], -1)) for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]


def write(matrix: tuple[int, int, int, int]) -> None:
    with av.open("a.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.height, stream.width = STORED.shape
        stream.pix_fmt = "yuv420p"
        for _ in range(3):
            frame = np.ascontiguousarray(np.stack([STORED] * 3, axis=2))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    content = bytearray(open("a.mp4", "rb").read())
    identity = struct.pack(">9i", ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30)
    a, b, c, d = matrix
    at = content.rindex(identity)  # the track's; the movie's comes before it
    content[at : at + len(identity)] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    open("a.mp4", "wb").write(content)


print("PyAV", av.__version__, "OpenCV", cv2.__version__)
found = {}
for kind, (matrix, shown) in KINDS.items():
    write(matrix)
    with av.open("a.mp4") as container:
        frame = next(container.decode(video=0))
        pyav = corners(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))
        angle = frame.rotation
    opencv = corners(cv2.VideoCapture("a.mp4").read()[1])
    decord = corners(VideoReader("a.mp4")[0].asnumpy())
    expected = corners(shown)
    found[kind] = {"PyAV": pyav == expected, "OpenCV": opencv == expected, "decord": decord == expected}
    print(f"{kind}: right is {expected}; PyAV {pyav} (angle {angle}), OpenCV {opencv}, decord {decord}")
assert found["turned"]["PyAV"] and found["turned"]["OpenCV"]
assert not any(found["mirrored"].values()), "a mirrored video is shown mirrored now"
PY
