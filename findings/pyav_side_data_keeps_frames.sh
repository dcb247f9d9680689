#!/usr/bin/env bash
# Whoever looks at `frame.side_data` in PyAV keeps the frame in memory until the garbage collector comes.
#
# One would guess that a decoded frame is freed when the next one takes its name, as it is without the look. The
# container of side data holds the frame, and the frame holds the container: a cycle, which reference counting does not
# see. Python's collector counts objects, not bytes, so a few hundred frames of megabytes each may wait for it: a loop
# that reads each frame's display matrix takes hundreds of megabytes more than one that reads it of the first frame.
# Seen with PyAV 18.1.0.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
"${PYTHON:-python3.11}" -m venv venv
venv/bin/python -m pip install -q av==18.1.0 numpy==2.4.6
venv/bin/python - <<'PY'
import gc
import os

import av
import numpy as np

COUNT, SIZE = 100, (1280, 720)  # frames of 1.4 MB


def resident_mb() -> float:
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


with av.open("a.mp4", "w") as container:
    stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
    stream.width, stream.height = SIZE
    stream.pix_fmt = "yuv420p"
    for number in range(COUNT):
        grey = np.full((SIZE[1], SIZE[0], 3), number, np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
    container.mux(stream.encode(None))
del grey, container, stream

gc.collect()
gc.disable()  # what would otherwise come at a moment that nobody chose
print("PyAV", av.__version__)
taken = {}
for look in (False, True):
    before = resident_mb()
    with av.open("a.mp4") as container:
        for frame in container.decode(video=0):
            if look:
                frame.side_data
    del frame, container
    alive = sum(isinstance(each, av.VideoFrame) for each in gc.get_objects())
    taken[look] = alive, resident_mb() - before
    print(f"{'with' if look else 'without'} the look: {alive} frames are left, {taken[look][1]:.0f} MB")
assert taken[False][0] == 0
assert taken[True][0] >= COUNT and taken[True][1] > 50, "the look costs nothing now"
assert gc.collect() >= COUNT
PY
