"""Sources: where one weight of a checkpoint is stored, and how its values are read from there.

base         the contract
plain        floats as they are, a whole tensor or some rows of it
rows         some rows of another weight
fp8, fp4     8-bit and 4-bit floats with scales
integers     small integers in bytes or in words
codes        integer codes with scales and zero points
scales       their scales
bitsandbytes four-bit codes of a table of values
same         whether two tensors hold the same values
unreadable   what contradicts its settings
safetensors  one safetensors file, mapped into memory
dtypes       the stored data types and their conversion to float32
"""
