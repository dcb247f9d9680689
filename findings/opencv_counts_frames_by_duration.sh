#!/usr/bin/env bash
# OpenCV's frame count of an MPEG program stream is a guess, and so is the frame that a seek by number leads to.
#
# One would guess that CAP_PROP_FRAME_COUNT is the number of frames that `read()` then gives, and that after setting
# CAP_PROP_POS_FRAMES to i `read()` gives frame i. For a program stream, whose container counts nothing, the count
# follows from a length that is estimated by bit rate (55 and 32 of 60 frames), and a seek beyond it is cut off, without
# an error: frame 31 for frame 57. Seen with opencv-python-headless 5.0.0.93.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
"${PYTHON:-python3.11}" -m venv venv
venv/bin/python -m pip install -q av==18.1.0 numpy==2.4.6 opencv-python-headless==5.0.0.93
venv/bin/python - <<'PY'
import av
import cv2
import numpy as np

print("OpenCV", cv2.__version__)
wrong = 0
for name, encoder in (("a.mp4", "libx264"), ("a.mpg", "mpeg2video"), ("b.mpg", "mpeg1video")):
    with av.open(name, "w") as container:
        stream = container.add_stream(encoder, rate=25, options={"bf": "2", "g": "12"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(60):  # each frame is four levels brighter than the one before
            grey = np.full((64, 64, 3), 4 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode(None))
    capture = cv2.VideoCapture(name)
    counted, read = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0
    while capture.read()[0]:
        read += 1
    capture.set(cv2.CAP_PROP_POS_FRAMES, 57)
    found, frame = capture.read()
    level = round(float(frame.mean()) / 4) if found else None
    print(f"{name}: counted {counted}, read {read}; frame 57 by number is {level}")
    assert read == 60
    if name.endswith("mp4"):
        assert counted == 60 and level is not None and abs(level - 57) <= 1
    else:
        assert counted != read, "program streams are counted now"
        wrong += level is None or abs(level - 57) > 1
assert wrong == 1, "frames of program streams are found now"
PY
