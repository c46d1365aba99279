"""TOML read strictly: what a person wrote is taken whole, or refused in one line.

An unknown key is refused with the file, the key and the nearest known name, so that a typo can
never silently mean "default".
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
    """The base of everything that a file of settings, or one that qdeploy wrote, may say."""

    # NaN and infinity are TOML but not JSON, so a manifest could not carry them
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def table(text: str, *, where: object, error: type[InputError] = InputError) -> dict[str, Any]:
    """Parse TOML text.

    Raises:
        InputError: of the kind *error*: not TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as wrong:
        raise error(f"not valid TOML ({wrong})", where=where) from None


def shipped(name: str) -> dict[str, Any]:
    """Parse a TOML file that lies in this package."""
    return table((resources.files("qdeploy") / name).read_text(encoding="utf-8"), where=name)


def build(
    model: type[M],
    values: Mapping[str, Any],
    *,
    where: object,
    error: type[InputError] = InputError,
) -> M:
    """Build *model* from a table; *where* names the file in errors.

    Raises:
        InputError: of the kind *error*: an unknown or missing key, or a value out of its range.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as wrong:
        raise _explain(wrong, model, where, error) from None


def fault(wrong: ValidationError) -> tuple[str, str]:
    """What pydantic complains of first: the dotted key, and the complaint in lower case.

    For files that no person wrote, where the first complaint is as good as any.
    """
    first = wrong.errors()[0]
    return _key(first["loc"]), first["msg"].lower().removeprefix("value error, ")


def _key(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location))


def _explain(
    wrong: ValidationError, model: type[BaseModel], where: object, error: type[InputError]
) -> InputError:
    """Turn one of pydantic's complaints into one line a person can act on.

    An unknown key comes first: where it is a misspelt one, the right one is missing as well.
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
    """Names allowed in the table that holds the key at *location*."""
    for part in location[:-1]:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        arguments = get_args(annotation) or (annotation,)
        model = next(a for a in arguments if isinstance(a, type) and issubclass(a, BaseModel))
    return [f.alias or n for n, f in model.model_fields.items() if n != "name"]
