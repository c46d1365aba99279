"""The machine: processor, memory, bandwidth, installed packages, child processes."""
