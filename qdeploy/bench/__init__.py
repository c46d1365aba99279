"""Benchmarks by a written protocol: see docs/benchmarking.md for it in words."""
