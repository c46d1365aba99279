"""The whole package: quantization error of the embedded models' layers, on real activations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.typing import NDArray

from qdeploy import models
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import WeightReader, open_weights
from qdeploy.forward import arithmetic, forward
from qdeploy.forward.forward import Forward
from qdeploy.quantization.matrix import quantize
from qdeploy.quantization.precision import Precision
from qdeploy.tokenization.tokenizer import Tokenizer

Floats = NDArray[np.float32]

SCHEMES = {
    "asym g128": Precision(dtype="int4", group_size=128),
    "asym g32": Precision(dtype="int4", group_size=32),
    "sym g128": Precision(dtype="int4", group_size=128, symmetric=True),
    "sym channel": Precision(dtype="int4", symmetric=True),
}
QUESTIONS = models.heldout()[::6]


@contextmanager
def watched() -> Iterator[dict[str, list[Floats]]]:
    """Collects what the reference puts into each linear layer, float32 [tokens, K] a piece."""
    inputs: dict[str, list[Floats]] = {}

    def multiply(source: WeightReader, x: Floats, weight: str) -> Floats:
        if not weight.endswith(("mlp.gate.weight", "embed_tokens.weight", "lm_head.weight")):
            inputs.setdefault(weight, []).append(x.copy())
        return original(source, x, weight)

    original = arithmetic.multiply
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forward, "multiply", multiply)
        yield inputs


@pytest.fixture(scope="module", params=models.EMBEDDED)
def layers(request: pytest.FixtureRequest) -> Iterator[list[tuple[Floats, Floats]]]:
    """Weight, float32 [N, K], and inputs, float32 [tokens, K], of every linear layer."""
    folder = models.path(request.param)
    found, tokenizer = read_checkpoint(folder), Tokenizer(folder)
    prompts = [
        tokenizer.render([{"role": "user", "content": q.question}], thinking=False) + q.answer
        for q in QUESTIONS
    ]
    with open_weights(found) as source:
        model = Forward(source, found.architecture, found.decoder.graph(None))
        with watched() as inputs:
            model.hidden([tokenizer.encode(text) for text in prompts], lambda done, of: None)
        gates = {name: x for name, x in inputs.items() if "gate_proj" in name}
        inputs |= {name.replace("gate_proj", "up_proj"): x for name, x in gates.items()}
        yield [(source.rows(name), np.concatenate(x)) for name, x in inputs.items()]


def error(layer: tuple[Floats, Floats], precision: Precision, *, search: bool) -> float:
    """Squared error of what a layer says."""
    weight, x = layer
    off = quantize(weight, precision, search=search).dequantize() - weight
    return float(np.square(x @ off.T, dtype=np.float64).sum())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_search_lowers_the_error_of_what_layers_say(
    scheme: str, layers: list[tuple[Floats, Floats]]
) -> None:
    ratios = [
        error(layer, SCHEMES[scheme], search=True) / error(layer, SCHEMES[scheme], search=False)
        for layer in layers
    ]
    assert np.exp(np.mean(np.log(ratios))) < 1
