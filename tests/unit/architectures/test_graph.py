"""The graphs of the families, built by a builder that writes them down as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from qdeploy.architectures.decoder import EMBEDDING
from qdeploy.architectures.graph import Builder, Expert, GraphConfig, Linear, V
from qdeploy.architectures.qwen3_moe import Qwen3Moe, Qwen3MoeConfig
from qdeploy.checkpoint.read import read_checkpoint
from tests.support.checkpoints import write_sidecars, write_weights
from tests.support.tiny import DENSE, LLAMA, QWEN2, SPARSE, all_shapes


class Narrator(Builder[str]):
    """Writes the model in one line."""

    def __init__(self) -> None:
        self.used: list[str] = []
        self.said = ""

    def _use(self, weight: str) -> str:
        self.used.append(weight)
        return weight.removesuffix(".weight").rpartition(".")[2]

    def embedding(self, weight: str) -> str:
        self._use(weight)
        return "tokens"

    def rms_norm(self, x: str, weight: str) -> str:
        return f"{self._use(weight)}({x})"

    def qk_norm(self, x: str, weight: str, heads: int) -> str:
        return f"{self._use(weight)}{heads}({x})"

    def linear(self, x: str, layer: Linear) -> str:
        biased = " + " + self._use(layer.bias) if layer.bias else ""
        return f"{self._use(layer.weight)}({x}{biased})"

    def attention(self, layer: int, query: str, key: str, value: str) -> str:
        return f"attention{layer}({query}, {key}, {value})"

    def swiglu(self, gate: str, up: str) -> str:
        return f"swiglu({gate}, {up})"

    def experts(self, x: str, router: str, experts: Sequence[Expert]) -> str:
        for expert in experts:
            self.used += [expert.gate, expert.up, expert.down]
        return f"{len(experts)} experts({x}, {self._use(router)})"

    def add(self, x: str, y: str) -> str:
        if "tokens" in x and len(x) > 200:
            x = "x"  # what was said before
        return f"{x} + {y}"

    def logits(self, x: str, weight: str) -> None:
        self._use(weight)
        self.said = x


def tell(raw: Mapping[str, Any], folder: Path) -> Narrator:
    write_sidecars(folder, raw)
    write_weights(folder / "model.safetensors", all_shapes(raw))
    checkpoint = read_checkpoint(folder)
    narrator = Narrator()
    checkpoint.architecture.build(narrator, checkpoint.decoder.graph(None))
    return narrator


def test_one_dense_layer(tmp_path: Path) -> None:
    said = tell(DENSE | {"num_hidden_layers": 1}, tmp_path).said
    normed = "input_layernorm(tokens)"
    attended = (
        f"tokens + o_proj(attention0(q_norm4(q_proj({normed})), k_norm2(k_proj({normed})), "
        f"v_proj({normed})))"
    )
    inner = f"post_attention_layernorm({attended})"
    mlp = f"down_proj(swiglu(gate_proj({inner}), up_proj({inner})))"
    assert said == f"norm({attended} + {mlp})"


VARIANTS = {
    "dense": DENSE,
    "untied": DENSE | {"tie_word_embeddings": False},
    "experts": SPARSE,
    "every other layer has experts": SPARSE | {"decoder_sparse_step": 2},
    "one layer has none": SPARSE | {"mlp_only_layers": [1]},
    "qwen2": QWEN2,
    "llama": LLAMA,
}


@pytest.mark.parametrize("raw", VARIANTS.values(), ids=VARIANTS.keys())
def test_every_tensor_of_a_checkpoint_is_used(raw: dict[str, Any], tmp_path: Path) -> None:
    used = tell(raw, tmp_path).used
    assert set(used) == set(all_shapes(raw))
    twice = {name for name in used if used.count(name) > 1}
    assert twice == ({EMBEDDING} if raw["tie_word_embeddings"] else set())


class RenamedExperts(Qwen3Moe):
    """A family whose experts have other names than transformers' usual ones."""

    def mlp(self, build: Builder[V], config: GraphConfig, layer: int, prefix: str, x: V) -> V:
        names = [f"{prefix}specialist{number}" for number in range(config.experts)]
        experts = [Expert(f"{n}.one", f"{n}.three", f"{n}.two") for n in names]
        return build.experts(x, f"{prefix}choice", experts)


def test_the_graph_says_which_tensors_belong_to_experts_and_which_route() -> None:
    config = Qwen3MoeConfig.model_validate(SPARSE)
    tensors = RenamedExperts().tensors(config.graph(None))
    experts = {name for name, tensor in tensors.items() if tensor.expert}
    assert experts == {name for name in tensors if ".specialist" in name}
    assert len(experts) == 3 * config.num_hidden_layers * SPARSE["num_experts"]
    routers = [name for name, tensor in tensors.items() if tensor.role == "router"]
    assert routers == [f"model.layers.{n}.mlp.choice" for n in range(config.num_hidden_layers)]
