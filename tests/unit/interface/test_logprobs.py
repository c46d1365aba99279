"""Log-probabilities are those of a softmax in double precision, most probable first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdeploy.interface import Request, Token
from qdeploy.interface.logprobs import log_probabilities, token_of


@given(
    st.lists(st.floats(-(2.0**20), 2.0**20, width=32), min_size=1, max_size=200),
    st.integers(0, 20),
    st.data(),
)
def test_they_are_those_of_a_softmax(values: list[float], count: int, data: st.DataObject) -> None:
    logits = np.array(values, np.float32)
    token = data.draw(st.integers(0, len(values) - 1))
    wide = logits.astype(np.float64) - logits.max()
    expected = wide - np.log(np.exp(wide).sum())
    order = np.argsort(-logits, kind="stable")[:count]
    logprob, most = log_probabilities(logits, token, count)
    assert logprob == pytest.approx(expected[token], rel=1e-6, abs=1e-5)
    assert [i for i, _ in most] == order.tolist()
    assert [p for _, p in most] == pytest.approx(expected[order].tolist(), rel=1e-6, abs=1e-5)


def test_a_request_that_asks_for_none_gets_none() -> None:
    logits = np.array([1.0, 2.0], np.float32)
    token = token_of(Request((1,), 1), 1, logits)
    assert token == Token(1, token.timestamp)


def test_the_drawn_token_alone_where_no_others_are_asked_for() -> None:
    token = token_of(Request((1,), 1, logprobs=0), 1, np.array([0.0, 0.0], np.float32))
    assert token.logprob == pytest.approx(np.log(0.5))
    assert token.most_probable == ()
