"""PP-TSM video action recognition, from raw videos to a checked ONNX file and an accuracy report."""

__version__ = "0.1.0"
