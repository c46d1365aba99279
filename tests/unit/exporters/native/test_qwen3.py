"""The description of the model, built by a builder that writes down what it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from qdeploy.checkpoint.checkpoint import read_checkpoint
from qdeploy.exporters.native import config
from qdeploy.exporters.native.graph import Builder, Expert
from qdeploy.exporters.native.qwen3 import EMBEDDING, describe
from qdeploy.planning.plan import make_plan
from qdeploy.planning.profile import load_profile
from qdeploy.targets import INTEL_CPU
from tests.support.checkpoints import write_sidecars, write_weights
from tests.support.tiny import DENSE, SPARSE, all_shapes


class Narrator(Builder[str]):
    """Says the model in one line."""

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

    def head_norm(self, x: str, weight: str, heads: int) -> str:
        return f"{self._use(weight)}{heads}({x})"

    def linear(self, x: str, weight: str) -> str:
        return f"{self._use(weight)}({x})"

    def attention(self, layer: int, query: str, key: str, value: str) -> str:
        return f"attention{layer}({query}, {key}, {value})"

    def gated(self, gate: str, up: str) -> str:
        return f"gated({gate}, {up})"

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
    chosen = load_profile("intel-cpu-int8")
    made = make_plan(read_checkpoint(folder), chosen, INTEL_CPU)
    narrator = Narrator()
    describe(narrator, config.read(made))
    return narrator


def test_one_dense_layer(tmp_path: Path) -> None:
    said = tell(DENSE | {"num_hidden_layers": 1}, tmp_path).said
    normed = "input_layernorm(tokens)"
    attended = (
        f"tokens + o_proj(attention0(q_norm4(q_proj({normed})), k_norm2(k_proj({normed})), "
        f"v_proj({normed})))"
    )
    inner = f"post_attention_layernorm({attended})"
    mlp = f"down_proj(gated(gate_proj({inner}), up_proj({inner})))"
    assert said == f"norm({attended} + {mlp})"


VARIANTS = {
    "dense": DENSE,
    "untied": DENSE | {"tie_word_embeddings": False},
    "experts": SPARSE,
    "every other layer has experts": SPARSE | {"decoder_sparse_step": 2},
    "one layer has none": SPARSE | {"mlp_only_layers": [1]},
}


@pytest.mark.parametrize("raw", VARIANTS.values(), ids=VARIANTS.keys())
def test_every_tensor_of_a_checkpoint_is_used(raw: dict[str, Any], tmp_path: Path) -> None:
    used = tell(raw, tmp_path).used
    assert set(used) == set(all_shapes(raw))
    twice = {name for name in used if used.count(name) > 1}
    assert twice == ({EMBEDDING} if raw["tie_word_embeddings"] else set())
