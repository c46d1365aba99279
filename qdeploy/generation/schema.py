"""JSON schemas that an answer has to keep to."""

from __future__ import annotations

import json

from qdeploy.errors import InputError


def check_schema(text: str | None) -> None:
    """Check that *text*, if any, is a JSON Schema as far as its outermost brackets.

    What the schema says is checked by the runtime that follows it.

    Raises:
        InputError: it is not an object in JSON.
    """
    if text is None:
        return
    try:
        schema, reason = json.loads(text), ""
    except (ValueError, RecursionError) as error:
        schema, reason = None, f" ({error})"
    if not isinstance(schema, dict):
        raise InputError(
            f"the JSON schema is not an object in JSON{reason}",
            fix='give a schema, e.g. {"type": "object"}',
        )
