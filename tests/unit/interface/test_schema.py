"""Answers that are drawn at random and kept to a schema, and schemas that cannot be followed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdeploy import models
from qdeploy.errors import InputError
from qdeploy.interface import Sampling, schema
from qdeploy.interface.sampler import Sampler
from qdeploy.interface.schema import SchemaGuide, schema_guide
from qdeploy.tokenization.tokenizer import Tokenizer

pytestmark = pytest.mark.skipif(not find_spec("llguidance"), reason="needs qdeploy[serve]")
NANO = models.path("qwen3-nano")
TOKENIZER = Tokenizer(NANO)
VOCABULARY = 2048
STOPS = TOKENIZER.stop_ids
PAIR: dict[str, Any] = {
    "type": "object",
    "properties": {"sum": {"type": "integer"}, "right": {"type": "boolean"}},
    "required": ["sum", "right"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def guide() -> SchemaGuide:
    return SchemaGuide(NANO, VOCABULARY)


def drawn(
    guide: SchemaGuide, schema: object, seed: int, stops: frozenset[int] = STOPS
) -> list[int]:
    """Return 200 tokens at most, from random logits."""
    mask = guide.follow(json.dumps(schema), stops)
    sampler = Sampler(Sampling(1.0, top_k=40, seed=seed), (), mask)
    random = np.random.default_rng(seed)

    def tokens() -> Iterator[int]:
        for _ in range(200):
            token = sampler.draw(random.standard_normal(VOCABULARY, np.float32))
            yield token
            if token in stops:
                return

    return list(tokens())


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32))
def test_whatever_is_drawn_is_a_value_that_the_schema_allows(guide: SchemaGuide, seed: int) -> None:
    tokens = drawn(guide, PAIR, seed)
    if tokens[-1] not in STOPS:  # a number can be as long as it likes
        assert len(tokens) == 200
        return
    value = json.loads(TOKENIZER.decode(tokens))
    assert sorted(value) == ["right", "sum"]
    assert type(value["sum"]) is int
    assert type(value["right"]) is bool


def test_an_answer_ends_with_a_stop_token_of_the_request_and_no_other(guide: SchemaGuide) -> None:
    stop = 77
    assert drawn(guide, {"const": True}, 1, frozenset({stop}))[-1] == stop
    assert "true" in TOKENIZER.decode(drawn(guide, {"const": True}, 1, frozenset({stop}))[:-1])


def test_without_a_stop_token_the_answer_ends_and_nothing_follows(guide: SchemaGuide) -> None:
    tokens = drawn(guide, {"const": True}, 3, frozenset())
    assert len(tokens) == 200
    first = next(i for i, token in enumerate(tokens) if token in STOPS)
    assert set(tokens[first:]) <= STOPS
    assert json.loads(TOKENIZER.decode(tokens[:first])) is True


@pytest.mark.parametrize(
    ("given_schema", "said"),
    [
        ("{", "not a JSON schema"),
        ("[1]", "object"),
        ('{"enum": []}', "Unsatisfiable"),
        ('{"type": "strange"}', "strange"),
        ('{"type": "array", "uniqueItems": true}', "uniqueItems"),
        ('{"type": "string", "format": "colour"}', "colour"),
        ('{"$ref": "#/$defs/gone"}', "gone"),
        ('{"$ref": "http://example.com/schema"}', "example.com"),
        ('{"$ref": "#"}', r"no answer can be kept to this JSON schema: \w+\n"),
        ("false", "object"),
    ],
)
def test_a_schema_that_cannot_be_followed_is_refused_by_what_is_wrong(
    guide: SchemaGuide, given_schema: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        guide.check(given_schema)


def test_few_compiled_schemas_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "KEPT", 2)
    guide = SchemaGuide(NANO, VOCABULARY)
    for length in (1, 2, 1, 3):
        guide.check(json.dumps({"type": "array", "minItems": length}))
    assert [json.loads(kept)["minItems"] for kept in guide._compiled] == [1, 3]


def test_no_guide_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "find_spec", lambda _: None)
    assert schema_guide(NANO, VOCABULARY) is None
