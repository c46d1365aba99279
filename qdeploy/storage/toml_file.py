"""TOML files that a person wrote: parsed into a `Strict` model, or refused with one message.

An unknown key is an error that names the file, the key and the nearest known key, so that a typo
never silently means "default". See `json_file` for files that a program wrote.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import resources
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from qdeploy.errors import InputError, did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

M = TypeVar("M", bound=BaseModel)


class Strict(BaseModel):
    """Base of the models of settings files, and of files that qdeploy writes."""

    # NaN and infinity are valid in TOML but not in JSON, so a manifest could not hold them
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def parse_toml(text: str, *, where: object, error: type[InputError] = InputError) -> dict[str, Any]:
    """Parse TOML text.

    Raises:
        InputError: of the class *error*: the text is not TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as wrong:
        raise error(f"not valid TOML ({wrong})", where=where) from None


def read_shipped_toml(name: str) -> dict[str, Any]:
    """Parse a TOML file of this package; *name* is its path below `qdeploy/`."""
    return parse_toml((resources.files("qdeploy") / name).read_text(encoding="utf-8"), where=name)


def build_strict(
    model: type[M],
    values: Mapping[str, Any],
    *,
    where: object,
    error: type[InputError] = InputError,
) -> M:
    """Build *model* from a table; *where* names the file in errors.

    Raises:
        InputError: of the class *error*: a key is unknown or missing, or a value is invalid.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as wrong:
        raise _explain(wrong, model, where, error) from None


def fault(wrong: ValidationError) -> tuple[str, str]:
    """Return the first validation error: the dotted key, and the message in lower case."""
    first = wrong.errors()[0]
    return _key(first["loc"]), first["msg"].lower().removeprefix("value error, ")


def _key(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location))


def _explain(
    wrong: ValidationError, model: type[BaseModel], where: object, error: type[InputError]
) -> InputError:
    """Turn pydantic's errors into one error with a fix.

    An unknown key is reported first: if it is misspelt, the right key is reported missing as well.
    """
    found = wrong.errors()
    first = next((e for e in found if e["type"] == "extra_forbidden"), found[0])
    key = _key(first["loc"])
    if first["type"] == "extra_forbidden":
        known = _keys_beside(model, first["loc"])
        return error(
            f"unknown key {key!r}", where=where, fix=did_you_mean(str(first["loc"][-1]), known)
        )
    if first["type"] == "missing":
        return error(f"key {key!r} is missing", where=where, fix=f"add {key} to the file")
    got = f", got {first['input']!r}" if not isinstance(first["input"], dict) else ""
    return error(f"{key}: {first['msg']}{got}", where=where)


def _keys_beside(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the keys allowed in the table that holds the key at *location*."""
    for part in location[:-1]:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        arguments = get_args(annotation) or (annotation,)
        model = next(a for a in arguments if isinstance(a, type) and issubclass(a, BaseModel))
    return [f.alias or n for n, f in model.model_fields.items() if n != "name"]
