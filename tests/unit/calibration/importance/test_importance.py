"""Weights of tokens: what they are, and what they do not depend on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qdeploy.architectures.graph import Linear
from qdeploy.calibration.importance.energies import groups
from qdeploy.calibration.importance.labels import label_gradient, uniforms
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import WeightReader, open_weights
from qdeploy.forward.forward import Forward, NumpyBuilder, Value
from tests.support import tiny
from tests.support.evaluating import no_progress
from tests.support.tiny import DENSE, QWEN2, SPARSE
from tests.support.weighing import SEQUENCES, SMALL, TOKENS, weigh

ROUNDING = 1e-3
STEP = 2e-2
CLOSE = 0.02


class Nudged(NumpyBuilder):
    """The forward pass with something added to the output of one linear layer."""

    name, nudge = "", np.zeros((1, 1), np.float32)

    def linear(self, x: Value, layer: Linear) -> Value:
        product = super().linear(x, layer)
        return self.value(product) + self.nudge if layer.weight == self.name else product


def drawn_labels(found: Checkpoint, source: WeightReader) -> NDArray[np.int64]:
    """The labels of seed 0, [T]: where the sum of probabilities passes the token's uniform."""
    forward = Forward(source, found.architecture, found.decoder.graph(None))
    logits = forward.logits(np.concatenate(forward.hidden(SEQUENCES, no_progress)))
    shares = np.exp(logits.astype(np.float64))
    sums = np.cumsum(shares / shares.sum(axis=1, keepdims=True), axis=1)
    return np.asarray((sums < uniforms(SEQUENCES, 0)[:, None]).sum(axis=1))


def energy_by_differences(
    found: Checkpoint, source: WeightReader, labels: NDArray[np.int64], names: list[str], token: int
) -> float:
    """Sum of squared derivatives of the loss by the outputs of linear layers at a token."""
    config, total = found.decoder.graph(None), 0.0
    head = source.rows(found.architecture.head(config)).astype(np.float64)

    def loss(name: str, nudge: NDArray[np.float32]) -> float:
        build = Nudged(source, config, SEQUENCES, no_progress)
        build.name, build.nudge = name, nudge
        logits = build.value(found.architecture.hidden(build, config)) @ head.T
        chosen = logits[np.arange(len(labels)), labels]
        return float(np.sum(np.log(np.exp(logits).sum(axis=1)) - chosen))

    for name in names:
        for row in range(source.shape(name)[0]):
            nudge = np.zeros((TOKENS, source.shape(name)[0]), np.float32)
            nudge[token, row] = STEP
            total += ((loss(name, nudge) - loss(name, -nudge)) / (2 * STEP)) ** 2
    return total


@pytest.mark.parametrize(
    "family",
    [{}, {k: QWEN2[k] for k in ("model_type", "architectures")}],
    ids=["head norms", "biases"],
)
def test_weights_are_energies_of_the_loss_by_differences(
    family: dict[str, Any], tmp_path: Path
) -> None:
    folder = tiny.write(tmp_path / "it", SMALL | family)
    made, found = weigh(folder), read_checkpoint(folder)
    prefix = "model.layers.0.self_attn."
    names = [f"{prefix}{name}_proj.weight" for name in "qkv"]
    with open_weights(found) as source:
        labels = drawn_labels(found, source)
        for these in (names, ["model.layers.0.mlp.down_proj.weight"]):
            one, two = (energy_by_differences(found, source, labels, these, t) for t in (1, 5))
            weights = made.of(these[0])
            assert weights[1] / weights[5] == pytest.approx(one / two, rel=CLOSE)


def test_each_layer_has_the_energy_of_its_own_outputs(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "it", SMALL)
    made, found = weigh(folder), read_checkpoint(folder)
    name = "model.layers.1.self_attn.k_proj.weight"
    with open_weights(found) as source:
        labels = drawn_labels(found, source)
        own = [energy_by_differences(found, source, labels, [name], t) for t in range(TOKENS)]
    assert made.energy(name) == pytest.approx(np.mean(own), rel=CLOSE)
    assert weigh(folder).energies == made.energies  # of the file


def test_experts_that_no_token_reaches_have_no_energy(tmp_path: Path) -> None:
    config = SPARSE | {"num_experts": 64, "num_experts_per_tok": 2}
    made = weigh(tiny.write(tmp_path / "it", config), [[5]])
    experts = [name for name in made.shares if ".layers.0.mlp.experts." in name]
    assert len(experts) == 3 * 64
    assert len([name for name in experts if made.energy(name) > 0]) == 3 * 2


