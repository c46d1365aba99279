"""A call of a vendor's operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from qdeploy.backends.torch.simulated.device import activate

torch = pytest.importorskip("torch", reason="needs qdeploy[torch]")

Arguments = dict[str, Any]
Change = Callable[[], Arguments]


@dataclass(frozen=True)
class Case:
    """An operator with arguments that it takes, what it gives, and what it refuses.

    Attributes:
        operator: with its namespace.
        right: arguments that it takes, on the host.
        wanted: given these arguments, the results.
        wrong: arguments to change, and what the refusal says.
        chips: chips that have it; the first is called for what is wrong.
        without: chips that do not, and what they say.
        name: what it is a case of, if there are several of the operator.
    """

    operator: str
    right: Change
    wanted: Callable[..., Any]
    wrong: tuple[tuple[Change, str], ...]
    chips: tuple[str, ...]
    without: Mapping[str, str] = field(default_factory=dict)
    name: str = ""

    def __str__(self) -> str:
        return f"{self.operator} {self.name}".strip()

    def call(self, chip: str, changes: Mapping[str, Any] | None = None) -> Any:
        """Call it on the chip's second device, and return the results on the host."""
        device = activate(chip)[1]
        made = on(device, operator(self.operator), {**self.right(), **(changes or {})})
        tensors = made if isinstance(made, tuple | list) else [made]
        assert {tensor.device for tensor in tensors} == {device}
        return moved(made, "cpu")


def operator(name: str) -> Any:
    """The default overload of `namespace::name`."""
    namespace, _, name = name.partition("::")
    return getattr(getattr(torch.ops, namespace), name).default


def on(device: Any, operator: Any, arguments: Mapping[str, Any]) -> Any:
    """Call an operator with its arguments by name, on a device."""
    return operator(**{what: moved(value, device) for what, value in arguments.items()})


def moved(value: Any, device: Any) -> Any:
    """A tensor, or those in a list or a dictionary, on a device. On `meta` and `cuda` it has no
    values.
    """
    if isinstance(value, dict):
        return {key: moved(item, device) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(moved(item, device) for item in value)
    if not isinstance(value, torch.Tensor):
        return value
    if device in ("meta", "cuda"):
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=device)
    return value.to(device)
