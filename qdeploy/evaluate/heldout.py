"""Exact match on the embedded models' held-out questions, with thinking and without."""

from __future__ import annotations

from collections.abc import Sequence

from qdeploy.evaluate.reference import Count
from qdeploy.generation.generate import Generation, Settings
from qdeploy.interface import Sampling, Session
from qdeploy.models import HeldOut
from qdeploy.tokenization.tokenizer import Tokenizer

NEW_TOKENS = 400
"""The longest worked sum takes about 250."""
MODES = {"thinking": True, "answer": False}


def exact_match(
    session: Session, tokenizer: Tokenizer, questions: Sequence[HeldOut], progress: Count
) -> dict[str, float]:
    """Percent of the questions answered exactly, greedy, by mode; at least one question."""
    total, done = len(MODES) * len(questions), 0
    found = {}
    for mode, think in MODES.items():
        settings = Settings(think, max_new_tokens=NEW_TOKENS, sampling=Sampling())
        right = 0
        for question in questions:
            progress(done, total)
            right += _answer(session, tokenizer, question.question, settings) == question.answer
            done += 1
        found[mode] = 100 * right / len(questions)
    progress(total, total)
    return found


def _answer(session: Session, tokenizer: Tokenizer, question: str, settings: Settings) -> str:
    generation = Generation(session, tokenizer, [{"role": "user", "content": question}], settings)
    for _ in generation:
        pass
    return generation.text.strip()
