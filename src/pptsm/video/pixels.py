"""A frame's pixels: read from a JPEG, written to one, and resampled. The one place where either is done.

The filter is Pillow's bilinear one, which averages where it shrinks; so were the frames made that the published
checkpoints learned from. OpenCV computes the same where nothing is averaged, several times as fast.
"""

import functools
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pptsm.video.types import Box, Size

ROUNDING_PX = 1e-6  # a box may come out of its arithmetic this much too wide


@functools.cache
def _cv2() -> ModuleType:
    import cv2

    cv2.setNumThreads(1)  # several processes work side by side, one on a core
    return cv2


def resized(frame: NDArray[np.uint8], size: Size, box: Box | None = None) -> NDArray[np.uint8]:
    """A frame [H, W, 3], or a box of it with sides of any fraction of a pixel, in another size.

    Its pixels are Pillow's: exactly where a side shrinks (OpenCV's filters that average differ by up to 30 levels of
    255), otherwise to within one level.
    """
    height, width = frame.shape[:2]
    left, top, right, bottom = box or (0.0, 0.0, float(width), float(height))
    if box is None and (width, height) == size:
        return frame
    if right - left > size[0] + ROUNDING_PX or bottom - top > size[1] + ROUNDING_PX:
        return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR, box=box))
    cv2 = _cv2()
    if box is None:
        return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR))
    # the middle of a pixel of the outcome lies at this place of the frame, counted between the middles of its pixels
    step_x, step_y = (right - left) / size[0], (bottom - top) / size[1]
    place = np.array([[step_x, 0, left + step_x / 2 - 0.5], [0, step_y, top + step_y / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    padded = cv2.cvtColor(frame, cv2.COLOR_RGB2RGBA)  # of four channels OpenCV makes the same in a third of the time
    warped = cv2.warpAffine(padded, place, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB))


def mirrored(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A frame [H, W, 3], left and right exchanged."""
    return np.asarray(_cv2().flip(frame, 1))  # numpy's own way, with negative steps, takes several times as long


def split_into(planes: NDArray[np.uint8], frame: NDArray[np.uint8]) -> None:
    """Write a frame [H, W, 3], which may be part of a larger one, into its channels [3, H, W]."""
    _cv2().split(frame, list(planes))


def encode_jpeg(frame: NDArray[np.uint8], quality: int) -> bytes:
    """JPEG of a frame [H, W, 3]: byte for byte Pillow's, in less time."""
    cv2 = _cv2()
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])


def decode_sound_jpeg(data: bytes) -> NDArray[np.uint8]:
    """The frame [H, W, 3] of a JPEG from elsewhere: the pixels of `decode_jpeg`, but only of a file without a fault.

    Where libjpeg goes on with a warning (data that ends early or late, codes that do not exist), OpenCV and Pillow make
    a picture of it. A change that leaves another valid picture nobody can notice (docs/log/2026-11.md).

    Raises:
        ValueError: saying what is wrong.
    """
    import simplejpeg

    if simplejpeg.decode_jpeg_header(data)[2] != "CMYK":
        return np.asarray(simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True))
    converted = _decoded_anyhow(data)  # inks become light in another way there, which archives are read in
    if converted is None:
        raise ValueError("its colours cannot be read")
    return converted


def decode_jpeg(data: bytes) -> NDArray[np.uint8] | None:
    """The frame [H, W, 3] of a JPEG, bit for bit as Pillow decodes it; None where the data is damaged or cut off."""
    try:
        return decode_sound_jpeg(data)  # in nine tenths of OpenCV's time
    except ValueError:
        return _decoded_anyhow(data)


def _decoded_anyhow(data: bytes) -> NDArray[np.uint8] | None:
    cv2 = _cv2()
    # as stored: the frames of an archive stand upright, whatever a camera wrote beside one
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    frame = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    return None if frame is None else np.asarray(frame)
