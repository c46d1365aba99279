"""ONNX Runtime and its execution providers: CPU, CUDA, TensorRT for RTX, WebGPU and others.

providers   which providers serve which target, what each takes: a table
devices     whether it is there, and why not
drivers, masks
            what the vendors' own means list, and what is hidden of it
growing, static, genai
            three ways to run a model: two loops of qdeploy's own, and onnxruntime-genai's
caching     where providers keep what they compiled
placement   where every node went

The runtime is imported inside functions, so importing this package costs next to nothing.
"""

from qdeploy.backends.onnxruntime.backend import OnnxRuntimeBackend

__all__ = ["OnnxRuntimeBackend"]
