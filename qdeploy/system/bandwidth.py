"""How fast this machine reads memory and multiplies matrices, measured in a second or two.

Decoding reads every weight once a token, so the speed of reading bounds it; prefill multiplies
many rows by each weight, so the speed of multiplying bounds that. Both are measured with NumPy
alone: a measure of the machine that no inference runtime has a part in.

The best of several passes counts, as in STREAM (McCalpin, https://www.cs.virginia.edu/stream/):
what disturbs a pass only ever slows it down.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from qdeploy.system import info
from qdeploy.system.threads import usable_threads

READ_BYTES = 2**30
"""Several times the processor's caches. Servers have 480 MiB and more, so that less could measure
those."""
PART = 8
"""Of the memory, at most this part is used to measure its speed."""
MATRIX = 1536
"""Rows and columns of the float32 matrices: 9 MiB each, large enough for a BLAS to be at its
best."""
PASSES = 5


def read_bytes_per_s(nbytes: int | None = None, passes: int = PASSES) -> float:
    """Bytes a second that all usable cores together read from memory, the best of *passes*.

    Every core reduces its own part of one array, eight bytes at a time, which takes fewer
    instructions than memory takes time. NumPy lets go of the interpreter's lock meanwhile. The
    array has *nbytes* bytes; with None, `READ_BYTES` where that is a small part of the memory.
    """
    if nbytes is None:
        memory = info.usable_memory_bytes()
        nbytes = min(READ_BYTES, memory // PART) if memory else READ_BYTES
    cores = usable_threads()
    words = max(nbytes // 8, cores)
    # written once: pages that were never written are all one page of zeros, and stay in the cache
    parts = np.array_split(np.ones(words, np.uint64), cores)
    with ThreadPoolExecutor(cores) as pool:
        return 8 * words / _fastest(lambda: list(pool.map(np.bitwise_or.reduce, parts)), passes)


def float32_flops_per_s(side: int = MATRIX, passes: int = PASSES) -> float:
    """Float32 operations a second of NumPy's matrix product, the best of *passes*.

    The product of two square matrices of *side* rows takes 2 * side**3 operations; how many cores
    share them is up to the BLAS that NumPy was built with. There is no such figure for int8: NumPy
    multiplies integers in a plain loop, which would measure NumPy and not the processor.
    """
    left = np.random.default_rng(0).standard_normal((side, side), dtype=np.float32)
    product = np.empty_like(left)
    return 2 * side**3 / _fastest(lambda: np.matmul(left, left, out=product), passes)


def _fastest(work: Callable[[], object], passes: int) -> float:
    """Seconds of the fastest of *passes* runs, after one that does not count."""
    work()
    seconds = []
    for _ in range(max(passes, 1)):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return max(min(seconds), 1e-9)
