"""Runs the float model and the quantized one side by side, and calibrates layer by layer.

builder         both models, described as any other graph
weights         the weights of both, and the calibration of linear layers
mixture         the calibration of experts
moments         second moments of inputs, summed over tokens
rounded_inputs  inputs that are smoothed and rounded, as the kernels will round them
streams         the residual streams on the disk
"""
