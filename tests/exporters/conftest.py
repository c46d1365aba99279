"""Tiny checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support import tiny


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a tiny checkpoint: `made(config)` gives its folder."""

    def make(config: Mapping[str, Any], seed: int = 0) -> Path:
        return tiny.write(tmp_path_factory.mktemp("checkpoint") / "tiny", config, seed)

    return make
