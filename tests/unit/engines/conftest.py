"""A stub server for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.stub_engine import StubEngine, stub_engine


@pytest.fixture
def stub() -> Iterator[StubEngine]:
    with stub_engine() as made:
        yield made
