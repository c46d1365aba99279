"""The memory that torch's tensors take, fake ones too. This module imports torch."""

from __future__ import annotations

from collections import defaultdict
from typing import Any
from weakref import finalize

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class MemoryCounter(TorchDispatchMode):  # type: ignore[misc]
    """Bytes of the storages that are alive, by device, and the most that were at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[str, int] = defaultdict(int)
        self.most: dict[str, int] = {}
        self._seen: set[int] = set()

    def restart(self) -> None:
        """Forget the most so far."""
        self.most = dict(self.alive)

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        made = operator(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, torch.Tensor):
                self._count(str(leaf.device), leaf.untyped_storage())
        return made

    def _count(self, device: str, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return
        self._seen.add(key)
        self.alive[device] += size
        self.most[device] = max(self.most.get(device, 0), self.alive[device])
        finalize(storage, self._free, device, key, size)

    def _free(self, device: str, key: int, size: int) -> None:
        self._seen.discard(key)
        self.alive[device] -= size
