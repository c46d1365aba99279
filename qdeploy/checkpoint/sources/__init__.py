"""Sources: where one weight of a checkpoint is stored, and how its values are read from there.

base         the contract
plain        floats as they are, a whole tensor or some rows of it
rows         some rows of another weight
fp8          8-bit floats with scales
safetensors  one safetensors file, mapped into memory
dtypes       the stored data types and their conversion to float32
"""
