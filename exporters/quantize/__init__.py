"""One float matrix in, integer codes, scales and zero points out: the same for every format.

rounding   what an integer format can hold, and the plain way to fill it from each group's range
search     better scales than the plain ones, found without data
workspace  buffers for both, a tile at a time
matrix     both over a whole matrix
packing    two four-bit codes a byte
threads    blocks on several threads, results in order, memory bounded
"""

from qdeploy.exporters.quantize.matrix import quantize
from qdeploy.exporters.quantize.packing import pack4, unpack4
from qdeploy.exporters.quantize.quantized import Quantized
from qdeploy.exporters.quantize.threads import in_order

__all__ = ["Quantized", "in_order", "pack4", "quantize", "unpack4"]
