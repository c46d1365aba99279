"""OpenVINO: any CPU, Intel GPU and NPU, with generation by openvino-genai.

The runtime is imported inside functions, so importing this package costs next to nothing.
"""

from qdeploy.backends.openvino.backend import OpenVINOBackend

__all__ = ["OpenVINOBackend"]
