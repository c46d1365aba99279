"""Loads a bundle: its weights on the devices, and the program that multiplies by them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from qdeploy.backends.torch.accelerators.base import Accelerator
from qdeploy.backends.torch.engine.cache import Cache
from qdeploy.backends.torch.engine.decoder import Decoder
from qdeploy.backends.torch.engine.loader import Loader
from qdeploy.backends.torch.engine.recorder import Recorder
from qdeploy.backends.torch.settings import Settings
from qdeploy.checkpoint.read import read_checkpoint


def load_decoder(
    folder: Path, accelerator: Accelerator, settings: Settings
) -> tuple[Decoder, Mapping[str, int]]:
    """Load the bundle in *folder*.

    Returns:
        The decoder, and how many layers each kernel holds, by its name.
    """
    import torch

    checkpoint = read_checkpoint(folder, name=folder.name)
    config = checkpoint.graph(settings.rope_scaling)
    devices = [settings.device_of(layer) for layer in range(config.layers)]
    dtype = getattr(torch, settings.dtype)
    like = [torch.empty(0, dtype=dtype).to(device) for device in devices]
    cache = Cache(like, config.kv_heads, config.head_dim)
    with (
        torch.inference_mode(),
        closing(Loader(checkpoint, accelerator, settings.dtype, settings.activations)) as loader,
    ):
        recorder = Recorder(config, loader, accelerator.operations(), devices, cache)
        checkpoint.architecture.build(recorder, config)
        program, head = recorder.recorded()
        decoder = Decoder(
            program,
            head,
            cache,
            config,
            devices,
            context=settings.context,
            chunk=settings.prefill_chunk,
            dtype=dtype,
        )
    return decoder, loader.kernels
