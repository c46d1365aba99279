"""Adapters merged as weights are read: the same model as PEFT's own merge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import check_weights, open_weights
from qdeploy.forward.forward import Forward
from tests.support import peft_adapters as reference
from tests.support import tiny
from tests.support.tiny import DENSE, SPARSE

pytest.importorskip("torch", reason="needs qdeploy[parity]")
pytest.importorskip("peft", reason="needs qdeploy[parity]")

IDS = np.random.default_rng(0).integers(0, 2000, 24).tolist()
DIVERGENCE, ROUNDING = 1e-9, 2e-6
BASES: dict[str, dict[str, Any]] = {
    "tied": DENSE,
    "untied": DENSE | {"tie_word_embeddings": False},
    "experts": SPARSE,
    "biases": tiny.QWEN2,
}
ATTENTION, MLP = ["q_proj", "k_proj", "v_proj", "o_proj"], ["gate_proj", "up_proj", "down_proj"]
STACKS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
BOTH_ENDS = ["embed_tokens", "lm_head"]

Made = Callable[[str], Path]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("bases")
    made: dict[str, Path] = {}

    def write(name: str) -> Path:
        if name not in made:
            made[name] = tiny.write(folder / name, BASES[name])
        return made[name]

    return write


def check(checkpoint: Checkpoint, wanted: Any) -> None:
    """Compare every weight, and the logits of the float reference."""
    check_weights(checkpoint)
    assert checkpoint.config.vocab_size == wanted.get_input_embeddings().weight.shape[0]
    with open_weights(checkpoint) as weights:
        found = {name: weights.rows(name) for name in weights.names}
        assert reference.difference(reference.weights_of(wanted), found) < ROUNDING
        forward = Forward(weights, checkpoint.architecture, checkpoint.decoder.graph(None))
        hidden = forward.hidden([IDS], lambda *_: None)[0]
        logits = forward.logits(hidden)
    assert reference.divergence(reference.logits_of(wanted, IDS), logits) < DIVERGENCE


@pytest.mark.parametrize(
    ("of", "settings"),
    [
        pytest.param("tied", {"target_modules": "all-linear"}, id="all linear layers"),
        pytest.param("untied", {"target_modules": ["lm_head", "v_proj"]}, id="head"),
        pytest.param("untied", {"target_modules": ["embed_tokens", "q_proj"]}, id="embedding"),
        pytest.param("untied", {"target_modules": [*BOTH_ENDS, *ATTENTION]}, id="both ends"),
        pytest.param("tied", {"modules_to_save": BOTH_ENDS}, id="both ends whole, tied"),
        pytest.param("tied", {"modules_to_save": ["embed_tokens"]}, id="embedding whole, tied"),
        pytest.param("tied", {"modules_to_save": ["lm_head"]}, id="head whole, tied"),
        pytest.param(
            "tied",
            {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
            id="embedding whole, kept tied",
        ),
        pytest.param("untied", {"modules_to_save": BOTH_ENDS}, id="both ends whole"),
        pytest.param(
            "untied", {"modules_to_save": ["norm", "input_layernorm"]}, id="norms whole"
        ),
        pytest.param("untied", {"modules_to_save": ["norm"]}, id="all whose names end so"),
        pytest.param("untied", {"trainable_token_indices": [7, 3, 2047]}, id="rows"),
        pytest.param("tied", {"trainable_token_indices": [7, 3, 2047]}, id="rows, tied"),
        pytest.param(
            "untied",
            {"trainable_token_indices": {"embed_tokens": [5], "lm_head": [9, 1]}},
            id="rows of both ends",
        ),
        pytest.param("tied", {"target_modules": MLP, "use_dora": True}, id="dora"),
        pytest.param(
            "untied", {"target_modules": [*BOTH_ENDS, "q_proj"], "use_dora": True},
            id="dora of both ends",
        ),
        pytest.param(
            "tied",
            {"use_rslora": True, "rank_pattern": {"q_proj": 7},
             "alpha_pattern": {".*1.*q_proj": 3}},
            id="patterns, rank-stabilized",
        ),
        pytest.param(
            "tied",
            {"target_modules": ATTENTION, "layers_to_transform": [0, 2],
             "exclude_modules": ["k_proj"]},
            id="some layers",
        ),
        pytest.param("tied", {"init_lora_weights": "orthogonal"}, id="orthogonal"),
        pytest.param("tied", {"init_lora_weights": "mica"}, id="mica"),
        pytest.param("biases", {"bias": "all"}, id="biases"),
        pytest.param("experts", {"target_parameters": STACKS}, id="experts"),
        pytest.param("experts", {"target_parameters": STACKS[:1]}, id="experts' first parameter"),
        pytest.param(
            "experts", {"target_parameters": STACKS[1:], "target_modules": []},
            id="experts' last parameter",
        ),
        pytest.param(
            "experts",
            {"target_parameters": [*STACKS, "mlp.gate.weight"], "use_rslora": True,
             "rank_pattern": {"experts.gate_up_proj": 3}},
            id="router, and experts by patterns",
        ),
        pytest.param(
            "experts", {"target_modules": [*ATTENTION, *MLP]}, id="experts by names of version 4"
        ),
    ],
)  # fmt: skip
def test_it_is_pefts_merge(base: Made, tmp_path: Path, of: str, settings: dict[str, Any]) -> None:
    adapter = reference.train(base(of), tmp_path / "adapter", **settings)
    checkpoint = read_checkpoint(base(of), adapter=adapter)
    check(checkpoint, reference.merged(base(of), adapter))


@pytest.mark.parametrize("of", ["tied", "untied"])
@pytest.mark.parametrize("rows", [2112, 2040])
def test_a_resized_vocabulary(base: Made, tmp_path: Path, of: str, rows: int) -> None:
    adapter = reference.train(base(of), tmp_path / "adapter", rows=rows, modules_to_save=BOTH_ENDS)
    checkpoint = read_checkpoint(base(of), adapter=adapter)
    check(checkpoint, reference.merged(base(of), adapter, rows=rows))
