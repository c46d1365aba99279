"""What is checked before an export."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdeploy.checkpoint import preflight
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.errors import CheckpointError
from tests.support.checkpoints import write_checkpoint


def test_an_adapter_in_the_models_folder_counts_only_on_request(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path)
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    preflight.check(read_checkpoint(folder))
    (folder / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="a model and an adapter") as caught:
        preflight.check(read_checkpoint(folder))
    assert "--adapter" in (caught.value.fix or "")
    (folder / "adapter_config.json").unlink()
    preflight.check(read_checkpoint(folder))
