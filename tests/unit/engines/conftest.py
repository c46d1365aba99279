"""A stub server for each test, and stubs of engines as children."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qdeploy.engines.child import Child
from tests.support.engine_child import launch
from tests.support.stub_engine import StubEngine, stub_engine


@pytest.fixture
def stub() -> Iterator[StubEngine]:
    with stub_engine() as made:
        yield made


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Start a stub with habits; it is stopped at the end."""
    begun: list[Child] = []

    def get(*habits: str, **changed: object) -> Child:
        begun.append(Child(launch(tmp_path, *habits, **changed)))
        begun[-1].start()
        return begun[-1]

    yield get
    for one in begun:
        one.stop()
