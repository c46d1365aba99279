"""The exported graph says what the model says: against NumPy, in float and with the same codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qdeploy.exporters.quantize import quantize
from qdeploy.plan import Plan
from tests.support import forward, tiny
from tests.support.native import FLOAT, export, resolve
from tests.support.running import Model
from tests.support.tiny import DENSE, SPARSE

CLOSE = 3e-5
"""Largest difference of a logit, all of which are below 10: sums are taken in another order."""
QUANTIZED_CLOSE = 1e-3
"""The graph multiplies codes with scales in float16, which kernels do in float32 or not."""

ODD = DENSE | {
    "hidden_size": 72, "intermediate_size": 100, "head_dim": 24, "num_attention_heads": 6,
    "num_key_value_heads": 3, "vocab_size": 2055,
}  # fmt: skip
VARIANTS: dict[str, Mapping[str, Any]] = {
    "tied": DENSE,
    "untied": DENSE | {"tie_word_embeddings": False},
    "odd sizes": ODD,
    "one key-value head for all": DENSE | {"num_key_value_heads": 1},
    "a key-value head each": DENSE | {"num_key_value_heads": 4},
    "experts": SPARSE,
    "experts not renormalized": SPARSE | {"norm_topk_prob": False},
    "every other layer has experts": SPARSE | {"decoder_sparse_step": 2},
    "one layer has none": SPARSE | {"mlp_only_layers": [1]},
}


def tokens(count: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Random tokens, int64 [1, count]."""
    return np.random.default_rng(seed).integers(0, 2000, (1, count))


def reference(config: Mapping[str, Any], ids: NDArray[np.int64]) -> NDArray[np.float32]:
    return forward.logits(config, tiny.draw(config).__getitem__, ids[0].tolist())[None]


@pytest.fixture(scope="module")
def float_model(
    made: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Model]:
    """A variant's float model, compiled once for all tests of it."""

    @cache
    def compiled(variant: str) -> Model:
        place = tmp_path_factory.mktemp("float") / "bundle"
        return Model(export(resolve(made(VARIANTS[variant])), place))

    return compiled


@pytest.mark.parametrize("variant", VARIANTS)
class TestFloat:
    @pytest.fixture
    def model(self, variant: str, float_model: Callable[[str], Model]) -> Model:
        model = float_model(variant)
        model.reset()
        return model

    def test_a_prompt(self, variant: str, model: Model) -> None:
        ids = tokens(40)
        difference = model.feed(ids) - reference(VARIANTS[variant], ids)
        assert np.abs(difference).max() < CLOSE

    def test_going_on_from_the_cache(self, variant: str, model: Model) -> None:
        ids = tokens(9)
        parts = [ids[:, :5], ids[:, 5:6], ids[:, 6:]]
        got = np.concatenate([model.feed(part) for part in parts], axis=1)
        assert np.abs(got - reference(VARIANTS[variant], ids)).max() < CLOSE

    def test_two_prompts_of_unequal_length(self, variant: str, model: Model) -> None:
        one, other = tokens(7), tokens(4, seed=1)
        ids = np.concatenate([one, np.concatenate([np.zeros((1, 3), np.int64), other], 1)])
        mask = np.ones((2, 7), np.int64)
        mask[1, :3] = 0
        got = model.feed(ids, mask)
        assert np.abs(got[:1] - reference(VARIANTS[variant], one)).max() < CLOSE
        assert np.abs(got[1:, 3:] - reference(VARIANTS[variant], other)).max() < CLOSE


PRECISIONS = {
    "int4 asym g32": '{ dtype = "int4", group_size = 32 }',
    "int4 sym g32": '{ dtype = "int4", group_size = 32, symmetric = true }',
    "int4 asym channel": '{ dtype = "int4" }',
    "int4 sym channel": '{ dtype = "int4", symmetric = true }',
    "int8 asym channel": '{ dtype = "int8" }',
    "int8 sym channel": '{ dtype = "int8", symmetric = true }',
    "int8 asym g32": '{ dtype = "int8", group_size = 32 }',
}


def dequantized(plan: Plan, weights: tiny.Weights) -> tiny.Weights:
    """The weights after a trip through the plan's precisions."""
    rounded = dict(weights)
    for tensor in plan.tensors:
        if tensor.precision.dtype != "fp16":
            quantized = quantize(weights[tensor.name], tensor.precision)
            rounded[tensor.name] = quantized.dequantize()
    return rounded


@pytest.mark.parametrize("config", [DENSE, SPARSE], ids=["dense", "experts"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_quantized_is_the_same_codes_dequantized(
    precision: str, config: dict[str, Any], made: Callable[..., Path], tmp_path: Path
) -> None:
    chosen = PRECISIONS[precision]
    plan = resolve(made(config), linear=chosen, embedding=chosen)
    model, ids = Model(export(plan, tmp_path / "bundle")), tokens(20)
    rounded = dequantized(plan, tiny.draw(config))
    wanted = forward.logits(config, rounded.__getitem__, ids[0].tolist())
    assert np.abs(model.feed(ids)[0] - wanted).max() < QUANTIZED_CLOSE


def test_lengths(made: Callable[..., Path], tmp_path: Path) -> None:
    model = Model(export(resolve(made(DENSE), embedding=FLOAT), tmp_path / "bundle"))
    wanted = reference(DENSE, tokens(300))
    for count in (1, 2, 3, 15, 16, 17, 64, 299, 300):
        model.reset()
        got = model.feed(tokens(300)[:, :count])
        assert np.abs(got - wanted[:, :count]).max() < CLOSE, f"{count} tokens"
