"""Export by qdeploy itself: the graph is built from the architecture's description, weights stream.

exporter      plan in, bundle out
format        what each format implements
openvino, onnx, onnx_static
              the graph builder and the weight packing of one format each
weights_file  where each weight lies in the file, and the writer that streams them into it
tokenizer     tokenizers for the runtimes' own loops
memory        prediction of the export's peak memory
"""

from qdeploy.exporters.native.exporter import NativeExporter

__all__ = ["NativeExporter"]
