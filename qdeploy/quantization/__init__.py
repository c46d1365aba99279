"""What a quantized weight is, and how a float matrix becomes one, the same for every format.

precision  element type, symmetry and group size
quantized  codes, scales and zero points
matrix     quantizes a whole matrix
rounding   the integer grid, and scales from the range of each group
e4m3, fp8  8-bit floats; rounding to them with one scale a row
search     scales with less error, found without data
workspace  buffers for both, a tile at a time
packing    two four-bit codes a byte; signed codes as unsigned ones
"""
