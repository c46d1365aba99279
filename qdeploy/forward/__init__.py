"""The float model of a checkpoint, computed layer by layer with NumPy; no framework."""
