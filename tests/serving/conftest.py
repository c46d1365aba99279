"""Fixtures: a bundle whose answers a test writes down."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdeploy import models
from qdeploy.bundle import Bundle
from tests.support.bundles import scripted_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle with the tokenizer and chat template of qwen3-nano."""
    return scripted_bundle(
        tmp_path_factory.mktemp("served") / "bundle", Path(models.path("qwen3-nano"))
    )
