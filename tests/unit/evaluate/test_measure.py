"""A session compared with its reference: no divergence from itself, and noise is detected."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdeploy import models
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.deploy import cache
from qdeploy.errors import GenerationFailed, InputError
from qdeploy.evaluate.greedy import TIE, common_tokens
from qdeploy.evaluate.heldout import exact_match
from qdeploy.evaluate.measure import Measured, measure
from qdeploy.evaluate.reference import FloatReference
from qdeploy.evaluate.text import read_passages
from qdeploy.interface import Session
from qdeploy.tokenization.tokenizer import Tokenizer
from tests.support import tiny
from tests.support.evaluating import Noisy, no_progress
from tests.support.scripted import ScriptedSession

NANO = models.path("qwen3-nano")
TOKENIZER = Tokenizer(NANO)
TASKS = read_passages("tasks", TOKENIZER, windows=2)


@pytest.fixture
def made_up(tmp_path: Path) -> Path:
    """A checkpoint of random weights, with the tokenizer of qwen3-nano."""
    return tiny.write(tmp_path / "made-up", tiny.DENSE)


@pytest.fixture
def reference(
    made_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FloatReference]:
    monkeypatch.setenv(cache.ENVIRONMENT, str(tmp_path / "cache"))
    with FloatReference(read_checkpoint(made_up), "digest") as opened:
        yield opened


def against(reference: FloatReference, session: Session) -> Measured:
    return measure(session, TOKENIZER, reference, TASKS, [], no_progress)


@pytest.mark.usefixtures("reference")
def test_a_model_has_no_divergence_from_itself() -> None:
    with FloatReference(read_checkpoint(NANO), "digest") as nano:
        found = against(nano, Noisy(NANO))
    assert found.figures.kl_max < 1e-6
    assert found.figures.top1_agreement == 1
    assert found.figures.perplexity < 1.5  # it was trained on these tasks
    assert found.first_divergence == 4  # all tokens that the session generates
    assert found.exact_match is None


def test_noise_is_detected(reference: FloatReference, made_up: Path) -> None:
    little, much = (against(reference, Noisy(made_up, noise)).figures for noise in (0.3, 3.0))
    assert 1e-6 < little.kl_mean < much.kl_mean
    assert much.top1_agreement < 1


def test_stages_are_reported(reference: FloatReference, made_up: Path) -> None:
    told: list[tuple[str, int, int]] = []
    measure(
        Noisy(made_up), TOKENIZER, reference, TASKS, [], lambda *stage: told.append(tuple(stage))
    )
    assert ("made-up, layers", 3, 3) in told
    assert told[-1] == ("scoring passages", 2, 2)


def test_logits_of_another_shape(reference: FloatReference) -> None:
    with pytest.raises(GenerationFailed, match="logits have the shape"):
        against(reference, ScriptedSession([5, 6]))


def test_a_session_that_is_too_short(reference: FloatReference, made_up: Path) -> None:
    with pytest.raises(InputError, match="the session holds 20") as caught:
        against(reference, Noisy(made_up, context=20))
    assert "--window 20" in str(caught.value)


def test_held_out_answers_are_counted() -> None:
    right = next(q for q in models.heldout() if q.task == "add")
    session = ScriptedSession([*TOKENIZER.encode(right.answer), min(TOKENIZER.stop_ids)])
    other = next(q for q in models.heldout() if q.answer != right.answer)
    found = exact_match(session, TOKENIZER, [right, other], no_progress)
    assert found == {"thinking": 50.0, "answer": 50.0}


@given(rows=st.integers(1, 20), at=st.integers(0, 25))
def test_common_tokens_end_at_the_first_difference(rows: int, at: int) -> None:
    logits = np.random.default_rng(rows).standard_normal((rows, 9)).astype(np.float32)
    tokens = [int(best) for best in logits.argmax(-1)]
    for row in range(at, rows):
        tokens[row] = int(logits[row].argmin())
    assert common_tokens(logits, tuple(tokens)) == min(at, rows)


def test_a_tie_counts_as_common() -> None:
    logits = np.array([[1.0, 1.0 + TIE / 2, 0]], np.float32)
    assert common_tokens(logits, (0,)) == 1
