#!/usr/bin/env bash
# decord's frame by number is another frame in AVI and MPEG program streams that have B-frames.
#
# One would guess that `reader[i]` and `get_batch([i])` give the i-th frame that `next()` gives. In MP4 they do. In an
# AVI or an MPEG program stream with B-frames they give another one, without an error, while reading in order is right;
# decord2, a maintained continuation, gives the same wrong frames. Seen with decord 0.6.0 and decord2 3.4.0.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
"${PYTHON:-python3.11}" -m venv draw
draw/bin/python -m pip install -q av==18.1.0 numpy==2.4.6
cat >draw.py <<'PY'
import av
import numpy as np

KINDS = (("b.mp4", "libx264"), ("b.avi", "libx264"), ("m.avi", "mpeg4"), ("b.mpg", "mpeg2video"))
for name, encoder in KINDS:
    with av.open(name, "w") as container:
        stream = container.add_stream(encoder, rate=25, options={"bf": "2", "g": "12"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(60):  # each frame is four levels brighter than the one before
            grey = np.full((64, 64, 3), 4 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode(None))
PY
draw/bin/python draw.py
cat >look.py <<'PY'
import sys
from importlib.metadata import version

from decord import VideoReader

WANTED = [50, 7, 31, 3]
print(sys.argv[1], version(sys.argv[1]))
seen = {}
for name in ("b.mp4", "b.avi", "m.avi", "b.mpg"):
    frame_of = lambda frame: round(float(frame.mean()) / 4)
    reader = VideoReader(name)
    in_order = [frame_of(reader.next().asnumpy()) for _ in range(len(reader))]
    at_random = [frame_of(frame) for frame in VideoReader(name).get_batch(WANTED).asnumpy()]
    right = all(abs(level - number) <= 1 for number, level in enumerate(in_order)) and len(in_order) == 60
    off = max(abs(in_order[number] - level) for number, level in zip(WANTED, at_random))
    print(f"{name}: in order {'right' if right else 'WRONG'}; frames {WANTED} by number are {at_random}")
    assert right, "reading in order"
    seen[name] = off > 1
assert not seen["b.mp4"], "MP4 is right"
wrong = sorted(name for name, is_wrong in seen.items() if is_wrong)
assert wrong == sys.argv[2].split(","), wrong
PY
for package in "decord 0.6.0 b.avi,b.mpg,m.avi" "decord2 3.4.0 b.avi,b.mpg,m.avi"; do
    read -r name version wrong <<<"$package"
    "${PYTHON:-python3.11}" -m venv "$name"
    "$name/bin/python" -m pip install -q "$name==$version" numpy==2.4.6
    "$name/bin/python" look.py "$name" "$wrong"
done
