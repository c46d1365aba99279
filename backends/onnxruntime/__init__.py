"""ONNX Runtime and its execution providers: CPU, CUDA, TensorRT for RTX, WebGPU and others.

providers      which providers serve which target, and the options of each: a table
devices        whether a target's device is present, and why not
peer           onnxruntime-genai by itself, for `qdeploy bench --peer`
simulated_devices
               targets that run on another provider on request
genai, dynamic_decoder, static_decoder
               three loops: onnxruntime-genai's, and qdeploy's own for two kinds of graphs
batching, slots
               a loop that serves many requests at once, and their caches
compile_cache  where providers keep what they compiled
placement      which provider each node was assigned to

The runtime is imported inside functions, so importing this package costs next to nothing.
"""

from qdeploy.backends.onnxruntime.backend import OnnxRuntimeBackend

__all__ = ["OnnxRuntimeBackend"]
