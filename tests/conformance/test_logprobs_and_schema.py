"""Log-probabilities and JSON schemas mean the same on every backend that has them."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from qdeploy.errors import InputError, PromptError
from qdeploy.interface import Request, Sampling, Token
from tests.conformance.conftest import Loaded

PROMPT = "The sky is"
TOKENS = 12
ROUNDING = 0.5
"""Most that a log-probability may differ from one by teacher forcing: see test_sampling."""
SCHEMA = json.dumps({
    "type": "object",
    "properties": {
        "sum": {"type": "integer", "minimum": 0, "maximum": 9}, "sky": {"enum": ["blue"]}
    },
    "required": ["sum", "sky"],
    "additionalProperties": False,
})  # fmt: skip
LONGEST = 160
"""Tokens that the longest text of such a value can have, with all white space."""
GREEDY = Sampling()


@pytest.fixture
def drawn_here(loaded: Loaded) -> Loaded:
    """A flow on a real device. On a simulated one a token is slow, and the host draws it, too."""
    if loaded.flow.simulate:
        pytest.skip("tokens are drawn as on the other devices of this backend")
    return loaded


def told(loaded: Loaded, count: int, sampling: Sampling = GREEDY, new: int = TOKENS) -> list[Token]:
    if loaded.session.limits.logprobs is None:
        pytest.skip("tells no log-probabilities")
    prompt = tuple(loaded.tokenizer.encode(PROMPT))
    return list(loaded.session.generate(Request(prompt, new, sampling, logprobs=count)))


def scored(loaded: Loaded, tokens: Sequence[Token]) -> np.ndarray:
    """Log-probabilities [T, V] by teacher forcing."""
    prompt = loaded.tokenizer.encode(PROMPT)
    logits = loaded.session.score([*prompt, *(token.id for token in tokens)])
    rows = logits[len(prompt) - 1 : -1].astype(np.float64)
    rows -= rows.max(-1, keepdims=True)
    found: np.ndarray = rows - np.log(np.exp(rows).sum(-1, keepdims=True))
    return found


@pytest.mark.parametrize(
    "sampling", [GREEDY, Sampling(1.5, seed=7, top_k=50, repetition_penalty=1.5)],
    ids=["greedy", "drawn and penalized"],
)  # fmt: skip
def test_log_probabilities_are_those_of_the_models_own_logits(
    loaded: Loaded, sampling: Sampling
) -> None:
    """Penalties and temperature change what is drawn, not what is told."""
    tokens = told(loaded, 3, sampling)
    expected = scored(loaded, tokens)
    off = 0
    for row, token in zip(expected, tokens, strict=True):
        assert token.logprob is not None
        assert len(token.most_probable) == 3
        probable = [p for _, p in token.most_probable]
        assert probable == sorted(probable, reverse=True)
        assert dict(token.most_probable).get(token.id, token.logprob) == token.logprob
        compared = [(token.id, token.logprob), *token.most_probable]
        off += any(abs(row[i] - p) > ROUNDING for i, p in compared)
        off += bool(row.max() - row[token.most_probable[0][0]] > ROUNDING)
    # a quantized router may choose other experts than in teacher forcing
    assert off <= (4 if loaded.bundle.manifest.model.experts else 0)


@pytest.mark.essential
def test_greedy_tokens_are_the_most_probable(loaded: Loaded) -> None:
    for token in told(loaded, 1, new=3):
        assert token.most_probable == ((token.id, token.logprob),)


def test_tokens_are_the_same_with_and_without_them(drawn_here: Loaded) -> None:
    sampling = Sampling(0.9, top_k=20, seed=11)
    with_them = [token.id for token in told(drawn_here, 5, sampling)]
    assert [t.id for t in drawn_here.continue_(PROMPT, TOKENS, sampling=sampling)] == with_them


def test_more_than_the_limit_are_refused(loaded: Loaded) -> None:
    most = loaded.session.limits.logprobs
    with pytest.raises(InputError, match="log-probabilities"):
        loaded.session.generate(Request((1, 2), 2, logprobs=0 if most is None else most + 1))


def test_an_answer_keeps_to_its_schema(drawn_here: Loaded) -> None:
    session, tokenizer = drawn_here.session, drawn_here.tokenizer
    prompt = tuple(tokenizer.encode(PROMPT))
    sampling = Sampling(1.0, min_p=0.02, seed=3)
    request = Request(prompt, LONGEST, sampling, tokenizer.stop_ids, json_schema=SCHEMA)
    if not session.limits.json_schema:
        with pytest.raises(InputError, match="schema"):
            session.generate(request)
        return
    try:
        tokens = [token.id for token in session.generate(request)]
    except PromptError as error:
        if "tokens of white space" not in error.what:
            raise
        pytest.skip("the runtime allows white space without end, and the session ended it")
    assert tokens[-1] in tokenizer.stop_ids
    value = json.loads(tokenizer.decode(tokens))
    assert set(value) == {"sum", "sky"}
    assert value["sum"] in range(10)
    assert value["sky"] == "blue"


def test_a_value_without_parts_is_all_of_an_answer(loaded: Loaded) -> None:
    if not loaded.session.limits.json_schema:
        pytest.skip("follows no schemas")
    prompt, ends = tuple(loaded.tokenizer.encode(PROMPT)), loaded.tokenizer.stop_ids
    schema = '{"type": "string", "enum": ["blue", "grey"]}'
    for seed in range(3):
        request = Request(prompt, 24, Sampling(1.0, seed=seed), ends, json_schema=schema)
        tokens = [token.id for token in loaded.session.generate(request)]
        assert tokens[-1] in ends
        assert json.loads(loaded.tokenizer.decode(tokens)) in ("blue", "grey")


def test_a_schema_ends_with_its_request(drawn_here: Loaded) -> None:
    if not drawn_here.session.limits.json_schema:
        pytest.skip("follows no schemas")
    free = [token.id for token in drawn_here.continue_(PROMPT, TOKENS)]
    prompt = tuple(drawn_here.tokenizer.encode(PROMPT))
    kept = drawn_here.session.generate(Request(prompt, TOKENS, json_schema=SCHEMA))
    next(kept)
    kept.close()
    assert [token.id for token in drawn_here.continue_(PROMPT, TOKENS)] == free


def test_a_schema_that_cannot_be_followed_is_refused_before_any_work(loaded: Loaded) -> None:
    with pytest.raises(InputError):
        loaded.session.generate(Request((1, 2), 2, json_schema='{"type": "strange"}'))
