"""What the template writes between turns, while a model writes the turns."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdeploy import models
from qdeploy.calibration.texts.turns import Script, Turns, find_turns
from qdeploy.tokenization.tokenizer import Tokenizer
from tests.support import llama, tokenizer_variants
from tests.support.chat_templates import CHATML
from tests.support.tokenizer_variants import settings

NANO = Tokenizer(models.path("qwen3-nano"))
END, OVER = 24, 22
MADE = Turns(opening=(1, 2), answer=(END, 3), question=(END, 4, 5), ends=frozenset({END, OVER}))


def written(turns: Turns, *drawn: int) -> list[int]:
    """The sequence in which a model draws these tokens, up to where it is to draw the next one."""
    ids: list[int] = []
    rest = iter(drawn)
    script = Script(turns)
    while (token := next(rest, None) if script.due is None else script.due) is not None:
        ids.append(token)
        script.add(token)
    return ids


def variant(folder: Path, template: str) -> Tokenizer:
    settings(chat_template=template)(tokenizer_variants.copy_text(folder))
    return Tokenizer(folder)


def test_turns_of_qwen3_are_what_a_chat_has_around_its_texts() -> None:
    turns = find_turns(NANO)
    asked = NANO.encode(NANO.render([{"role": "user", "content": "Hi"}]))
    assert [*turns.opening, *NANO.encode("Hi"), *turns.answer] == asked
    chat = [{"role": "user", "content": "A"}, {"role": "assistant", "content": "B"}] * 2
    rendered = NANO.encode(NANO.render(chat))
    at = rendered.index(turns.question[0], rendered.index(turns.question[0]) + 1)
    assert tuple(rendered[at : at + len(turns.question)]) == turns.question
    assert {turns.answer[0], turns.question[0]} == {NANO.id_of("<|im_end|>")}
    assert turns.question[1:] == (*NANO.encode("\n"), *turns.opening)


def test_a_system_prompt_of_the_template_comes_once(tmp_path: Path) -> None:
    turns = find_turns(variant(tmp_path / "it", CHATML))
    assert "helpful assistant" in NANO.decode(turns.opening)
    assert "helpful assistant" not in NANO.decode(turns.question)


def test_llama_begins_with_its_first_token(tmp_path: Path) -> None:
    tokenizer = Tokenizer(llama.write(tmp_path / "it"))
    turns = find_turns(tokenizer)
    assert turns.opening[: len(tokenizer.prefix)] == tokenizer.prefix
    assert turns.answer[0] == turns.question[0] == tokenizer.id_of(llama.END)


@pytest.mark.parametrize("template", [None, "{{ raise_exception('no') }}", "no content"])
def test_without_a_usable_template_a_text_begins_with_a_line(
    template: str | None, tmp_path: Path
) -> None:
    tokenizer = variant(tmp_path / "it", template or "")
    if template is None:
        settings("chat_template")(tmp_path / "it")
    turns = find_turns(tokenizer)
    assert turns.opening == tuple(NANO.encode("\n"))
    assert turns.answer == turns.question == ()
    assert turns.ends == NANO.stop_ids


def test_a_template_that_ends_turns_with_words_is_left_to_the_model(tmp_path: Path) -> None:
    words = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    turns = find_turns(variant(tmp_path / "it", words))
    assert NANO.decode(turns.opening) == "user: "
    assert turns.answer == turns.question == ()


def test_the_template_writes_between_a_question_and_its_answer() -> None:
    assert written(MADE, 10, 11, END, 12, END, 13) == [
        1, 2, 10, 11, END, 3, 12, END, 4, 5, 13,
    ]  # fmt: skip


def test_after_the_end_of_a_text_a_new_one_begins() -> None:
    assert written(MADE, 10, OVER, 11, END, 12, OVER, 13) == [
        1, 2, 10, OVER, 1, 2, 11, END, 3, 12, OVER, 1, 2, 13,
    ]  # fmt: skip


def test_without_turns_every_end_begins_a_new_text() -> None:
    plain = Turns((1,), (), (), frozenset({END, OVER}))
    assert written(plain, 10, END, 11, OVER, 12) == [1, 10, END, 1, 11, OVER, 1, 12]


def test_a_script_goes_on_at_any_token() -> None:
    ids = written(MADE, 10, 11, END, 12, OVER, 13, END, 14)
    for length in range(len(ids)):
        whole, resumed = Script(MADE, ids[:length]), Script(MADE, ids[: length // 2])
        for token in ids[length // 2 : length]:
            resumed.add(token)
        assert whole.due == resumed.due
