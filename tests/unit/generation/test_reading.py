"""Answers read wherever tokens cut them: what is told does not depend on the cuts."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qdeploy.generation.generate import Generation
from qdeploy.generation.pieces import Piece, tool_calls
from qdeploy.generation.reading.answer import AnswerReader
from qdeploy.generation.reading.calls import Body
from qdeploy.generation.reading.json_call import JsonBody
from qdeploy.generation.reading.xml_call import XmlBody
from qdeploy.generation.settings import Settings
from qdeploy.interface import Token
from qdeploy.tokenization.tokenizer import Tokenizer
from tests.support.answers import NANO, QUESTION, joined, script
from tests.support.scripted import ScriptedSession
from tests.support.tools import TOOLS, call, without_tags, xml_call


@pytest.mark.parametrize(
    ("thinking", "text", "expected"),
    [
        (False, "1</think>2", ["content", None, "content"]),
        (False, "<think>1</think>2", [None, "reasoning", None, "content"]),
        (True, "1</think>2", ["reasoning", None, "content"]),
        (False, "12", ["content", "content"]),
        (False, "<think>1", [None, "reasoning"]),
    ],
)
def test_every_token_belongs_to_a_channel_and_tags_to_none(
    thinking: bool, text: str, expected: list[str | None]
) -> None:
    reader = AnswerReader(NANO, thinking=thinking)
    found: list[str | None] = []
    for token in NANO.encode(text):
        pieces = list(reader.push(Token(token, 0.0)))
        found.append(pieces[0].channel if pieces else None)
    assert found == expected
    assert reader.thinking_tokens == expected.count("reasoning")


@dataclass(frozen=True)
class Told:
    """What a reader tells of an answer."""

    reasoning: str
    content: str
    calls: list[tuple[str, str]]

    @staticmethod
    def of(pieces: list[Piece]) -> Told:
        calls = [(each.name, each.arguments) for each in tool_calls(pieces)]
        return Told(joined(pieces, "reasoning"), joined(pieces, "content"), calls)


def read(
    tokenizer: Tokenizer, parts: Sequence[str], body: type[Body] = JsonBody, **settings: Any
) -> Told:
    """Read an answer whose *parts* are tokenized one by one."""
    make = body if body is JsonBody else lambda: XmlBody({})
    reader = AnswerReader(tokenizer, thinking=False, body=make, **settings)
    pieces: list[Piece] = []
    for part in parts:
        for token in tokenizer.encode(part):
            if not reader.ended:
                pieces += reader.push(Token(token, 0.0))
    pieces += reader.finish(stopped=True)
    return Told.of(pieces)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return without_tags(tmp_path_factory.mktemp("bare"))


BITS = (
    "a", "\n", " 汉 ", "<", "<t", "</", "END", "EN", "<think>", "</think>", "<tool_call>",
    "</tool_call>", call(), call("say", text="x </tool_call> y"), '{"name": "f"', "}", '"',
    '<tool_call>{"name": "f", "arguments": {"a": "', "<function=f>", "<parameter=p>",
    "</parameter>", "</function>", xml_call("f", p="1", q="</tool_call>"),
)  # fmt: skip
"""What answers are made of here, whole and broken."""


@pytest.mark.parametrize("body", [JsonBody, XmlBody])
@given(
    bits=st.lists(st.sampled_from(BITS), max_size=6),
    cuts=st.lists(st.integers(0, 300), max_size=12),
)
@example(bits=["</think>", call(), "</tool_call>"], cuts=[3, 5, 9, 12, 40])
def test_characters_that_are_cut_anywhere_are_read_the_same(
    bare: Tokenizer, body: type[Body], bits: list[str], cuts: list[int]
) -> None:
    """Tags are text for this tokenizer, so that a cut may go through them."""
    text = "".join(bits)
    ends = sorted({cut for cut in cuts if cut < len(text)} | {0, len(text)})
    parts = [text[a:b] for a, b in itertools.pairwise(ends)]
    told = read(bare, parts, body, stop=("END",))
    assert told == read(bare, [text], body, stop=("END",))
    assert told == read(bare, list(text), body, stop=("END",))


@given(st.lists(st.sampled_from(BITS), max_size=6))
def test_nothing_is_lost_but_tags_and_blank_lines(bits: list[str]) -> None:
    """Letters of the answer come back in their order, in one channel or another."""
    told = read(NANO, bits)
    letters = told.reasoning + told.content + "".join(a + b for a, b in told.calls)
    assert sorted(letters).count("汉") == "".join(bits).count("汉")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(BITS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@given(
    st.lists(
        st.tuples(st.sampled_from("fg"), st.dictionaries(st.text(max_size=4), JSON, max_size=2)),
        max_size=3,
    ),
    st.booleans(),
)
@settings(max_examples=40)
def test_any_calls_come_back_as_they_were(
    asked: list[tuple[str, dict[str, Any]]], escaped: bool
) -> None:
    bodies = [
        json.dumps({"name": name, "arguments": arguments}, ensure_ascii=escaped)
        for name, arguments in asked
    ]
    text = "\n".join(f"<tool_call>\n{body}\n</tool_call>" for body in bodies)
    told = read(NANO, [f"Calls:\n{text}"])
    assert [(name, json.loads(arguments)) for name, arguments in told.calls] == asked
    assert told.content.rstrip("\n") == "Calls:"


def test_threads_share_a_tokenizer(tmp_path: Path) -> None:
    """Also its first use, which reads the files."""
    shared = Tokenizer(NANO.folder)
    texts = [f"<think>\n{i} 汉\n</think>\n\n{call('say', text=str(i))}" for i in range(32)]

    def run(text: str) -> tuple[str, list[str]]:
        session = ScriptedSession(script(text))
        generation = Generation(session, shared, QUESTION, Settings(tools=TOOLS))
        for _ in generation:
            pass
        return generation.thinking, [each.arguments for each in generation.tool_calls]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(run, texts))
    assert found == [(f"{i} 汉", [f'{{"text": "{i}"}}']) for i in range(32)]
