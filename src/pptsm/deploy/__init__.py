"""From Paddle to ONNX, and predicting with it."""
