"""JSON that qdeploy itself wrote, read back: taken whole, or refused in one line.

Each kind of file is a model with a `schema_version`, a `Literal` of the versions that are read. A
newer one is told apart from a file that is spoilt, since the way out is another.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from qdeploy.errors import CheckpointError, InputError
from qdeploy.strict import fault
from qdeploy.tensors import read_json

M = TypeVar("M", bound=BaseModel)
UPGRADE = "pip install --upgrade qdeploy"


def read(
    path: Path, *, error: type[InputError] = InputError, fix: str | None = None
) -> dict[str, Any]:
    """Read the JSON object that a file holds.

    Raises:
        InputError: of the kind *error*: missing, too large, not JSON, or not an object.
    """
    try:
        return read_json(path)
    except CheckpointError as wrong:
        raise error(wrong.what, where=path, fix=fix) from None


def build(
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
