"""Export of Qwen3 and Qwen3-MoE by qdeploy itself: the graph said once, the weights streamed.

qwen3      the model, in the words of `builder`
openvino   those words in OpenVINO's format; another format is another folder like it
blob       where every weight will lie in the file, known before the first is read
stream     the weights on their way there: read, quantized, written, forgotten
"""

from qdeploy.exporters.native.exporter import NativeExporter

__all__ = ["NativeExporter"]
