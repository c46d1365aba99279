"""Logits of ONNX graphs against NumPy: in float, and with the same quantized codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from qdeploy.exporters.native import NativeExporter
from qdeploy.planning.plan import Plan
from tests.exporters.variants import CLOSE, VARIANTS, dequantized, reference, tokens
from tests.support import forward, tiny
from tests.support.native import FLOAT, export, resolve
from tests.support.onnx_models import DynamicShapeModel, StaticShapeModel
from tests.support.tiny import DENSE, SPARSE

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

HALF_CLOSE = 0.03
"""Largest difference of a logit where float16 flows between operators."""
QUANTIZED_CLOSE = 0.01
"""`GatherBlockQuantized` widens eight-bit codes through fewer digits than float32 has."""


class Form(NamedTuple):
    """A format and its choices, as in a profile."""

    format: str
    graph: str

    def resolve(self, folder: Path, linear: str = FLOAT, embedding: str = FLOAT) -> Plan:
        return resolve(
            folder, format=self.format, graph=self.graph, linear=linear, embedding=embedding
        )

    def open(self, folder: Path) -> DynamicShapeModel | StaticShapeModel:
        return (StaticShapeModel if self.format == "onnx-static" else DynamicShapeModel)(folder)


STATIC = "prefill = 16\ncontext = 64"
FORMS = {
    "gqa": Form("onnx", ""),
    "plain": Form("onnx", 'attention = "plain"'),
    "unrolled": Form("onnx", 'attention = "plain"\nexperts = "unrolled"'),
    "static": Form("onnx-static", STATIC),
}


@pytest.fixture(scope="module")
def float_model(
    made: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], DynamicShapeModel | StaticShapeModel]:
    """A variant's float model, exported once for all tests of it."""

    @cache
    def opened(form: str, variant: str) -> DynamicShapeModel | StaticShapeModel:
        place = tmp_path_factory.mktemp("float") / "bundle"
        return FORMS[form].open(export(FORMS[form].resolve(made(VARIANTS[variant])), place))

    return opened


CASES = [
    (form, variant)
    for form in FORMS
    for variant, config in VARIANTS.items()
    if (form, variant) != ("gqa", "odd sizes")
    and (form != "unrolled" or "num_experts" in config)  # else it is the same as plain
]


@pytest.mark.parametrize(("form", "variant"), CASES)
class TestFloat:
    @pytest.fixture
    def model(
        self,
        form: str,
        variant: str,
        float_model: Callable[[str, str], DynamicShapeModel | StaticShapeModel],
    ) -> DynamicShapeModel | StaticShapeModel:
        model = float_model(form, variant)
        model.reset()
        return model

    def test_a_prompt(self, variant: str, model: DynamicShapeModel | StaticShapeModel) -> None:
        ids = tokens(40)
        assert np.abs(model.feed(ids) - reference(VARIANTS[variant], ids)).max() < CLOSE

    def test_going_on_from_the_cache(
        self, variant: str, model: DynamicShapeModel | StaticShapeModel
    ) -> None:
        ids = tokens(9)
        parts = [ids[:, :5], ids[:, 5:6], ids[:, 6:]]
        got = np.concatenate([model.feed(part) for part in parts], axis=1)
        assert np.abs(got - reference(VARIANTS[variant], ids)).max() < CLOSE


def test_only_the_last_tokens_logits_are_made_for_generation(
    made: Callable[..., Path], tmp_path: Path
) -> None:
    folder = export(FORMS["gqa"].resolve(made(DENSE)), tmp_path / "bundle")
    every, last = DynamicShapeModel(folder), DynamicShapeModel(folder, "generate.onnx")
    got = last.feed(tokens(12))
    assert got.shape == (1, 1, DENSE["vocab_size"])
    np.testing.assert_allclose(got[0, 0], every.feed(tokens(12))[0, -1], atol=CLOSE)


@pytest.mark.parametrize("form", ["gqa", "plain"])
def test_a_models_logits_are_those_of_the_last_token_at_every_place(
    form: str, made: Callable[..., Path], tmp_path: Path
) -> None:
    """In a step after a cache, too, whose mask is longer than the pass."""
    folder = export(FORMS[form].resolve(made(DENSE)), tmp_path / "bundle")
    every, repeated = DynamicShapeModel(folder), DynamicShapeModel(folder, "model.onnx")
    for ids in (tokens(12), tokens(5, seed=1), tokens(1, seed=2)):
        wanted = np.broadcast_to(every.feed(ids)[:, -1:], (1, ids.shape[1], DENSE["vocab_size"]))
        np.testing.assert_allclose(repeated.feed(ids), wanted, atol=CLOSE)


@pytest.mark.parametrize("form", ["gqa", "plain"])
def test_two_prompts_at_once(
    form: str, float_model: Callable[[str, str], DynamicShapeModel]
) -> None:
    model = float_model(form, "tied")
    model.reset()
    one, other = tokens(7), tokens(7, seed=1)
    got = model.feed(np.concatenate([one, other]))
    for row, ids in enumerate((one, other)):
        assert np.abs(got[row : row + 1] - reference(DENSE, ids)).max() < CLOSE


