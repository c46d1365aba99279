"""The machine: processor, memory, bandwidth, installed packages, worker processes."""
