"""ONNX's own operators and fixed shapes only, for engines that compile a graph as a whole.

That is Huawei's CANN, which takes operators up to opset 15, and AMD's MIGraphX, which compiles anew
for every shape. The model is two graphs over the same weights: one reads the prompt a chunk at a
time, one makes a token.
"""
