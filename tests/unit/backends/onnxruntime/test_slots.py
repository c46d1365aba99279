"""Sequences that share a graph and its caches, for real, on an embedded model."""

from __future__ import annotations

import random
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdeploy.backends.onnxruntime import OnnxRuntimeBackend, slots
from qdeploy.backends.onnxruntime.providers import of
from qdeploy.backends.onnxruntime.settings import resolve_settings
from qdeploy.backends.onnxruntime.slots import Slot, Slots, common
from qdeploy.bundle import open_bundle
from qdeploy.deploy.export import export, prepare
from qdeploy.interface import LoadOptions, Progress
from qdeploy.targets import CPU

pytestmark = pytest.mark.skipif(not find_spec("onnxruntime"), reason="needs qdeploy[onnx]")
ROWS = 4
ROUNDING = 0.3
"""Most that a logit may differ where activations are rounded to int8 in another kernel."""
TEXT = list(range(100, 130))


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Slots]:
    folder = tmp_path_factory.mktemp("nano") / "bundle"
    resolved, exporter = prepare("qwen3-nano", "cpu")
    bundle = export(resolved, exporter, folder, Progress(), force=False)
    (device,) = OnnxRuntimeBackend().devices(CPU)
    manifest = open_bundle(bundle.path).manifest
    settings = resolve_settings(manifest, of(device), device, LoadOptions(concurrency=ROWS))
    return lambda: Slots(Path(bundle.path), settings, ROWS)


@pytest.fixture
def made(opened: Callable[[], Slots]) -> Slots:
    return opened()


def test_sequences_that_come_and_go_are_what_they_are_alone(
    opened: Callable[[], Slots], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are copied, exchanged and moved into larger caches on the way."""
    monkeypatch.setattr(slots, "ROOM", 8)
    made, alone = opened(), opened()
    chance = random.Random(4)
    held: list[tuple[Slot, list[int]]] = []
    beginnings = [[chance.randrange(10, 2000) for _ in range(n)] for n in (3, 9, 17)]
    compared = 0
    for _ in range(60):
        if len(held) < ROWS and chance.random() < 0.5:
            prompt = chance.choice(beginnings) + [chance.randrange(10, 2000) for _ in range(3)]
            slot = made.take(prompt)
            made.feed(slot, prompt[len(slot.tokens) :])
            held.append((slot, prompt))
        elif held and chance.random() < 0.3:
            made.release(held.pop(chance.randrange(len(held)))[0])
        if not held:
            continue
        drawn = [chance.randrange(10, 2000) for _ in held]
        stepped = made.step([(slot, t) for (slot, _), t in zip(held, drawn, strict=True)])
        for (slot, tokens), token, logits in zip(held, drawn, stepped, strict=True):
            tokens.append(token)
            assert slot.tokens == tokens
            if chance.random() < 0.3:
                own = Slot(0, taken=True)
                assert np.abs(alone.feed(own, tokens) - logits).max() < ROUNDING
                compared += 1
    assert compared > 10


def test_a_text_that_goes_on_stays_in_its_slot(made: Slots) -> None:
    first = made.take(TEXT)
    made.feed(first, TEXT)
    made.release(first)
    again = made.take([*TEXT, 5, 6])
    assert again is first
    assert again.tokens == TEXT


def test_a_beginning_is_copied_from_a_slot_that_is_taken(made: Slots) -> None:
    first = made.take(TEXT)
    expected = made.feed(first, TEXT)
    second = made.take(TEXT)
    assert second is not first
    assert second.tokens == TEXT[:-2], "as many are left as one pass takes at least"
    assert np.array_equal(made.feed(second, TEXT[-2:]), expected)


def test_a_beginning_is_copied_where_the_rest_may_be_asked_for_again(made: Slots) -> None:
    first = made.take(TEXT)
    made.feed(first, TEXT)
    made.release(first)
    other = made.take([*TEXT[:10], 5, 6, 7])
    assert other is not first
    assert (other.tokens, first.tokens) == (TEXT[:10], TEXT)


def test_what_was_used_longest_ago_is_given_up_first(made: Slots) -> None:
    taken = [made.take([10 * n, 5, 6]) for n in range(1, ROWS + 1)]
    for n, slot in enumerate(taken, 1):
        made.feed(slot, [10 * n, 5, 6])
        made.release(slot)
    assert made.take([7, 8, 9]) is taken[0]


def test_a_failed_pass_leaves_nothing_to_take_over(made: Slots) -> None:
    slot = made.take(TEXT)
    made.feed(slot, TEXT)
    made.release(slot, forget=True)
    assert made.take(TEXT).tokens == []


@given(st.lists(st.integers(0, 1)), st.lists(st.integers(0, 1)))
def test_common_beginnings(one: list[int], other: list[int]) -> None:
    same = common(one, other)
    assert one[:same] == other[:same]
    assert one[same : same + 1] != other[same : same + 1] or same == len(one) == len(other)
