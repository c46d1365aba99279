"""JSON files that a program wrote: read into a model, or refused with one message.

A file that qdeploy writes is a model with a `schema_version`, a `Literal` of the versions that this
qdeploy reads. A newer version and a damaged file are different errors, since their fixes differ.
See `toml_file` for files that a person wrote.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from qdeploy.errors import CheckpointError, InputError
from qdeploy.storage.toml_file import fault

M = TypeVar("M", bound=BaseModel)
MAX_JSON_BYTES = 100 * 2**20
"""Larger files are refused: the headers, indexes and configs of real models are far smaller."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F]")
UPGRADE = "pip install --upgrade qdeploy"


def read_json(
    path: Path, *, error: type[InputError] = CheckpointError, fix: str | None = None
) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InputError: of the class *error*, with *fix*: the file is missing, too large, not JSON, or
            not an object.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_JSON_BYTES + 1)  # a device has no size to check first
        if len(text) > MAX_JSON_BYTES:
            raise error(f"larger than {MAX_JSON_BYTES} bytes", where=path, fix=fix)
        value = json.loads(text)
        if len(_SURROGATE.findall(text)) != 2 * len(_PAIR.findall(text)):
            # a lone surrogate is not text; encoding ignores backslashes that are escaped
            json.dumps(value, ensure_ascii=False).encode()
    except FileNotFoundError:
        raise error("file is missing", where=path, fix=fix) from None
    except OSError as failure:
        raise error(f"cannot be read ({failure.strerror})", where=path, fix=fix) from None
    except (ValueError, RecursionError) as failure:
        raise error(f"not valid JSON ({failure})", where=path, fix=fix) from None
    if not isinstance(value, dict):
        raise error("not a JSON object", where=path, fix=fix)
    return value


def build_versioned(
    model: type[M],
    content: Mapping[str, Any],
    *,
    noun: str,
    where: Path,
    error: type[InputError] = InputError,
    fix: str | None = None,
    upgrade: str = UPGRADE,
) -> M:
    """Build *model* from the content of the file *where*, which should be a *noun*.

    Raises:
        InputError: of the class *error*: the content is not valid (with *fix*), or its version is
            newer than this qdeploy (with *upgrade*).
    """
    newest = max(get_args(model.model_fields["schema_version"].annotation))
    version = content.get("schema_version")
    if isinstance(version, int) and version > newest:
        raise error(
            f"a {noun} of schema version {version}; this qdeploy reads up to {newest}",
            where=where,
            fix=upgrade,
        )
    try:
        return model.model_validate(content)
    except ValidationError as wrong:
        key, complaint = fault(wrong)
        raise error(f"not a {noun}: {key}: {complaint}", where=where, fix=fix) from None
