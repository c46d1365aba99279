"""Small checkpoints whose tensors are stored in another way: renamed, stacked, left out."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import check_weights, open_weights
from tests.support import tiny
from tests.support.checkpoints import write_sidecars
from tests.support.tiny import SPARSE
from tests.support.weights import RawTensor, f32, save


def write(
    folder: Path, config: dict[str, Any], change: Callable[[dict[str, Any]], Any]
) -> Checkpoint:
    """A checkpoint of the config whose tensors were changed; read and checked."""
    write_sidecars(folder, config)
    made: dict[str, Any] = dict(tiny.draw(config))
    made = change(made) or made
    raw = {n: v if isinstance(v, RawTensor) else f32(v) for n, v in made.items()}
    save(folder / "model.safetensors", raw)
    found = read_checkpoint(folder)
    check_weights(found)
    return found


def values(found: Checkpoint) -> dict[str, NDArray[np.float32]]:
    """Every weight of a checkpoint, by name."""
    with open_weights(found) as source:
        return {name: source.rows(name) for name in source.names}


def assert_same(found: Checkpoint, config: dict[str, Any]) -> None:
    """Assert that a checkpoint has the weights that were drawn for *config*, and no others."""
    wanted, held = tiny.draw(config), values(found)
    assert held.keys() == wanted.keys()
    assert all(np.array_equal(held[name], wanted[name]) for name in wanted)


def renamed(pattern: str, new: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A change: every name with what matches *pattern* replaced."""
    return lambda made: {re.sub(pattern, new, name): value for name, value in made.items()}


def fuse(made: dict[str, Any], *, suffix: str = "", whole: bool = True) -> dict[str, Any]:
    """The experts of each layer in stacks: gate and up in one if *whole*."""
    rest = {name: value for name, value in made.items() if ".experts." not in name}
    for layer in range(SPARSE["num_hidden_layers"]):
        place = f"model.layers.{layer}.mlp.experts."
        if f"{place}0.up_proj.weight" not in made:
            continue
        gate, up, down = (
            np.stack([made[f"{place}{e}.{n}_proj.weight"] for e in range(SPARSE["num_experts"])])
            for n in ("gate", "up", "down")
        )
        both = {"gate_up_proj": np.concatenate([gate, up], 1)}
        stacks = both if whole else {"gate_proj": gate, "up_proj": up}
        rest |= {place + n + suffix: v for n, v in (stacks | {"down_proj": down}).items()}
    return rest
