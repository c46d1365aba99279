"""Kernels of CPUs: torch's operators for few rows, and bfloat16's matrix product for many.

int4         four-bit weights
layouts      how the int4 operator's packing lays codes out, which differs by processor
int8         eight-bit weights, with float or int8 inputs
switching    a layer that has both ways, and from how many rows on the other one is faster
"""
