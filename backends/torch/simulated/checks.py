"""The check of an operator's arguments, and words for tensors in its messages."""

from __future__ import annotations

from typing import Any


def require(condition: bool, operator: str, message: str) -> None:
    """Raise as TORCH_CHECK does, where *condition* is false.

    Raises:
        RuntimeError: with the operator's name and what it expected.
    """
    if not condition:
        raise RuntimeError(f"{operator}: {message}")


def told(tensor: Any) -> str:
    """A tensor's type and shape, for a message: `bfloat16 [2, 3]`; `none` for none."""
    return "none" if tensor is None else f"{name(tensor.dtype)} {list(tensor.shape)}"


def name(dtype: Any) -> str:
    """A type without `torch.`."""
    return str(dtype).rpartition(".")[2]
