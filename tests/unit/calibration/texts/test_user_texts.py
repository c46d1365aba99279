"""`--calibration FILE`: chats and texts as sequences, and every file that is refused."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdeploy import models
from qdeploy.calibration.texts import text_records
from qdeploy.calibration.texts import user_texts as module
from qdeploy.calibration.texts.sequences import LENGTH, SHORTEST
from qdeploy.calibration.texts.text_records import PASSAGE, passages
from qdeploy.calibration.texts.user_texts import UserTexts, user_texts
from qdeploy.errors import InputError
from qdeploy.tokenization.tokenizer import Tokenizer
from tests.support import llama, tokenizer_variants
from tests.support.tokenizer_variants import settings

NANO = Tokenizer(models.path("qwen3-nano"))
WORDS = "The quick brown fox jumps over the lazy dog while 21 + 21 = 42; 汉字 too. "


def chat(number: int, answer: str = WORDS) -> dict[str, Any]:
    asked = {"role": "user", "content": f"Question {number}?"}
    return {"messages": [asked, {"role": "assistant", "content": f"{number}: {answer}"}]}


def write(folder: Path, content: bytes | str | list[Any], name: str = "mine.jsonl") -> Path:
    """Write a file: bytes, text, or a JSON value a line."""
    file = folder / name
    if isinstance(content, list):
        content = "".join(json.dumps(line) + "\n" for line in content)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def read(file: Path, tokens: int = 16_384, tokenizer: Tokenizer = NANO, seed: int = 0) -> UserTexts:
    return user_texts(file, tokenizer, tokens=tokens, seed=seed)


def without_template(folder: Path) -> Tokenizer:
    settings("chat_template")(tokenizer_variants.copy_text(folder))
    return Tokenizer(folder)


def test_chats_are_rendered_with_their_answers(tmp_path: Path) -> None:
    file = write(tmp_path, [chat(n) | {"kind": "x"} for n in range(40)])
    found = read(file).sequences
    texts = {NANO.decode(ids) for ids in found.ids}
    for n in range(40):
        assert any(f"Question {n}?" in text and f"{n}: The quick" in text for text in texts)
    assert all(ids[0] == NANO.id_of("<|im_start|>") for ids in found.ids)
    [origin] = found.origins
    assert origin.name == "mine.jsonl"
    assert origin.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (origin.sequences, origin.tokens) == (len(found.ids), found.tokens)


def test_a_chats_first_turn_alone_is_not_a_prompt(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": f"{n}: {WORDS}"} for n in range(40)]
    found = read(write(tmp_path, [{"messages": [turn]} for turn in turns])).sequences
    assert not any(NANO.decode(ids).endswith("assistant\n") for ids in found.ids)


def test_texts_and_chats_may_be_mixed(tmp_path: Path) -> None:
    lines = [{"text": f"{n}: {WORDS}"} if n % 2 else chat(n) for n in range(40)]
    found = read(write(tmp_path, lines)).sequences
    starts = [ids[0] == NANO.id_of("<|im_start|>") for ids in found.ids]
    assert starts.count(True) == starts.count(False) == 20


def test_messages_may_be_as_in_openais_api(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": WORDS}, {"type": "text", "text": "Second part."}]
    lines = [chat(n) for n in range(40)]
    lines[7]["messages"][0]["content"] = parts
    assert any(
        "Second part." in NANO.decode(ids) for ids in read(write(tmp_path, lines)).sequences.ids
    )


@pytest.mark.parametrize("name", ["mine.txt", "mine", "mine.md"])
def test_plain_text_is_cut_into_windows(name: str, tmp_path: Path) -> None:
    text = "\r\n".join(f"{n}: {WORDS}" for n in range(1000))
    found = read(write(tmp_path, text, name), tokens=4096).sequences
    assert 4096 - SHORTEST < found.tokens <= 4096
    assert all(SHORTEST <= len(ids) <= LENGTH for ids in found.ids)
    assert all(NANO.decode(ids).strip("�") in text for ids in found.ids)


def test_a_file_of_one_long_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_records, "PIECE", 1000)  # so that characters are cut in two
    text = "".join(f"{n} 汉字 🙂 {WORDS}" for n in range(300))
    found = read(write(tmp_path, text, "mine.txt")).sequences
    assert found.tokens > 4096
    assert all(NANO.decode(ids).strip("�") in text for ids in found.ids)


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    lines = "".join(json.dumps(chat(n)) + "\n" for n in range(40))
    marked = write(tmp_path, "\ufeff" + lines, "marked.jsonl")
    plain = write(tmp_path, lines, "plain.jsonl")
    assert read(marked).sequences.ids == read(plain).sequences.ids


def test_every_text_begins_as_the_tokenizer_begins_texts(tmp_path: Path) -> None:
    tokenizer = Tokenizer(llama.write(tmp_path / "llama"))
    [begin] = tokenizer.prefix
    lines = [{"text": f"{n}: {WORDS * 40}"} if n % 2 else chat(n, WORDS * 40) for n in range(9)]
    found = read(write(tmp_path, lines), tokenizer=tokenizer).sequences
    assert len(found.ids) > 9
    assert all(ids.count(begin) == 1 and ids[0] == begin for ids in found.ids)


def test_what_is_taken_of_more_is_spread_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, [{"text": f"<{n}> {WORDS * 5}"} for n in range(1000)])
    found = [read(file, tokens=2048, seed=seed).sequences for seed in (0, 0, 1)]
    assert found[0] == found[1]
    assert found[0] != found[2]
    numbers = sorted(int(NANO.decode(ids)[1:].partition(">")[0]) for ids in found[0].ids)
    assert len(numbers) > 8
    assert numbers[0] < 250
    assert numbers[-1] >= 750


def test_a_large_file_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_BYTES", 50_000)
    file = write(tmp_path, [{"text": f"<{n}> {WORDS * 5}"} for n in range(2000)])
    found = read(file, tokens=8192).sequences
    numbers = sorted(int(NANO.decode(ids)[1:].partition(">")[0]) for ids in found.ids)
    assert 20 < len(numbers) < 100
    assert numbers[-1] > 1500


def test_few_tokens_are_warned_of(tmp_path: Path) -> None:
    found = read(write(tmp_path, [chat(n) for n in range(20)]))
    [warning] = found.warnings
    assert f"{found.sequences.tokens:,} tokens; 16,384 are advised" in warning
    assert not read(write(tmp_path, [chat(n, WORDS * 3) for n in range(90)])).warnings


MANY = [chat(n) for n in range(40)]
USER = {"role": "user", "content": "Hi"}
REFUSED: dict[str, tuple[bytes | str | list[Any], str, str]] = {
    "empty": (b"", "has no text", "write one object a line"),
    "blank": (b" \n\n \n", "has no text", "write one object a line"),
    "empty texts": ([{"text": ""}, {"text": " \n"}], "has no text", "write one object"),
    "too short": ([chat(1)], r"too little text: \d+ tokens", "add texts or chats"),
    "short lines": ([{"text": f"{n}"} for n in range(999)], "too little text: 0 tokens", "add"),
    "the same again and again": ([chat(1)] * 99, "too little text", "add texts"),
    "one token": ([{"text": "a" * n} for n in range(50, 300)], "the same . tokens", "give texts"),
    "broken JSON": ([*MANY, "x"], "line 41: not a JSON object", "one object a line"),
    "cut JSON": (json.dumps(chat(1))[:-9], "line 1: not valid JSON", "one object a line"),
    "a list": ([MANY], "line 1: not a JSON object", "not a list"),
    "deep JSON": ("[" * 100_000, "line 1: not valid JSON", "one object a line"),
    "neither": ([*MANY, {"prompt": "a"}], "line 41: has neither 'messages' nor", "give {"),
    "no turns": ([{"messages": []}], "line 1: 'messages' is not a list of turns", "give {"),
    "a chat as text": ([{"messages": "Hi"}], "line 1: 'messages' is not a list", "give {"),
    "text as number": ([{"text": 5}], "line 1: 'text' is not text", 'give {"text"'),
    "a turn as text": ([*MANY, {"messages": ["Hi"]}], r"line 41: messages\[0\] is of", "role"),
    "no role": ([{"messages": [{"content": "a"}]}], "has the role None", "give one of"),
    "a number": ([{"messages": [USER | {"content": 5}]}], "content that is of", "give text"),
    "an image": (
        [{"messages": [USER | {"content": [{"type": "image_url", "image_url": "a"}]}]}],
        "has the type 'image_url'", "reads text only",
    ),
    "a lone surrogate": (b'{"text": "\\ud800"}', "line 1: not valid JSON", "one object a line"),
    "NUL in a line": (b'{"text": "a"}\n\0', "line 2: has NUL bytes", "UTF-8"),
    "not UTF-8": (b'{"text": "a"}\n{"text": "\xe4"}', "line 2: not UTF-8", "UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "says", "fix"), REFUSED.values(), ids=REFUSED.keys())
def test_a_file_that_is_refused(
    content: bytes | str | list[Any], says: str, fix: str, tmp_path: Path
) -> None:
    file = write(tmp_path, content)
    with pytest.raises(InputError, match=says) as caught:
        read(file)
    assert caught.value.where is not None
    assert caught.value.where.startswith(str(file))
    assert fix in str(caught.value.fix)


PLAIN: dict[str, tuple[bytes, str]] = {
    "binary": (b"\x89PNG\r\n\0\0", "has NUL bytes"),
    "UTF-16": (WORDS.encode("utf-16"), "has NUL bytes"),
    "latin-1": (b"one\ntwo\nthr\xe4e\n" + WORDS.encode() * 50, "line 3: not UTF-8"),
    "cut in a character": (WORDS.encode() * 50 + "字".encode()[:2], "not UTF-8 text"),
}


@pytest.mark.parametrize(("content", "says"), PLAIN.values(), ids=PLAIN.keys())
def test_plain_text_that_is_refused(content: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says) as caught:
        read(write(tmp_path, content, "mine.txt"))
    assert "UTF-8" in str(caught.value.fix)


def test_a_line_that_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_records, "LONGEST_LINE", 2**20)
    with pytest.raises(InputError, match="line 2: longer than 1 MiB") as caught:
        read(write(tmp_path, [chat(1), {"text": "a" * 2**20}]))
    assert "plain text" in str(caught.value.fix)


def no_file(folder: Path) -> Path:
    return folder / "none.jsonl"


def a_folder(folder: Path) -> Path:
    return folder


def a_pipe(folder: Path) -> Path:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def a_locked_file(folder: Path) -> Path:
    if sys.platform == "win32" or os.geteuid() == 0:
        pytest.skip("this user may read everything")
    file = write(folder, MANY)
    file.chmod(0)
    return file


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (no_file, "cannot be read"), (a_folder, "is a folder"),
        (a_pipe, "not a regular file"), (a_locked_file, "cannot be read"),
    ],
)  # fmt: skip
def test_no_file(make: Callable[[Path], Path], says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says) as caught:
        read(make(tmp_path))
    assert caught.value.fix


def test_a_model_without_a_template_takes_texts_only(tmp_path: Path) -> None:
    base = without_template(tmp_path / "base")
    texts = write(tmp_path, [{"text": f"{n}: {WORDS}"} for n in range(40)], "texts.jsonl")
    assert len(read(texts, tokenizer=base).sequences.ids) == 40
    with pytest.raises(InputError, match="no chat template") as caught:
        read(write(tmp_path, MANY), tokenizer=base)
    assert "line 1" in str(caught.value.where)
    assert "'text'" in str(caught.value.fix)


def test_a_chat_that_the_template_refuses(tmp_path: Path) -> None:
    folder = tokenizer_variants.copy_text(tmp_path / "strict")
    settings(chat_template="{{ raise_exception('no, thanks') }}")(folder)
    with pytest.raises(InputError, match=r"line 1.*no, thanks") as caught:
        read(write(tmp_path, [chat(1)]), tokenizer=Tokenizer(folder))
    assert caught.value.fix


@given(st.lists(st.text(max_size=9000), max_size=5))
def test_passages_are_the_text(pieces: list[str]) -> None:
    found = list(passages(pieces))
    assert "".join(found) == "".join(pieces)
    assert all(0 < len(passage) <= PASSAGE for passage in found)


def test_passages_end_at_words() -> None:
    found = list(passages([WORDS * 300]))
    assert len(found) > 3
    assert all(passage.endswith(" ") for passage in found)
