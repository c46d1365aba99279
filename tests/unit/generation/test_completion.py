"""A plain text continued, over a runtime whose tokens are scripted."""

from __future__ import annotations

from qdeploy.generation.completion import Completion
from qdeploy.generation.settings import Settings
from tests.support.answers import NANO, script
from tests.support.scripted import ScriptedSession


def complete(session: ScriptedSession, prompt: str = "2 + 2", **settings: int) -> Completion:
    completion = Completion(session, NANO, prompt, Settings(**settings))  # type: ignore[arg-type]
    assert "".join(piece.text for piece in completion) == completion.text
    return completion


def test_a_text_is_continued_without_a_chat_template() -> None:
    session = ScriptedSession(script(" = 4"))
    completion = complete(session)
    assert completion.text == " = 4"
    assert session.requests[0].prompt_ids == tuple(NANO.encode("2 + 2"))


def test_tags_are_text_like_any_other() -> None:
    assert complete(ScriptedSession(script("<think>a</think>"))).text == "<think>a</think>"
