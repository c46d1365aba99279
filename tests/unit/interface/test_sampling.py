"""What a request may ask of the next token, and what penalties do to its logits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from qdeploy.errors import InputError
from qdeploy.interface import LogitsProcessor, Sampling

LOGITS = np.array([4.0, -1.0, 2.0, 0.5], np.float32)


def processed(prompt: list[int], made: list[int], **how: float) -> list[float]:
    process = LogitsProcessor(Sampling(**how), prompt)  # type: ignore[arg-type]
    for token in made:
        process.append(token)
    return [float(x) for x in process(LOGITS)]


def test_a_repetition_penalty_lowers_what_prompt_and_answer_hold_once() -> None:
    assert processed([0, 0, 1], [1, 0], repetition_penalty=2.0) == [2.0, -2.0, 2.0, 0.5]


def test_a_presence_penalty_lowers_what_was_generated_and_no_prompt() -> None:
    assert processed([2, 3], [0, 1, 1], presence_penalty=1.5) == [2.5, -2.5, 2.0, 0.5]
    assert processed([2, 3], [], presence_penalty=1.5) == LOGITS.tolist()


def test_a_presence_penalty_comes_after_the_repetition_penalty() -> None:
    both = {"repetition_penalty": 2.0, "presence_penalty": 1.0}
    assert processed([], [0, 1], **both) == [1.0, -3.0, 2.0, 0.5]


def test_min_p_drops_what_is_less_probable_after_the_temperature() -> None:
    """exp((2 - 4) / 1) is 0.14, and exp((2 - 4) / 4) is 0.61."""
    assert processed([], [], temperature=1.0, min_p=0.2) == [4.0, -math.inf, -math.inf, -math.inf]
    assert processed([], [], temperature=4.0, min_p=0.5) == [4.0, -math.inf, 2.0, -math.inf]
    assert processed([], [], min_p=0.5) == LOGITS.tolist(), "greedy needs none"


@pytest.mark.parametrize("tiny", [5e-324, 1e-46])
def test_what_is_zero_in_32_bits_is_greedy_or_refused(tiny: float) -> None:
    assert Sampling(tiny).greedy
    for name in ("top_p", "repetition_penalty"):
        with pytest.raises(InputError):
            Sampling(**{name: tiny})  # type: ignore[arg-type]


def test_the_largest_penalties_leave_finite_logits() -> None:
    for penalty in (1e300, 1e-37):
        assert np.isfinite(processed([0, 1, 2], [], repetition_penalty=penalty)).all()


def test_the_logits_that_it_is_given_stay_as_they_are() -> None:
    before = LOGITS.copy()
    processed([0], [1], repetition_penalty=1.5, presence_penalty=1.0, temperature=1.0, min_p=0.9)
    assert np.array_equal(before, LOGITS)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"min_p": -0.1}, "min-p is -0.1"),
        ({"min_p": 1.5}, "min-p is 1.5"),
        ({"min_p": math.nan}, "min-p is nan"),
        ({"repetition_penalty": 0.0}, "the repetition penalty is 0.0"),
        ({"repetition_penalty": math.inf}, "the repetition penalty is inf"),
        ({"repetition_penalty": math.nan}, "the repetition penalty is nan"),
        ({"presence_penalty": 2.5}, "the presence penalty is 2.5"),
        ({"presence_penalty": math.nan}, "the presence penalty is nan"),
    ],
)
def test_a_number_out_of_its_range_is_refused(how: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        Sampling(**how)
    assert caught.value.fix is not None
