"""Energies of gradients are those of torch's automatic differentiation, in float64."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdeploy.architectures.base import Architecture
from qdeploy.architectures.decoder import Decoder
from qdeploy.architectures.graph import Builder, Expert, GraphConfig, Linear, V
from qdeploy.calibration.importance.importance import capped, token_importance
from qdeploy.calibration.importance.labels import uniforms
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import WeightReader, open_weights
from tests.support import tiny
from tests.support.evaluating import no_progress
from tests.support.tiny import DENSE, LLAMA, QWEN2, SPARSE

torch = pytest.importorskip("torch", reason="needs qdeploy[torch]")

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
SCALED = {"rope_scaling": YARN, "max_position_embeddings": 131072}
VARIANTS: dict[str, dict[str, Any]] = {
    "dense": DENSE,
    "untied": DENSE | {"tie_word_embeddings": False},
    "yarn": DENSE | SCALED,
    "experts": SPARSE,
    "routing weights as they are": SPARSE | {"norm_topk_prob": False},
    "every second layer": SPARSE | {"decoder_sparse_step": 2},
    "qwen2": QWEN2,
    "llama": LLAMA,
}
SEQUENCES = [np.random.default_rng(k).integers(0, 2000, 13 + 7 * k).tolist() for k in range(3)]
ROUNDING = 1e-3
Tensor = Any


class Autograd(Builder[Tensor]):
    """The model in torch, for one sequence. Every expert computes all tokens."""

    def __init__(self, source: WeightReader, config: GraphConfig, ids: Sequence[int]) -> None:
        self._source, self._config, self._ids = source, config, list(ids)
        self.outputs: list[tuple[tuple[str, ...], Tensor]] = []
        """Results of linear layers, and the names of the weights that they count for."""

    def weight(self, name: str) -> Tensor:
        return torch.from_numpy(self._source.rows(name)).double()

    def embedding(self, weight: str) -> Tensor:
        return self.weight(weight)[self._ids].requires_grad_()

    def rms_norm(self, x: Tensor, weight: str) -> Tensor:
        mean = x.square().mean(-1, keepdim=True)
        return x * torch.rsqrt(mean + self._config.epsilon) * self.weight(weight)

    def qk_norm(self, x: Tensor, weight: str, heads: int) -> Tensor:
        return self.rms_norm(x.unflatten(-1, (heads, -1)), weight).flatten(-2)

    def linear(self, x: Tensor, layer: Linear) -> Tensor:
        return self.linears(x, [layer])[0]

    def linears(self, x: Tensor, layers: Sequence[Linear]) -> list[Tensor]:
        names = tuple(layer.weight for layer in layers)
        return [
            self._kept(
                names, self._product(x, layer.weight, self.weight(layer.bias) if layer.bias else 0)
            )
            for layer in layers
        ]

    def attention(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        query, key, value = (
            x.unflatten(-1, (-1, self._config.head_dim)).transpose(0, 1)
            for x in (query, key, value)
        )
        return torch.nn.functional.scaled_dot_product_attention(
            self._turned(query), self._turned(key), value, is_causal=True, enable_gqa=True
        ).transpose(0, 1).flatten(1)  # fmt: skip

    def swiglu(self, gate: Tensor, up: Tensor) -> Tensor:
        return torch.nn.functional.silu(gate) * up

    def experts(self, x: Tensor, router: str, experts: Sequence[Expert]) -> Tensor:
        shares = self._product(x, router).softmax(-1)
        best, which = shares.topk(self._config.top_k, -1)
        if self._config.renormalize:
            best = best / best.sum(-1, keepdim=True)
        weights = torch.zeros_like(shares).scatter(-1, which, best)
        inner = (router, *(name for e in experts for name in (e.gate, e.up)))
        out = torch.zeros_like(x)
        for number, expert in enumerate(experts):
            gate, up = (
                self._kept(inner, self._product(x, name)) for name in (expert.gate, expert.up)
            )
            said = self._product(self.swiglu(gate, up), expert.down)
            out = out + weights[:, number, None] * said
        return self._kept(tuple(e.down for e in experts), out)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y

    def logits(self, x: Tensor, weight: str) -> None:
        self._kept((weight,), self._product(x, weight))

    def _product(self, x: Tensor, weight: str, bias: Tensor | int = 0) -> Tensor:
        return x @ self.weight(weight).T + bias

    def _kept(self, names: tuple[str, ...], output: Tensor) -> Tensor:
        output.retain_grad()
        self.outputs.append((names, output))
        return output

    def _turned(self, x: Tensor) -> Tensor:
        cos, sin = (torch.from_numpy(a).double() for a in self._config.rope.table(x.shape[1]))
        left, right = x.chunk(2, -1)
        return torch.cat([left * cos - right * sin, right * cos + left * sin], -1)


def wanted(
    source: WeightReader, architecture: Architecture, config: GraphConfig, seed: int
) -> dict[str, Any]:
    """Energies of all tokens by weight, float64 [T]."""
    drawn = np.split(uniforms(SEQUENCES, seed), np.cumsum([len(ids) for ids in SEQUENCES])[:-1])
    found: dict[str, list[Any]] = {}
    for ids, numbers in zip(SEQUENCES, drawn, strict=True):
        build = Autograd(source, config, ids)
        architecture.build(build, config)
        logits = build.outputs[-1][1]
        sums = logits.detach().softmax(-1).cumsum(-1)
        labels = torch.searchsorted(sums, torch.from_numpy(numbers)[:, None])[:, 0]
        torch.nn.functional.cross_entropy(logits, labels, reduction="sum").backward()
        energies: dict[str, Any] = {}
        for names, output in build.outputs:
            for name in names:
                energies[name] = energies.get(name, 0) + output.grad.square().sum(-1).numpy()
        for name, energy in energies.items():
            found.setdefault(name, []).append(energy)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def compare(folder: Path, architecture: Architecture | None = None) -> None:
    found = read_checkpoint(folder)
    family = architecture or found.architecture
    config = found.decoder.graph(found.config.rope_scaling)
    with open_weights(found) as source:
        made = token_importance(
            source, family, config, SEQUENCES, seed=5, folder=folder / "kept", progress=no_progress
        )
        energies = wanted(source, family, config, seed=5)
    assert energies.keys() == made.shares.keys()
    for name, energy in energies.items():
        np.testing.assert_allclose(made.of(name), capped(energy), rtol=ROUNDING, err_msg=name)


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())
def test_variants(config: dict[str, Any], tmp_path: Path) -> None:
    compare(tiny.write(tmp_path / "it", config))


class Parallel(Decoder):
    """x + attention(norm(x)) + mlp(norm(x)): no two blocks of a layer follow each other."""

    name = "parallel"

    def _layer(self, build: Builder[V], config: GraphConfig, layer: int, x: V) -> V:
        prefix = f"model.layers.{layer}."
        normed = build.rms_norm(x, prefix + "input_layernorm.weight")
        attended = self._attention(build, config, layer, f"{prefix}self_attn.", normed)
        return build.add(
            build.add(x, attended), self.mlp(build, config, layer, f"{prefix}mlp.", normed)
        )


@pytest.mark.parametrize("layers", [2, 3])
def test_attention_beside_the_feed_forward_block(layers: int, tmp_path: Path) -> None:
    compare(tiny.write(tmp_path / "it", LLAMA | {"num_hidden_layers": layers}), Parallel())
