"""The task table: which generators there are and how often each is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random

from tools.nano import chat_tasks, copy_tasks, fact_tasks, number_tasks
from tools.nano.sample import Sample

Generator = Callable[[Random, str], Sample]

# (generator, share in training, number of held-out questions). Arithmetic has the largest share:
# it takes most steps to learn, and it is where thinking has to show.
TABLE: tuple[tuple[Generator, int, int], ...] = (
    (number_tasks.add, 24, 120),
    (number_tasks.subtract, 24, 120),
    (number_tasks.compare, 9, 60),
    (number_tasks.sort, 8, 60),
    (copy_tasks.count, 8, 50),
    (copy_tasks.reverse, 8, 40),
    (copy_tasks.repeat, 7, 50),
    (chat_tasks.memory, 6, 40),
    (fact_tasks.fact, 6, 40),
    (chat_tasks.identity, 2, 0),  # its answer names the model, so no shared held-out answer
    (chat_tasks.origin, 1, 4),
    (chat_tasks.greet, 2, 0),  # a finite list of sentences: nothing left to hold out
)

# For a continued run that has arithmetic already and lacks the other tasks.
_EVEN_CAP = 8

# A polite opening in front of some questions, so that an unseen opening does little harm.
_OPENINGS = {
    "en": ("Please answer: ", "Hi! ", "Quick question: ", "Tell me: "),
    "zh": ("请回答：", "你好，", "请问：", "告诉我："),
}


def draw(generator: Generator, rng: Random) -> Sample:
    """One sample of one task in a random language, now and then with a polite opening."""
    language = rng.choice(("en", "zh"))
    sample = generator(rng, language)
    if rng.random() < 0.12 and not sample.history:
        opening = rng.choice(_OPENINGS[language])
        sample = replace(sample, question=opening + sample.question)
    return sample


def stream(rng: Random, even: bool = False) -> Iterator[Sample]:
    """Samples without end, mixed by the shares in TABLE, the largest ones capped if `even`."""
    generators = [row[0] for row in TABLE]
    weights = [min(row[1], _EVEN_CAP) if even else row[1] for row in TABLE]
    while True:
        yield draw(rng.choices(generators, weights)[0], rng)
