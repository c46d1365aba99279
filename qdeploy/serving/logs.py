"""The server's log on stderr: a line for each request and event, plain or as JSON.

Prompts and answers are never logged.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone
from typing import Any

LOGGER = logging.getLogger("qdeploy.serving")
EXTRA = "fields"


def log(level: int, event: str, **fields: Any) -> None:
    """Write a line: what happened, and its fields."""
    LOGGER.log(level, event, extra={EXTRA: fields})


def failure(event: str, error: BaseException, **fields: Any) -> None:
    """Write a line about an error that nobody expected, with its traceback."""
    LOGGER.error(event, exc_info=error, extra={EXTRA: fields})


def set_up(*, as_json: bool, level: int = logging.INFO) -> None:
    """Send the log to stderr, once."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if as_json else _Plain())
    LOGGER.handlers = [handler]
    LOGGER.setLevel(level)
    LOGGER.propagate = False
    logging.getLogger("uvicorn.error").handlers = [handler]
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").propagate = False


class _Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        content = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, EXTRA, {}),
        }
        if record.exc_info:
            content["traceback"] = self.formatException(record.exc_info)
        return json.dumps(content, default=str)


class _Plain(logging.Formatter):
    """Time, level, event, and `name=value` for each field."""

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, EXTRA, {})
        parts = [_time(record), record.levelname.lower(), record.getMessage()]
        parts += [f"{name}={_shown(value)}" for name, value in fields.items()]
        line = " ".join(parts)
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")


def _shown(value: Any) -> str:
    """A value in one word: what could break or forge a line is quoted."""
    text = str(value)
    plain = text.isascii() and text.isprintable() and not set(text) & {" ", '"', "="}
    return text if plain and text else json.dumps(text)