@pytest.mark.parametrize("config", [DENSE, SPARSE], ids=["dense", "experts"])
def test_every_linear_layer_has_weights_of_mean_one(config: dict[str, Any], tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "it", config)
    made, found = weigh(folder), read_checkpoint(folder)
    tensors = found.architecture.tensors(found.decoder.graph(None))
    head = found.architecture.head(found.decoder.graph(None))
    linear = {name for name, tensor in tensors.items() if tensor.role in ("linear", "router")}
    assert made.shares.keys() == linear | {head}
    for name in made.shares:
        weights = made.of(name)
        assert weights.shape == (TOKENS,)
        assert weights.dtype == np.float32
        assert weights.mean() == pytest.approx(1, rel=1e-5)
        assert weights.min() >= 0


def test_layers_that_read_the_same_tokens_share_weights(tmp_path: Path) -> None:
    made = weigh(tiny.write(tmp_path / "it", SPARSE | {"mlp_only_layers": [0]}))
    zero, one = "model.layers.0.", "model.layers.1."
    shared = [
        {f"{zero}self_attn.{name}_proj.weight" for name in "qkv"},
        {f"{zero}self_attn.o_proj.weight"},
        {f"{zero}mlp.{name}_proj.weight" for name in ("gate", "up")},
        {f"{zero}mlp.down_proj.weight"},
        {f"{one}mlp.experts.{k}.{n}_proj.weight" for k in range(4) for n in ("gate", "up")}
        | {f"{one}mlp.gate.weight"},
        {f"{one}mlp.experts.{k}.down_proj.weight" for k in range(4)},
    ]
    assert len({made.shares[name] for names in shared for name in names}) == len(shared)
    for names in shared:
        assert len({made.shares[name] for name in names}) == 1


def test_it_has_no_weights_for_other_tensors(tmp_path: Path) -> None:
    made = weigh(tiny.write(tmp_path / "it", SMALL))
    with pytest.raises(KeyError):
        made.of("model.norm.weight")


@pytest.mark.parametrize("config", [DENSE, SPARSE], ids=["dense", "experts"])
def test_groups_do_not_matter(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny.write(tmp_path / "it", config)
    together = weigh(folder, kept="together")
    monkeypatch.setattr("qdeploy.calibration.importance.energies.GROUP_BYTES", 1)
    monkeypatch.setattr("qdeploy.calibration.importance.labels.LOGIT_BYTES", 1)
    apart = weigh(folder, kept="apart")
    for name in together.shares:
        np.testing.assert_allclose(together.of(name), apart.of(name), rtol=ROUNDING)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.integers(1, 100))
def test_groups_are_all_sequences_in_order(lengths: list[int], tokens: int) -> None:
    sequences = [[k] * length for k, length in enumerate(lengths)]
    found = groups(sequences, tokens)
    assert [ids for group in found for ids in group.sequences] == sequences
    assert [g.start for g in found[1:]] == [g.stop for g in found[:-1]]
    for group in found:
        assert group.stop - group.start == sum(map(len, group.sequences))
        assert group.stop - group.start <= tokens or len(group.sequences) == 1


def test_the_seed_decides_the_labels(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "it", SMALL)
    first, again, other = (
        weigh(folder, seed=seed, kept=kept).of("model.layers.0.mlp.down_proj.weight")
        for seed, kept in ((1, "a"), (1, "b"), (2, "c"))
    )
    assert (first == again).all()
    assert np.abs(first - other).max() > 0.01


def test_labels_are_drawn_as_the_model_says(tmp_path: Path) -> None:
    """The energy at the logits tells the label's probability p: 1 - 2 p + the sum of squares."""
    found = read_checkpoint(tiny.write(tmp_path / "it", SMALL))
    config, hidden = found.decoder.graph(None), np.zeros((1000, 32), np.float32)
    hidden[:, 3] = 40
    with open_weights(found) as source:
        head = found.architecture.head(config)
        logits = hidden[:1] @ source.rows(head).T
        _, energies = label_gradient(source, head, hidden, uniforms([[0] * 1000], 0))
    shares = np.exp(logits[0] - logits.max())
    shares /= shares.sum()
    drawn = (1 + np.sum(shares**2) - energies) / 2
    assert drawn.mean() == pytest.approx(np.sum(shares**2), abs=0.05)
