"""Quantizes float matrices to integer codes, scales and zero points, the same for every format.

matrix     quantizes a whole matrix
rounding   the integer grid, and scales from the range of each group
fp8        8-bit floats with one scale a row
search     scales with less error, found without data
workspace  buffers for both, a tile at a time
packing    two four-bit codes a byte; signed codes as unsigned ones
threads    runs blocks on several threads; results in order, bounded memory
"""

from qdeploy.exporters.quantize.matrix import quantize
from qdeploy.exporters.quantize.packing import offset_binary, pack4, unpack4
from qdeploy.exporters.quantize.threads import in_order
from qdeploy.quantization.quantized import Quantized

__all__ = ["Quantized", "in_order", "offset_binary", "pack4", "quantize", "unpack4"]
