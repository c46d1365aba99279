"""`Settings`: the entries of `quantization_config`, checked as they are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qdeploy.checkpoint.front_matter import read_base_model
from qdeploy.errors import CheckpointError


class Settings:
    """The settings of one method, of a whole checkpoint or of some of its modules.

    The methods that read an entry raise CheckpointError where it is of another kind.

    Attributes:
        where: the file that they are from, for errors.
        fix: what to use where they cannot be read, for errors.
    """

    def __init__(self, values: Mapping[str, Any], where: object, fix: str = "") -> None:
        self.values, self.where, self.fix = values, where, fix

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number; *default* where the key is missing or null, if there is a default."""
        found = self.values.get(key)
        found = default if found is None else found
        if isinstance(found, bool) or not isinstance(found, int):
            raise self.error(f"{key!r} is {found!r}, not a whole number")
        return found

    def flag(self, key: str, default: bool) -> bool:
        """True or false; *default* where the key is missing or null."""
        found = self.values.get(key)
        found = default if found is None else found
        if not isinstance(found, bool):
            raise self.error(f"{key!r} is {found!r}, neither true nor false")
        return found

    def text(self, key: str, default: str = "") -> str:
        """A word, in lower case."""
        found = self.values.get(key)
        found = default if found is None else found
        if not isinstance(found, str):
            raise self.error(f"{key!r} is {found!r}, not a word")
        return found.lower()

    def names(self, key: str) -> tuple[str, ...]:
        """A list of names; empty where the key is missing or null."""
        found = self.values.get(key)
        found = [] if found is None else found
        if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
            raise self.error(f"{key!r} is not a list of names")
        return tuple(found)

    def table(self, key: str) -> Mapping[str, Any]:
        """An object; empty where the key is missing or null."""
        found = self.values.get(key)
        found = {} if found is None else found
        if not isinstance(found, dict):
            raise self.error(f"{key!r} is {found!r}, not an object")
        return found

    def within(self, values: Mapping[str, Any]) -> Settings:
        """These settings with others for some modules."""
        return Settings({**self.values, **values}, self.where, self.fix)

    def group_size(self) -> int:
        """Columns of a group, or -1."""
        size = self.integer("group_size", 128)
        if size != -1 and size < 1:
            raise self.error(f"'group_size' is {size}, neither -1 nor a number of columns")
        return size

    def bits(self, readable: tuple[int, ...]) -> int:
        """Bits of a code, which must be one of *readable*."""
        bits = self.integer("bits", 4)
        if bits not in readable:
            known = " and ".join(map(str, readable))
            raise self.error(f"codes of {bits} bits; {known} can be read")
        return bits

    def error(self, what: str) -> CheckpointError:
        """An error of the file that the settings are from."""
        return CheckpointError(what, where=self.where, fix=self.fix)


def original(folder: Path) -> str:
    """What to use instead of a quantized checkpoint: its original, by name if its card says it."""
    otherwise = "give the float checkpoint that this one was made from"
    base = read_base_model(folder)
    return f"{otherwise}, {base}" if base else otherwise
