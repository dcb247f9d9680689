#!/usr/bin/env bash
# Pillow's `resize(size, box=box)` is not `crop(box).resize(size)`: it looks at pixels outside of the box.
#
# One would guess that both resample the same pixels, and that the first only saves a copy. At the edges of the box the
# filter's support reaches into the frame around it, shrinking and growing alike: beside a white half, a black half that
# is resampled as a box has a grey border of up to 64 levels, and none as a crop. Seen with Pillow 13.0.0.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
"${PYTHON:-python3.11}" -m venv venv
venv/bin/python -m pip install -q pillow==13.0.0 numpy==2.4.6
venv/bin/python - <<'PY'
import numpy as np
import PIL
from PIL import Image

print("Pillow", PIL.__version__)
pixels = np.zeros((8, 16), np.uint8)
pixels[:, 8:] = 255
image, black_half = Image.fromarray(pixels), (0, 0, 8, 8)
for size in ((16, 16), (4, 4)):
    boxed = np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=black_half))
    cropped = np.asarray(image.crop(black_half).resize(size, Image.Resampling.BILINEAR))
    print(f"8x8 to {size}: as a box the last column is {boxed[0, -1]}, as a crop {cropped[0, -1]}")
    assert not cropped.any()
    assert boxed[:, -1].min() > 30 and not boxed[:, :-1].any(), "a box ends at its edges now"
PY
