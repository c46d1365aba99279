"""Memory of one simulated device: the bytes of its live storages, their peak, and a limit."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from qdeploy.system.info import memory_bytes

if TYPE_CHECKING:
    import torch


class Memory:
    """Counts storages, once each however many tensors share one. Sizes are in bytes.

    There is no rounding, cache or workspace, as a real allocator has.

    Attributes:
        limit: most bytes that may be allocated. None is all of the host's memory.
        allocated: bytes of live storages.
        peak: most bytes that were allocated at a time since `reset_peak`.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self.limit: int | None = None
        self.allocated = 0
        self.peak = 0
        self._sizes: dict[int, int] = {}
        # a storage may be freed by the garbage collector while another is being counted
        self._lock = threading.RLock()

    @property
    def total(self) -> int:
        """The limit, or the host's memory; 0 where that is unknown."""
        return self.limit if self.limit is not None else memory_bytes() or 0

    def reset_peak(self) -> None:
        self.peak = self.allocated

    def check(self, size: int) -> None:
        """Refuse an allocation of *size* bytes that does not fit.

        Raises:
            torch.OutOfMemoryError: as a CUDA device raises it.
        """
        from torch import OutOfMemoryError

        if self.limit is not None and self.allocated + size > self.limit:
            raise OutOfMemoryError(
                f"{self._device} out of memory. Tried to allocate {size} bytes. It has a total "
                f"capacity of {self.limit} bytes of which {self.limit - self.allocated} are free."
            )

    def count(self, tensor: torch.Tensor) -> None:
        """Count the storage of a tensor that came to be on the device, until it is freed.

        Raises:
            torch.OutOfMemoryError: it does not fit, and is not counted.
        """
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        with self._lock:
            if not size or key in self._sizes:
                return
            self.check(size)
            self._sizes[key] = size
            self.allocated += size
            self.peak = max(self.peak, self.allocated)
        weakref.finalize(storage, self._free, key).atexit = False

    def _free(self, key: int) -> None:
        with self._lock:
            self.allocated -= self._sizes.pop(key)
