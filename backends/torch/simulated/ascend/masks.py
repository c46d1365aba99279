"""What attention hides. True is hidden, as the vendor has it."""

from __future__ import annotations

from typing import Any

from qdeploy.backends.torch.simulated.checks import require, told

OWN, ALL, FROM_FIRST, FROM_LAST = range(4)
"""Modes: a mask of queries by keys, or none; one that must be given; keys after a query, both
counted from the first ones; the same counted from the last ones of the actual lengths."""
COMPRESSED = 2048
"""Rows and columns of the mask that is given for the last two modes, whatever the lengths."""


def checked(operator: str, mask: Any, mode: int, sizes: tuple[int, int, int]) -> Any:
    """Return the mask as booleans [B or 1, queries, keys]; None for no mask, or a causal one."""
    import torch

    require(mode in (OWN, ALL, FROM_FIRST, FROM_LAST), operator, f"there is no sparse_mode {mode}")
    if mask is None:
        require(mode == OWN, operator, f"sparse_mode {mode} needs a mask")
        return None
    require(
        mask.dtype in (torch.bool, torch.int8, torch.uint8) and mask.is_contiguous(), operator,
        f"a mask is contiguous, of bool, int8 or uint8, got {told(mask)}",
    )  # fmt: skip
    shape, mask = tuple(mask.shape), mask.bool()
    if mode in (FROM_FIRST, FROM_LAST):
        side = COMPRESSED, COMPRESSED
        above = torch.ones(side, dtype=torch.bool).triu(1)
        require(
            shape in (side, (1, *side), (1, 1, *side)) and torch.equal(mask.view(side), above),
            operator, f"sparse_mode {mode} needs a mask of 2048 by 2048, true above the diagonal, "
            f"got {list(shape)}",
        )  # fmt: skip
        return None
    batch, count, seen = sizes
    one = (count, seen) if count > 1 else (batch, seen)
    known = one, (1, count, seen), (batch, 1, count, seen), (1, 1, count, seen)
    require(shape in known, operator, f"a mask is {' or '.join(map(str, known))}, got {shape}")
    return mask.view(-1, count, seen)


def hidden(mask: Any, mode: int, item: int, queries: int, keys: int) -> Any:
    """What is hidden in an item of the batch, [queries, keys]; None for nothing."""
    import torch

    if mode in (FROM_FIRST, FROM_LAST):
        first = 1 + (keys - queries if mode == FROM_LAST else 0)
        return torch.ones(queries, keys, dtype=torch.bool).triu(first)
    return None if mask is None else mask[item % len(mask), :queries, :keys]
