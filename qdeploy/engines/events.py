"""Server-sent events of a response, each line no longer than a limit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from qdeploy.engines.faults import garbage, too_large

DONE = "[DONE]"
"""The data of the event that ends a stream of OpenAI's API."""
MOST_LINE_BYTES = 16_000_000
"""The longest lines hold the ids of a whole prompt, or a row of log-probabilities."""


def event_data(parts: Iterable[bytes], where: str) -> Iterator[str]:
    """Yield the data of each event, up to one whose data is `[DONE]` or to the end.

    As in the standard (WHATWG HTML, 9.2.6), an event ends with an empty line, and lines of other
    fields and comments are left out. One that the end cuts off is not told.

    Args:
        parts: the response's bytes, cut anywhere.
        where: named in errors.

    Raises:
        GenerationFailed: a line or an event is longer than `MOST_LINE_BYTES`, or no UTF-8.
    """
    data: list[str] = []
    size = 0
    rest = iter(parts)
    for line in _lines(rest, where):
        if not line:
            if data and (event := "\n".join(data)) == DONE:
                next(rest, None)  # a body that was read to its end leaves the connection usable
                return
            if data:
                yield event
            data, size = [], 0
        elif line.startswith(b"data:"):
            size += len(line)
            if size > MOST_LINE_BYTES:
                raise too_large(where, MOST_LINE_BYTES)
            data.append(_text(line[5:].removeprefix(b" "), where))


def _text(line: bytes, where: str) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        raise garbage(where, "bytes that are no UTF-8") from None


def _lines(parts: Iterable[bytes], where: str) -> Iterator[bytes]:
    """Yield the lines without their ends: a line feed, with or without a carriage return."""
    rest = bytearray()
    for part in parts:
        *whole, last = part.split(b"\n")
        for end in whole:
            yield bytes(rest + end).removesuffix(b"\r")
            rest.clear()
        rest += last
        if len(rest) > MOST_LINE_BYTES:
            raise too_large(where, MOST_LINE_BYTES)
