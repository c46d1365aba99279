"""How far a bundle's logits and answers are from the float model's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from qdeploy import models
from qdeploy.evaluate.golden import golden_prompts, measure_distance
from qdeploy.interface import Request
from qdeploy.models import HeldOut
from tests.conformance.conftest import Loaded
from tests.conformance.flows import Flow, all_flows

Answers = dict[HeldOut, bool]

HELD_OUT_POINTS = 2.0
FLOAT_ARITHMETIC = 90.0
"""Percent of sums and differences that the float model answers right with thinking."""
FEW = 24
"""Tokens of a golden prompt that a test with a slow simulated device uses."""
EVERY, EVERY_OF_FLOATS, EVERY_OF_SIMULATED = 6, 18, 72
"""Every n-th held-out question is asked, since all of them take minutes on two cores. Fewer are
enough for a float bundle, whose logits are compared with the golden ones directly, and a few for a
simulated device, whose arithmetic is not the device's."""


@pytest.mark.essential
def test_logits_are_near_the_golden_ones(loaded: Loaded) -> None:
    distance = measure_distance(loaded.session, loaded.flow.model)
    profile = loaded.flow.load_profile()
    dtype, graph = profile.weights.linear.dtype, profile.graph
    assert distance.exceeded_bound(dtype, graph.activations, graph.input_activations) is None


@pytest.mark.essential
def test_the_first_tokens_are_those_of_the_logits(loaded: Loaded) -> None:
    """Greedy tokens have the highest teacher-forced logits, up to rounding."""
    prompt = golden_prompts(loaded.flow.model)[0].token_ids[:FEW].tolist()
    made = [t.id for t in loaded.session.generate(Request(tuple(prompt), 3))]
    assert len(made) == 3
    logits = loaded.session.score([*prompt, *made])[len(prompt) - 1 : -1]
    assert np.all(logits.max(-1) - logits[np.arange(3), made] < 0.5)


def test_score_and_generate_are_the_same_model(loaded: Loaded) -> None:
    """Greedy tokens are the argmax of the teacher-forced logits, up to ties within rounding."""
    text = "<|im_start|>user\nWhat is 17 + 25?<|im_end|>\n<|im_start|>assistant\n"
    prompt = loaded.tokenizer.encode(text)
    made = [t.id for t in loaded.continue_(text, 20)]
    logits = loaded.session.score([*prompt, *made])[len(prompt) - 1 : -1]
    chosen = logits[np.arange(len(made)), made]
    assert np.all(logits.max(-1) - chosen < 0.5)


@pytest.fixture(scope="session")
def float_answers(open_flow: Callable[[Flow], Loaded]) -> Callable[[Flow], Answers]:
    """Return the held-out answers of the same model's float bundle on the same backend."""
    known: dict[tuple[str, str, bool], Answers] = {}

    def get(flow: Flow) -> Answers:
        key = (flow.backend, flow.model, flow.simulate)
        if key not in known:
            floats = [f for f in all_flows() if f.is_float and (f.backend, f.model) == key[:2]]
            reference = open_flow(floats[0])
            with reference.session:
                known[key] = held_out_answers(reference, questions_for(flow))
        return known[key]

    return get


@pytest.mark.slow
def test_held_out_answers_are_as_good_as_the_float_models(
    loaded: Loaded, float_answers: Callable[[Flow], Answers]
) -> None:
    questions = questions_for(loaded.flow)
    if loaded.flow.is_float:
        sums = [q for q in questions if q.task in ("add", "subtract")]
        assert percent(held_out_answers(loaded, sums)) >= FLOAT_ARITHMETIC
    else:
        expected = percent(float_answers(loaded.flow))
        allowed = max(HELD_OUT_POINTS, 100 / len(questions))  # a single answer, where few are asked
        assert percent(held_out_answers(loaded, questions)) >= expected - allowed


def questions_for(flow: Flow) -> Sequence[HeldOut]:
    if flow.simulate:
        return models.heldout()[::EVERY_OF_SIMULATED]
    return models.heldout()[:: EVERY_OF_FLOATS if flow.is_float else EVERY]


def held_out_answers(loaded: Loaded, questions: Sequence[HeldOut]) -> Answers:
    """Whether each question was answered exactly right, with thinking."""
    return {q: is_right(loaded, q) for q in questions}


def percent(answers: Answers) -> float:
    return 100 * sum(answers.values()) / len(answers)


def is_right(loaded: Loaded, question: HeldOut) -> bool:
    return loaded.ask(question.question, thinking=True).text.strip() == question.answer
