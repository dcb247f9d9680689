#!/usr/bin/env bash
# PyAV writes the colour space that it is told into the file, but converts to another one.
#
# One would guess that frames in RGB, encoded by a stream whose `codec_context.colorspace` is BT.709, become BT.709. The
# tag is written, and the conversion from RGB goes by BT.601 all the same; a player (and PyAV's own decoding, which
# follows the tag) then shows other colours: a red of (200, 30, 30) comes back fourteen levels off. A frame that is
# converted before it is encoded (`reformat(dst_colorspace=...)`) comes back right. Seen with PyAV 18.1.0.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
"${PYTHON:-python3.11}" -m venv venv
venv/bin/python -m pip install -q av==18.1.0 numpy==2.4.6
venv/bin/python - <<'PY'
import av
import numpy as np
from av.video.reformatter import Colorspace

RED = (200, 30, 30)
BT709 = 1  # of ITU-T H.273, in colour primaries, transfer and matrix alike


def there_and_back(*, tagged: bool, converted: bool) -> tuple[int, list[int]]:
    """The tag that arrives, and the colour."""
    with av.open("red.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        if tagged:
            context = stream.codec_context
            context.colorspace = context.color_primaries = context.color_trc = BT709
        frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), RED, np.uint8), format="rgb24")
        if converted:
            frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open("red.mp4") as container:
        frame = next(container.decode(video=0))
        return int(frame.colorspace), frame.to_ndarray(format="rgb24")[32, 32].tolist()


def off(colour: list[int]) -> int:
    return max(abs(found - sent) for found, sent in zip(colour, RED))


print("PyAV", av.__version__)
plain, tagged, converted = (
    there_and_back(tagged=tag, converted=convert) for tag, convert in ((False, False), (True, False), (True, True))
)
print(f"sent {RED}; without a tag {plain}, tagged BT.709 {tagged}, tagged and converted {converted}")
assert off(plain[1]) <= 2
assert tagged[0] == BT709 and off(tagged[1]) >= 10, "the tag is followed now"
assert converted[0] == BT709 and off(converted[1]) <= 2
PY