@pytest.mark.parametrize("form", FORMS)
def test_lengths(form: str, made: Callable[..., Path], tmp_path: Path) -> None:
    chosen = FORMS[form]
    chosen = chosen._replace(graph=chosen.graph.replace("context = 64", "context = 320"))
    model = chosen.open(export(chosen.resolve(made(DENSE)), tmp_path / "bundle"))
    wanted = reference(DENSE, tokens(300))
    for count in (1, 2, 15, 16, 17, 299, 300):
        model.reset()
        got = model.feed(tokens(300)[:, :count])
        assert np.abs(got - wanted[:, :count]).max() < CLOSE, f"{count} tokens"


@pytest.mark.parametrize("config", [DENSE, SPARSE], ids=["dense", "experts"])
def test_float16_between_operators(
    config: dict[str, Any], made: Callable[..., Path], tmp_path: Path
) -> None:
    form = Form("onnx-static", f'{STATIC}\nactivations = "fp16"')
    model = form.open(export(form.resolve(made(config)), tmp_path / "bundle"))
    ids = tokens(30)
    difference = np.abs(model.feed(ids) - reference(config, ids))
    # a token between two experts may go to the other one
    assert np.quantile(difference, 0.5 if config is SPARSE else 1.0) < HALF_CLOSE


GROUPS = {
    "int4 asym g32": '{ dtype = "int4", group_size = 32 }',
    "int4 sym g32": '{ dtype = "int4", group_size = 32, symmetric = true }',
    "int4 asym channel": '{ dtype = "int4" }',
    "int4 sym channel": '{ dtype = "int4", symmetric = true }',
    "int8 asym channel": '{ dtype = "int8" }',
    "int8 sym g32": '{ dtype = "int8", group_size = 32, symmetric = true }',
}


def check_quantized(plan: Plan, form: Form, config: Mapping[str, Any], place: Path) -> None:
    ids = tokens(20)
    rounded = dequantized(plan, tiny.draw(config))
    wanted = forward.logits(config, rounded.__getitem__, ids[0].tolist())
    got = form.open(export(plan, place)).feed(ids)[0]
    assert np.abs(got - wanted).max() < QUANTIZED_CLOSE


@pytest.mark.parametrize("precision", GROUPS)
def test_contrib_is_the_same_codes_dequantized(
    precision: str, made: Callable[..., Path], tmp_path: Path
) -> None:
    chosen, form = GROUPS[precision], FORMS["gqa"]
    plan = form.resolve(made(DENSE), linear=chosen, embedding=chosen)
    check_quantized(plan, form, DENSE, tmp_path / "bundle")


@pytest.mark.parametrize("form", ["gqa", "unrolled", "static"])
@pytest.mark.parametrize("precision", ["int4 asym g32", "int4 sym g32"])
def test_experts_are_the_same_codes_dequantized(
    precision: str, form: str, made: Callable[..., Path], tmp_path: Path
) -> None:
    """In four bits: `QMoE` rounds activations to int8 where its weights have eight."""
    plan = FORMS[form].resolve(made(SPARSE), linear=GROUPS[precision])
    check_quantized(plan, FORMS[form], SPARSE, tmp_path / "bundle")


@pytest.mark.parametrize("config", [DENSE, SPARSE], ids=["dense", "experts"])
@pytest.mark.parametrize("symmetric", ["", ", symmetric = true"], ids=["asym", "sym"])
def test_static_int8_is_the_same_codes_dequantized(
    symmetric: str, config: dict[str, Any], made: Callable[..., Path], tmp_path: Path
) -> None:
    chosen, form = f'{{ dtype = "int8"{symmetric} }}', FORMS["static"]
    plan = form.resolve(made(config), linear=chosen, embedding=chosen)
    check_quantized(plan, form, config, tmp_path / "bundle")


def test_static_int4_is_the_same_codes_dequantized(
    made: Callable[..., Path], tmp_path: Path
) -> None:
    form = FORMS["static"]
    plan = form.resolve(made(DENSE), linear=GROUPS["int4 sym g32"], embedding=FLOAT)
    check_quantized(plan, form, DENSE, tmp_path / "bundle")


@pytest.mark.parametrize(
    ("form", "variant", "linear", "reason"),
    [
        ("gqa", "odd sizes", FLOAT, "heads of a multiple of 16"),
        ("gqa", "experts", GROUPS["int4 sym channel"], "blocks of several sizes"),
        ("static", "tied", GROUPS["int8 sym g32"], "weights.linear.group_size = -1"),
    ],
)
def test_what_a_format_cannot_hold_is_told_at_plan_time(
    form: str, variant: str, linear: str, reason: str, made: Callable[..., Path]
) -> None:
    plan = FORMS[form].resolve(made(VARIANTS[variant]), linear=linear)
    assert reason in str(NativeExporter().why_not(plan))


def test_a_static_context_holds_a_whole_pass(made: Callable[..., Path]) -> None:
    plan = Form("onnx-static", "prefill = 128\ncontext = 64").resolve(made(DENSE))
    assert "shorter than a pass" in str(NativeExporter().why_not(plan))
