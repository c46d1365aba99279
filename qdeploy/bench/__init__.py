"""Benchmarks that follow a written protocol: docs/benchmarking.md describes it."""
