"""One generated question with its worked thinking and its answer, before any rendering."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """What a task generator returns; text only, no chat markup and no token ids."""

    task: str
    language: str  # "en" or "zh"
    question: str  # the last user message
    thinking: str  # what stands between <think> and </think>
    answer: str
    history: tuple[tuple[str, str], ...] = ()  # earlier (user, assistant) turns

    @property
    def key(self) -> str:
        """Hash of the question: the held-out set is kept out of training by this key."""
        return hashlib.sha256(self.question.strip().encode()).hexdigest()[:16]
