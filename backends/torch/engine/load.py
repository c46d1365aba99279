"""Loads a bundle: its weights on the devices, and the program that multiplies by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from qdeploy.architectures.base import Architecture
from qdeploy.architectures.graph import GraphConfig
from qdeploy.backends.torch.accelerators.base import Accelerator
from qdeploy.backends.torch.engine.cache import Cache
from qdeploy.backends.torch.engine.decoder import Decoder
from qdeploy.backends.torch.engine.layers import place_layers
from qdeploy.backends.torch.engine.loader import Loader
from qdeploy.backends.torch.engine.recorder import Recorder, Weights
from qdeploy.backends.torch.settings import Settings
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import open_weights


def load_decoder(
    folder: Path, accelerator: Accelerator, settings: Settings
) -> tuple[Decoder, Mapping[str, int]]:
    """Load the bundle in *folder*.

    Returns:
        The decoder, and how many layers each kernel holds, by its name.

    Raises:
        OutOfMemory: it does not fit on the devices; no weight is read then.
        InputError: there are more devices than layers.
    """
    checkpoint = read_checkpoint(folder, name=folder.name)
    config = checkpoint.graph(settings.rope_scaling)
    devices = place_layers(checkpoint, accelerator, settings)
    sources = {weight.name: weight.source for weight in checkpoint.weights}
    precisions = {n: s.precision for n, s in sources.items() if s.precision}
    reader = open_weights(checkpoint)
    with closing(
        Loader(reader, precisions, accelerator, settings.dtype, settings.activations)
    ) as loader:
        decoder = build_decoder(
            checkpoint.architecture, config, loader, accelerator, settings, devices
        )
    return decoder, loader.kernels


def build_decoder(
    architecture: Architecture,
    config: GraphConfig,
    weights: Weights,
    accelerator: Accelerator,
    settings: Settings,
    devices: Sequence[str],
) -> Decoder:
    """Record the program of an architecture, with its weights on *devices*, one for each layer."""
    import torch

    dtype = getattr(torch, settings.dtype)
    like = [torch.empty(0, dtype=dtype).to(device) for device in devices]
    cache = Cache(like, config.kv_heads, config.head_dim)
    with torch.inference_mode():
        recorder = Recorder(config, weights, accelerator.operations(), devices, cache)
        architecture.build(recorder, config)
        program, head = recorder.recorded()
        return Decoder(
            program,
            head,
            cache,
            config,
            devices,
            context=settings.context,
            chunk=settings.prefill_chunk,
            dtype=dtype,
        )
