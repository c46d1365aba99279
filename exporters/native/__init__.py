"""Export of Qwen3 and Qwen3-MoE by qdeploy itself: the graph said once, the weights streamed.

qwen3         the model, in the words of `builder`
openvino, onnx, onnx_static
              those words in a format each; another format is another folder like them
encoding      how a format lays out the bytes of a weight
blob          where every weight will lie in the file, known before the first is read
stream        the weights on their way there: read, quantized, written, forgotten
"""

from qdeploy.exporters.native.exporter import NativeExporter

__all__ = ["NativeExporter"]
