"""Kernels that PyTorch has for CUDA and HIP devices, by the type of weights.

    int4          `_weight_int4pack_mm`: weights of 4 bits, bfloat16 inputs
    int8          `_weight_int8pack_mm`: weights of 8 bits, float inputs; `_int_mm`: int8 inputs
    fp8           `_scaled_mm`: 8-bit floats, weights and inputs
    experts       experts of 4 bits: `_weight_int4pack_mm` for few tokens

Limits are those of torch's sources, files of github.com/pytorch/pytorch in
aten/src/ATen/native/cuda. The device's architecture is the accelerator's to check.
"""
