"""vLLM: its environment, its commands, and its ways to spread a model.

nodes         a server on several machines: command lines and environments of its processes
accelerators  what differs by hardware where there are several machines
overlay       what vLLM for CPUs needs beside it there
ray_on_cpu    a plugin of vLLM in the overlay
"""
