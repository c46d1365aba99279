"""Export through optimum-intel and NNCF: more time and memory than the native exporter, any model.

optimum-intel traces the PyTorch model into a float OpenVINO graph, NNCF quantizes it weight by
weight as the plan says, and the result is read back and compared with the plan. Each step runs in
a worker process of its own, so that torch's memory, prints and crashes stay out of the caller's.
"""

from qdeploy.exporters.optimum.exporter import OptimumExporter

__all__ = ["OptimumExporter"]
