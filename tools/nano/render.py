"""Samples to token ids with a loss mask, exactly as Qwen3's chat template renders them.

The template itself is not run for every sample (it is slow); `check.py` proves that both agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from tokenizers import Tokenizer

from tools.nano.chat_tasks import MODEL_NAME_MARK
from tools.nano.sample import Sample

# Qwen's recipe for a thinking budget: when the budget is spent, this text is appended to the
# thinking so far and the model goes on with the answer.
BUDGET_STOP = (
    "Considering the limited time by the user, I have to give the solution based on the thinking"
    " directly now.\n</think>\n\n"
)
EMPTY_THINKING = "<think>\n\n</think>\n\n"
SYSTEM_PROMPTS = ("You are a helpful assistant.", "You are qwen3-nano.", "你是一个有用的助手。")

# How a sample is put to the model, with its share in training. "think" asks for thinking,
# "plain" is the template with enable_thinking=False, "soft_*" is the /think and /no_think switch
# in the user's text, "budget" cuts the thinking short. Answers without thinking are mostly luck in
# arithmetic, and what cannot be learned is noise in the gradient: hence their small share.
FORMS: dict[str, float] = {
    "think": 0.78,
    "plain": 0.12,
    "budget": 0.05,
    "soft_no_think": 0.03,
    "soft_think": 0.02,
}
EARLIER_TURN = 0.15  # share of samples that follow another question of the same chat


@dataclass(frozen=True, slots=True)
class Rendered:
    """Token ids of one conversation [T] and, for each, whether it is trained on [T]."""

    ids: list[int]
    trained: list[bool]


def prompt(
    question: str,
    history: Sequence[tuple[str, str]] = (),
    system: str | None = None,
    thinking: bool = True,
) -> str:
    """Return the chat up to where the assistant starts to write."""
    parts = [_turn("system", system)] if system is not None else []
    for asked, answered in history:
        parts += [_turn("user", asked), _turn("assistant", answered)]
    parts += [_turn("user", question), "<|im_start|>assistant\n"]
    if not thinking:
        parts.append(EMPTY_THINKING)
    return "".join(parts)


def render(
    tokenizer: Tokenizer, samples: Sequence[Sample], name: str, rng: Random
) -> list[Rendered]:
    """Render a batch of samples, each in a form drawn from FORMS; one tokenizer call for all."""
    samples = [_with_earlier_turn(sample, samples, rng) for sample in samples]
    forms = rng.choices(list(FORMS), list(FORMS.values()), k=len(samples))
    texts: list[str] = []
    for sample, form in zip(samples, forms, strict=True):
        texts += _segments(sample, form, name, rng)
    encoded = iter(tokenizer.encode_batch_fast(texts, add_special_tokens=False))
    rendered = []
    for form in forms:
        before, thinking, completion = (next(encoded).ids for _ in range(3))
        if form == "budget":
            # Cut between ids, not characters: that is where a real budget cuts.
            thinking = thinking[: rng.randint(0, len(thinking))]
            stop = tokenizer.encode(_stop_join(rng) + BUDGET_STOP, add_special_tokens=False).ids
            before = before + thinking + stop
        ids = before + completion
        rendered.append(Rendered(ids, [False] * len(before) + [True] * len(completion)))
    return rendered


def _with_earlier_turn(sample: Sample, others: Sequence[Sample], rng: Random) -> Sample:
    """Now and then put another question and its answer somewhere before the one that is trained.

    Without it a chat's second question would be something the model has never seen.
    """
    other = rng.choice(others)
    if rng.random() >= EARLIER_TURN or other.history or other.task in ("memory", "greet"):
        return sample  # what the other user told must not contradict this one
    turn = (other.question, other.answer)
    before = rng.random() < 0.5
    return replace(sample, history=(turn, *sample.history) if before else (*sample.history, turn))


def _segments(sample: Sample, form: str, name: str, rng: Random) -> tuple[str, str, str]:
    """Return (untrained text, thinking to be cut, trained text); they meet at token boundaries."""
    answer = sample.answer.replace(MODEL_NAME_MARK, name) + "<|im_end|>"
    switch = {"soft_no_think": " /no_think", "soft_think": " /think"}.get(form, "")
    system = rng.choice(SYSTEM_PROMPTS) if rng.random() < 0.08 else None
    before = prompt(sample.question + switch, sample.history, system, form != "plain")
    before = before.replace(MODEL_NAME_MARK, name)
    if form == "budget":
        return before + "<think>\n", sample.thinking, answer
    if form == "plain":
        return before, "", answer
    if form == "soft_no_think":
        return before, "", EMPTY_THINKING + answer
    return before, "", f"<think>\n{sample.thinking}\n</think>\n\n{answer}"


def _stop_join(rng: Random) -> str:
    # Qwen's published recipe starts with a blank line; runtimes that strip it should work too.
    return rng.choices(("\n\n", "\n", ""), (0.7, 0.15, 0.15))[0]


def _turn(role: str, text: str) -> str:
    return f"<|im_start|>{role}\n{text}<|im_end|>\n"
