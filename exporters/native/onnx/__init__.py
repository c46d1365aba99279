"""The ONNX formats: what both are written with, and the one with ONNX Runtime's own operators."""
