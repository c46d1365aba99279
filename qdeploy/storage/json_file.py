"""JSON that qdeploy itself wrote, read back: taken whole, or refused in one line.

Each kind of file is a model with a `schema_version`, a `Literal` of the versions that are read. A
newer one is told apart from a file that is spoilt, since the way out is another.
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
"""No header, index or config of a real model comes near this; larger is not parsed."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F]")
UPGRADE = "pip install --upgrade qdeploy"


def read_json(
    path: Path, *, error: type[InputError] = CheckpointError, fix: str | None = None
) -> dict[str, Any]:
    """Read a JSON object, refusing files too large to be one of a checkpoint's.

    Raises:
        InputError: of the kind *error*, with *fix*: missing, too large, not JSON, or not an object.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_JSON_BYTES + 1)  # of a device, the size says nothing
        if len(text) > MAX_JSON_BYTES:
            raise error(f"larger than {MAX_JSON_BYTES} bytes", where=path, fix=fix)
        value = json.loads(text)
        if len(_SURROGATE.findall(text)) != 2 * len(_PAIR.findall(text)):
            # half of a pair is no text, unless the backslash is itself an escaped one
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
    """Build *model* from the content of the file *where*, of which *noun* says what it should be.

    *fix* is told where it is not; *upgrade* where it is newer than this qdeploy.

    Raises:
        InputError: of the kind *error*: either of these.
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
