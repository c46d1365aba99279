"""Measures of this machine. How fast it is, is no business of a test; that it is measured, is."""

from __future__ import annotations

import time

import numpy as np
import pytest

from qdeploy.system import bandwidth, info


class Clock:
    """Time that passes by script: each look at it is the next of *ticks* seconds later."""

    def __init__(self, *ticks: float) -> None:
        self._ticks, self._now = list(ticks), 0.0

    def __call__(self) -> float:
        self._now += self._ticks.pop(0)
        return self._now


def test_the_best_pass_counts_and_the_first_run_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", Clock(0, 3, 1, 2, 1, 4))
    assert bandwidth.read_bytes_per_s(2**20, passes=3) == 2**20 / 2


def test_a_product_of_square_matrices_counts_two_operations_an_element_and_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "perf_counter", Clock(0, 0.5))
    assert bandwidth.float32_flops_per_s(8, passes=1) == 2 * 8**3 / 0.5


def test_every_byte_is_read_once_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    class Spy:
        @staticmethod
        def reduce(part: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> None:
            read.append(part.nbytes)

    monkeypatch.setattr(np, "bitwise_or", Spy)
    bandwidth.read_bytes_per_s(2**16, passes=2)
    assert sum(read) == 3 * 2**16
    assert len(read) == 3 * info.cores()


def test_measuring_takes_a_small_part_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "usable_memory_bytes", lambda: 2**23)
    monkeypatch.setattr(time, "perf_counter", Clock(0, 0.5))
    assert bandwidth.read_bytes_per_s(passes=1) == 2**20 / 0.5


def test_it_measures_something_here() -> None:
    assert bandwidth.read_bytes_per_s(2**20, passes=1) > 0
    assert bandwidth.float32_flops_per_s(32, passes=1) > 0
