"""What the base class of encoders checks and pads for every backend."""

from __future__ import annotations

import numpy as np
import pytest

from qdeploy.errors import GenerationFailed, PromptError
from tests.support.scripted_encoder import ScriptedEncoder

CONTEXT, VOCABULARY = 20, 100


@pytest.fixture
def encoder() -> ScriptedEncoder:
    return ScriptedEncoder(context=CONTEXT, vocab_size=VOCABULARY)


def test_sequences_are_padded_at_their_ends(encoder: ScriptedEncoder) -> None:
    made = encoder.encode([(1, 2, 3), (4,)])
    [(ids, mask)] = encoder.passes
    assert ids.tolist() == [[1, 2, 3], [4, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert ids.dtype == mask.dtype == np.int64
    assert made.shape == (2, encoder.width)


def test_nothing_is_no_work(encoder: ScriptedEncoder) -> None:
    assert encoder.encode([]).shape == (0, encoder.width)
    assert encoder.passes == []


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        ((), "the prompt is empty"),
        ((1, VOCABULARY), f"token id {VOCABULARY} is outside"),
        ((-1,), "token id -1 is outside"),
        ((1,) * (CONTEXT + 1), f"{CONTEXT + 1} tokens; the session holds {CONTEXT}"),
    ],
)
def test_a_sequence_that_does_not_fit_is_refused_before_any_work(
    ids: tuple[int, ...], says: str, encoder: ScriptedEncoder
) -> None:
    with pytest.raises(PromptError, match=says):
        encoder.encode([(1, 2), ids])
    assert encoder.passes == []


def test_a_whole_context_fits(encoder: ScriptedEncoder) -> None:
    assert len(encoder.encode([(1,) * CONTEXT])) == 1


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_is_an_error(wrong: float, encoder: ScriptedEncoder) -> None:
    encoder.added = wrong
    with pytest.raises(GenerationFailed, match="not all finite"):
        encoder.encode([(1,)])


def test_another_shape_is_an_error(encoder: ScriptedEncoder) -> None:
    encoder.width += 1
    with pytest.raises(GenerationFailed, match="the shape"):
        encoder.encode([(1,)])


def test_a_closed_encoder_refuses(encoder: ScriptedEncoder) -> None:
    with encoder:
        pass
    encoder.close()
    with pytest.raises(GenerationFailed, match="closed"):
        encoder.encode([(1,)])
