"""Operators of aten that exist for CUDA and HIP devices only, on the CPU.

Each makes the checks of the real operator and those that its kernel relies on without a check, and
says which. The packed int4 layout is our own: only the operator that packs and the one that
multiplies know a layout, here as on the device.

    table         the operators by name
    int4          weights of 4 bits: `_convert_weight_to_int4pack`, `_weight_int4pack_mm`
    int8          weights of 8 bits: `_weight_int8pack_mm`, `_int_mm`
    fp8           `_scaled_mm`
    grouped       `_grouped_mm`

Sources are files of github.com/pytorch/pytorch, as of torch 2.14, in aten/src/ATen/native/cuda.
"""
