"""Fixtures: the real command, and bundles of the scripted runtime."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest

from tests.support.bundles import profile_text, scripted_bundle
from tests.support.checkpoints import write_checkpoint
from tests.support.command import Command, QuickCommand
from tests.support.plugins import SCRIPTED, write_distribution
from tests.support.real import qdeploy as real_qdeploy

ANSWER = "<think>\nTwo and two.\n</think>\n\n4 汉🚀"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # background jobs of a shell script ignore SIGINT, and the commands under test inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugins")
    write_distribution(folder, "scripted", SCRIPTED)
    return folder


@pytest.fixture
def qdeploy(tmp_path: Path, plugins: Path) -> Command:
    folder = tmp_path / "here"
    folder.mkdir()
    return Command(folder, plugins)


@pytest.fixture
def quick(qdeploy: Command) -> QuickCommand:
    return QuickCommand(qdeploy.folder, qdeploy.plugins)


@pytest.fixture
def here(qdeploy: Command) -> Path:
    """The command's working directory."""
    return qdeploy.folder


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for the scripted target, which tests must not change."""
    return scripted_bundle(tmp_path_factory.mktemp("pristine") / "bundle", answer=ANSWER).path


@pytest.fixture
def bundle(pristine: Path, here: Path) -> Path:
    """A bundle that a test may change."""
    return Path(shutil.copytree(pristine, here / "bundle"))


@pytest.fixture
def model(here: Path) -> Path:
    """A small checkpoint that a test may change."""
    return write_checkpoint(here / "model")


@pytest.fixture
def scripted_toml(here: Path) -> Path:
    """A profile for the scripted target."""
    file = here / "scripted.toml"
    file.write_text(profile_text(answer=ANSWER), encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def nano_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """qwen3-nano, exported by the real command to int4 for the CPU."""
    folder = tmp_path_factory.mktemp("real") / "nano"
    where = ("--target", "cpu", "--backend", "openvino")
    done = real_qdeploy("export", "qwen3-nano", *where, "-o", str(folder))
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return folder


@pytest.fixture
def adapter(model: Path) -> Path:
    """An adapter for the small checkpoint, which it names as its base."""
    import numpy as np
    from safetensors.numpy import save_file

    folder = model.parent / "adapter"
    folder.mkdir()
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight".format
    halves = {
        name("A"): np.ones((2, 256), np.float32),
        name("B"): np.ones((512, 2), np.float32),
    }
    save_file(halves, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2,
              "base_model_name_or_path": str(model)}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder
