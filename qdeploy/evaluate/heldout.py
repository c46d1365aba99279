"""Exact match on the held-out questions of the embedded models, with and without thinking."""

from __future__ import annotations

from collections.abc import Sequence

from qdeploy.evaluate.reference import Count
from qdeploy.generation.generate import Generation
from qdeploy.generation.settings import Settings
from qdeploy.interface import Sampling, Session
from qdeploy.models import HeldOut
from qdeploy.tokenization.tokenizer import Tokenizer

NEW_TOKENS = 400
"""The longest reasoning takes about 250 tokens."""
MODES = {"thinking": True, "answer": False}


def exact_match(
    session: Session, tokenizer: Tokenizer, questions: Sequence[HeldOut], progress: Count
) -> dict[str, float]:
    """Percentage of questions answered exactly with greedy decoding, by mode.

    *questions* must not be empty.
    """
    total, done = len(MODES) * len(questions), 0
    percentages = {}
    for mode, thinking in MODES.items():
        settings = Settings(thinking, max_new_tokens=NEW_TOKENS, sampling=Sampling())
        correct = 0
        for question in questions:
            progress(done, total)
            correct += _answer(session, tokenizer, question.question, settings) == question.answer
            done += 1
        percentages[mode] = 100 * correct / len(questions)
    progress(total, total)
    return percentages


def _answer(session: Session, tokenizer: Tokenizer, question: str, settings: Settings) -> str:
    generation = Generation(session, tokenizer, [{"role": "user", "content": question}], settings)
    for _ in generation:
        pass
    return generation.text.strip()
