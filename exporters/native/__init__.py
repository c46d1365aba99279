"""The native exporter: builds graphs from `qdeploy.architectures` and streams the weights.

It needs no deep-learning framework. `exporter` drives one export; `openvino`, `onnx`, `onnx_static`
and `safetensors` are one bundle format each; `weights_file` lays out and writes the weights;
`tokenizer` reads `tokenizer.json` for the formats whose runtimes need a tokenizer of their own.
"""

from qdeploy.exporters.native.exporter import NativeExporter

__all__ = ["NativeExporter"]
