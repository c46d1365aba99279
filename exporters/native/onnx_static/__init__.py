"""The format `onnx-static`: standard operators and fixed shapes, for compiling engines.

Huawei's CANN supports operators up to opset 15; AMD's MIGraphX compiles again for every new shape.
The model is two graphs over the same weights: one processes the prompt in chunks of a fixed size,
the other one token at a time.
"""
