"""Measures memory bandwidth and the float32 rate of matrix products, in a second or two.

Decode reads every weight once a token, so memory bandwidth limits it. Prefill multiplies many rows
by each weight, so the rate of multiplication limits it. Both are measured with NumPy alone, without
any inference runtime.

The fastest of several passes counts, as in STREAM (McCalpin, https://www.cs.virginia.edu/stream/),
because interference can only slow a pass down.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from qdeploy.system import info
from qdeploy.system.threads import usable_threads

READ_BYTES = 2**30
"""Several times the CPU's caches. Servers have 480 MiB and more; a smaller array would measure the
cache."""
PART = 8
"""The array takes at most one part in so many of the memory."""
MATRIX = 1536
"""Rows and columns of the float32 matrices: 9 MiB each, large enough for a BLAS to reach its
full rate."""
PASSES = 5


def read_bytes_per_s(nbytes: int | None = None, passes: int = PASSES) -> float:
    """Return the read bandwidth of all usable cores in bytes a second, the best of *passes*.

    Every core reduces its own part of one array, eight bytes at a time, so that memory and not the
    instructions is the limit. NumPy releases the GIL meanwhile. The array has *nbytes* bytes; None
    is `READ_BYTES`, or less on a machine with little memory.
    """
    if nbytes is None:
        memory = info.usable_memory_bytes()
        nbytes = min(READ_BYTES, memory // PART) if memory else READ_BYTES
    cores = usable_threads()
    words = max(nbytes // 8, cores)
    # ones, not zeros: pages that were never written map to one page of zeros, which stays cached
    parts = np.array_split(np.ones(words, np.uint64), cores)
    with ThreadPoolExecutor(cores) as pool:
        return 8 * words / _fastest(lambda: list(pool.map(np.bitwise_or.reduce, parts)), passes)


def float32_flops_per_s(side: int = MATRIX, passes: int = PASSES) -> float:
    """Return the float32 operations a second of NumPy's matrix product, the best of *passes*.

    The product of two square matrices of *side* rows takes 2 * side**3 operations. The BLAS that
    NumPy was built with decides how many cores compute them. int8 is not measured: NumPy multiplies
    integers in a plain loop, which says nothing about the CPU.
    """
    left = np.random.default_rng(0).standard_normal((side, side), dtype=np.float32)
    product = np.empty_like(left)
    return 2 * side**3 / _fastest(lambda: np.matmul(left, left, out=product), passes)


def _fastest(work: Callable[[], object], passes: int) -> float:
    """Return the seconds of the fastest of *passes* runs, after a warm-up run."""
    work()
    seconds = []
    for _ in range(max(passes, 1)):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return max(min(seconds), 1e-9)
