"""Logits of OpenVINO graphs against NumPy: in float, and with the same quantized codes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.exporters.variants import CLOSE, VARIANTS, dequantized, reference, tokens
from tests.support import forward, tiny
from tests.support.native import FLOAT, export, resolve
from tests.support.running import Model
from tests.support.tiny import DENSE, SPARSE

QUANTIZED_CLOSE = 1e-3
"""The graph multiplies codes with scales in float16, which kernels do in float32 or not."""


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
