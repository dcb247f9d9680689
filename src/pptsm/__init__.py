"""PP-TSM video action recognition, from raw videos to a checked ONNX file and an accuracy report."""

from pptsm.processor import choose_kernels

__version__ = "0.1.0"

choose_kernels()  # here, because it must come before the first import of Paddle, whichever entrance was taken
