"""Chats: text, thinking, thinking budgets, several turns."""

from __future__ import annotations

import pytest

from qdeploy import models
from qdeploy.deploy.loaded_models.chat import ChatModel
from qdeploy.deploy.run import Choice
from qdeploy.generation.generate import Generation
from qdeploy.generation.reasoning import early_stop
from qdeploy.generation.settings import Settings
from qdeploy.interface import Sampling
from tests.conformance.conftest import Loaded

SUM = "What is 4826 + 735?"
ANSWER = "5561"


@pytest.mark.parametrize("text", ["汉字测试：苹果和香蕉", "🚀🎉", "naïve café"])
def test_pieces_join_to_the_whole_text(loaded: Loaded, text: str) -> None:
    question = f"Repeat: {text}"
    settings = Settings(sampling=Sampling(), max_new_tokens=200)
    messages = [{"role": "user", "content": question}]
    generation = Generation(loaded.session, loaded.tokenizer, messages, settings)
    pieces = list(generation)
    made = [t.id for t in generation.tokens]
    assert "".join(p.text for p in pieces if p.channel == "content") == generation.text
    assert "".join(p.text for p in pieces if p.channel == "reasoning") == generation.thinking
    shown = "".join(p.text for p in pieces).replace("\n", "")
    whole = loaded.tokenizer.decode(made)
    for tag in ("<think>", "</think>"):
        whole = whole.replace(tag, "")
    assert shown == whole.replace("\n", "")


def test_characters_that_span_tokens_arrive_whole(loaded: Loaded) -> None:
    questions = [q.question for q in models.heldout() if "🚀" in q.question]
    text = loaded.ask(questions[0], thinking=False).text
    spanning = [c for c in text if len(loaded.tokenizer.encode(c)) > 1]
    assert spanning, f"the answer {text!r} has no character of several tokens"
    assert "\ufffd" not in text


def test_thinking_is_told_from_the_answer(loaded: Loaded) -> None:
    generation = loaded.ask(SUM, thinking=True)
    assert generation.thinking
    assert generation.text == ANSWER
    assert generation.finish_reason == "stop"


def test_without_thinking_there_is_none(loaded: Loaded) -> None:
    generation = loaded.ask(SUM, thinking=False)
    assert generation.thinking == ""
    assert generation.text


def test_the_budget_ends_thinking_and_still_gets_an_answer(loaded: Loaded) -> None:
    free = loaded.ask(SUM, thinking=True)
    budget = 12
    generation = loaded.ask(SUM, thinking=True, thinking_budget=budget)
    sentence = early_stop(loaded.tokenizer).split("\n</think>")[0]
    assert generation.thinking.rstrip("\n").endswith(sentence.strip("\n"))
    own_words = generation.thinking.split(sentence)[0]
    assert free.thinking.startswith(own_words)
    assert generation.text
    assert generation.finish_reason == "stop"
    assert len(generation.tokens) < len(free.tokens)


def test_thinking_ends_in_time_for_the_longest_prompt(loaded: Loaded) -> None:
    """The answer continues a prompt with all the thinking in it, which has a few tokens of room."""
    question, reply = {"role": "user", "content": SUM}, {"role": "assistant", "content": ANSWER}
    tokenizer, few = loaded.tokenizer, 5

    def tokens(turns: int) -> int:
        return len(tokenizer.encode(tokenizer.render([*[question, reply] * turns, question])))

    most = loaded.session.prompt_limit - len(tokenizer.encode(early_stop(tokenizer))) - few
    turns, rest = divmod(most - tokens(0), tokens(1) - tokens(0))
    history = [question, reply] * turns
    history[-1] = {"role": "assistant", "content": ANSWER + "1" * rest}
    generation = loaded.ask(SUM, history=history, thinking=True, thinking_budget=390)
    assert generation.prompt_tokens == most
    sentence = early_stop(tokenizer).split("\n</think>")[0].strip("\n")
    own_words, _, after = generation.thinking.partition(sentence)
    assert len(tokenizer.encode(own_words)) <= few
    assert after == ""
    assert generation.text


def test_a_budget_that_is_not_reached_changes_nothing(loaded: Loaded) -> None:
    free = loaded.ask(SUM, thinking=True)
    generous = loaded.ask(SUM, thinking=True, thinking_budget=390)
    assert generous.thinking == free.thinking
    assert generous.text == free.text


def test_recommended_sampling_answers_a_sum(loaded: Loaded) -> None:
    generation = loaded.ask(SUM, thinking=True, sampling=None, seed=3)
    assert generation.sampling.temperature == 0.6
    assert generation.text == ANSWER


def test_earlier_turns_are_remembered(loaded: Loaded) -> None:
    """Two of three names suffice: a tiny int4 model may fail once, one without history always."""
    recalled = 0
    for name in ("Ann", "Tom", "Mia"):
        told = {"role": "user", "content": f"My name is {name}."}
        heard = {"role": "assistant", "content": loaded.ask(told["content"], thinking=False).text}
        answer = loaded.ask("What is my name?", history=[told, heard], thinking=False).text
        recalled += name in answer
    assert recalled >= 2


def test_the_length_limit_cuts(loaded: Loaded) -> None:
    generation = loaded.ask(SUM, thinking=True, max_new_tokens=5)
    assert len(generation.tokens) == 5
    assert generation.finish_reason == "length"


def test_the_result_names_where_it_ran(loaded: Loaded, choice: Choice) -> None:
    model = ChatModel(loaded.bundle, choice, loaded.session)
    result = model.answer(loaded.ask(SUM, thinking=False)).as_dict()
    assert result["target"] == loaded.flow.target
    assert result["backend"] == loaded.flow.backend
    assert result["evidence"] == ("simulated" if loaded.flow.simulate else "device")
    assert result["ttft_ms"] > 0
    assert result["new_tokens"] == len(loaded.ask(SUM, thinking=False).tokens)
