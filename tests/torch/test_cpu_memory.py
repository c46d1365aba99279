"""The embedded models on the CPU take the memory that was planned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import qdeploy
from qdeploy.backends.torch.accelerators.cpu import Cpu
from qdeploy.backends.torch.cpu_operations import SCORES
from qdeploy.backends.torch.engine.load import load_decoder
from qdeploy.backends.torch.settings import resolve_settings
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.interface import Device, LoadOptions
from qdeploy.planning.device_memory import of_bundle
from qdeploy.targets import CPU

torch: Any = pytest.importorskip("torch")

from tests.support.tensor_memory import MemoryCounter  # noqa: E402

CONTEXT = 1024
SCORE_COPIES = 4 + 4 + 2
"""Bytes for each score: it, its softmax, and that in the type of activations."""


@pytest.mark.parametrize("name", ["qwen3-nano", "qwen3-nano-moe"])
def test_a_prompt_takes_what_was_planned(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    bundle = qdeploy.export(name, output=folder, target=CPU.name, profile="cpu-int4-torch")
    cpu = Cpu("cpu")
    device, options = Device("cpu", "a CPU", CPU.name), LoadOptions(context=CONTEXT)
    settings = resolve_settings(bundle.manifest, cpu, device, options)
    model = of_bundle(
        read_checkpoint(folder), None, longest=CONTEXT, float_bytes=2, chunk=settings.prefill_chunk
    )
    planned = model.memory(range(model.layers), CONTEXT)
    with torch.inference_mode(), MemoryCounter() as memory:
        decoder, _ = load_decoder(folder, cpu, settings)
        held = planned.weights + planned.tables
        assert memory.alive["cpu"] == pytest.approx(held, rel=0.01)
        decoder.begin(CONTEXT)
        memory.restart()
        decoder.feed([1] * (CONTEXT - 1))
    # attention is planned as a fused kernel; here blocks of its scores exist, and float32 copies of
    # queries and keys
    config = model.config
    copied = config.heads * model.chunk + config.kv_heads * CONTEXT
    blocks = SCORE_COPIES * SCORES + 4 * config.head_dim * copied
    assert 0.9 * planned.needed < memory.most["cpu"] < 1.1 * planned.needed + blocks
