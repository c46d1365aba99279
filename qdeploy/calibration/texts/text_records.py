"""Texts and chats in a file: JSON lines, or plain text. The file is read once, a line at a time."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from qdeploy.errors import InputError

if TYPE_CHECKING:
    from hashlib import _Hash

LONGEST_LINE = 16 * 2**20
"""Bytes of a line of JSON. A longer one is no record: its file would be held in memory whole."""
PASSAGE = 4096
"""Characters of a text that are a record of their own: a thousand English words, of which more than
a few sequences are made."""
PIECE = 64 * 2**10
"""Bytes of plain text that are read at a time."""
JSON_NAMES = (".jsonl", ".ndjson", ".json")
KINDS = '{"messages": [{"role": "user", "content": ...}, ...]} or {"text": ...}'
AS_UTF8 = "save it as UTF-8 text, e.g. with iconv -f LATIN1 -t UTF-8"


@dataclass(frozen=True)
class Record:
    """A chat, or a passage of a text.

    Attributes:
        where: the file and the line, for messages.
        text: up to `PASSAGE` characters, or None for a chat.
        messages: the turns of a chat, unchecked.
    """

    where: str
    text: str | None = None
    messages: Sequence[Any] = ()

    @property
    def size(self) -> int:
        """Estimated bytes of it in memory."""
        return 500 + len(self.text or "") + sum(200 + len(str(turn)) for turn in self.messages)


def read_records(file: Path, digest: _Hash) -> Iterator[Record]:
    """Yield the records of *file* in their order, and update *digest* with its bytes.

    The file holds a JSON object a line if its first line is one, or its name says so; else it is
    plain text.

    Raises:
        InputError: the file is missing, not UTF-8 text, or a line is not a record.
    """
    if file.is_dir():
        raise InputError("is a folder", where=file, fix="give a file of texts or chats")
    if file.exists() and not file.is_file():
        raise InputError("is not a regular file", where=file, fix="save the texts to a file first")
    try:
        with file.open("rb") as source:
            lines = _is_json_lines(file, source)
            source.seek(0)
            yield from (_json_lines if lines else _plain_text)(file, source, digest)
    except OSError as error:
        raise InputError(
            f"the file cannot be read ({error.strerror})",
            where=file,
            fix="give a file of texts or chats, as JSON lines or plain text",
        ) from None


def passages(pieces: Iterable[str]) -> Iterator[str]:
    """Cut a text that comes in *pieces* into passages of up to `PASSAGE` characters.

    A passage ends at a line break or a space where there is one in its second half.
    """
    held = ""
    for piece in pieces:
        held += piece
        while len(held) > PASSAGE:
            breaks = (held.rfind(mark, PASSAGE // 2, PASSAGE) + 1 for mark in ("\n", " "))
            end = next(filter(None, breaks), PASSAGE)
            yield held[:end]
            held = held[end:]
    if held:
        yield held


def _is_json_lines(file: Path, source: BinaryIO) -> bool:
    if file.suffix.lower() in JSON_NAMES:
        return True
    while line := source.readline(PIECE):
        if start := line.removeprefix(codecs.BOM_UTF8).strip():
            return start.startswith(b"{") and start[1:].lstrip().startswith(b'"')
    return False


def _json_lines(file: Path, source: BinaryIO, digest: _Hash) -> Iterator[Record]:
    number = 0
    while line := source.readline(LONGEST_LINE + 1):
        number += 1
        where = f"{file}, line {number}"
        digest.update(line)
        if len(line) > LONGEST_LINE:
            raise InputError(
                f"longer than {LONGEST_LINE // 2**20} MiB",
                where=where,
                fix="give long texts as several records, or as a file of plain text",
            )
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        _refuse_nul(line, where)
        try:
            text = line.decode().strip()
        except UnicodeDecodeError as error:
            raise _not_utf8(error, where) from None
        if text:
            yield from _records(text, where)


def _records(line: str, where: str) -> Iterator[Record]:
    """The records of one line."""
    try:
        content = json.loads(line)
        if "\\u" in line:
            json.dumps(content, ensure_ascii=False).encode()  # fails for lone surrogates
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"not valid JSON ({error})", where=where, fix=f"write one object a line: {KINDS}"
        ) from None
    if not isinstance(content, Mapping):
        raise InputError(
            "not a JSON object", where=where, fix=f"write one object a line, not a list: {KINDS}"
        )
    if (messages := content.get("messages")) is not None:
        if not isinstance(messages, list) or not messages:
            raise InputError("'messages' is not a list of turns", where=where, fix=f"give {KINDS}")
        yield Record(where, messages=messages)
    elif isinstance(content.get("text"), str):
        yield from (Record(where, text=passage) for passage in passages([content["text"]]))
    elif "text" in content:
        raise InputError("'text' is not text", where=where, fix='give {"text": "..."}')
    else:
        raise InputError("has neither 'messages' nor 'text'", where=where, fix=f"give {KINDS}")


def _plain_text(file: Path, source: BinaryIO, digest: _Hash) -> Iterator[Record]:
    for passage in passages(_decoded(file, source, digest)):
        if passage.strip():
            yield Record(str(file), text=passage)


def _decoded(file: Path, source: BinaryIO, digest: _Hash) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    line = 1
    while True:
        data = source.read(PIECE)
        digest.update(data)
        _refuse_nul(data, str(file))
        try:
            yield decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            line += error.object[: error.start].count(b"\n")
            raise _not_utf8(error, f"{file}, line {line}") from None
        if not data:
            return
        line += data.count(b"\n")


def _refuse_nul(data: bytes, where: str) -> None:
    if b"\0" in data:
        raise InputError("has NUL bytes, so it is binary data or UTF-16", where=where, fix=AS_UTF8)


def _not_utf8(error: UnicodeDecodeError, where: str) -> InputError:
    return InputError(f"not UTF-8 text ({error.reason})", where=where, fix=AS_UTF8)
