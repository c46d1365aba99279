"""Runs the float model and the quantized one side by side, and calibrates layer by layer.

builder  both models, described as any other graph
weights  the weights of both, and the calibration of linear layers
mixture  the calibration of experts
moments  second moments of inputs, summed over tokens
arrays   activations, in memory or in temporary files
streams  the residual streams on the disk
"""
