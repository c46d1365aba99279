"""The one place where torch's exceptions become qdeploy's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qdeploy.errors import GenerationFailed, OutOfMemory
from qdeploy.system.memory import LESS, is_out_of_memory, out_of_memory

LONGEST = 400
LESS_ON_DEVICES = (
    "close other programs on the device, or give a shorter --context, more --devices, a profile of "
    "fewer bits or a smaller model"
)
HOST_ALLOCATOR = "DefaultCPUAllocator"
"""What torch's message names where the host's memory ran out."""


@contextmanager
def translated(doing: str, *, where: object, fix: str | None = None) -> Iterator[None]:
    """Turn an exception of torch into GenerationFailed or OutOfMemory.

    Any other passes through: a mistake of qdeploy's own must not read as torch's.

    Args:
        doing: what was being done, e.g. `loading on cuda:0`.
        where: bundle or device that the message is about.
        fix: what the user can do; for want of memory there is a better one.
    """
    try:
        yield
    except (RuntimeError, MemoryError, NotImplementedError) as error:
        said = essence(error)
        if is_out_of_memory(error):
            what = f"{doing} failed: {out_of_memory(said)}"
            on_host = isinstance(error, MemoryError) or HOST_ALLOCATOR in str(error)
            raise OutOfMemory(
                what, where=where, fix=LESS if on_host else LESS_ON_DEVICES
            ) from error
        raise GenerationFailed(f"{doing} failed: {said}", where=where, fix=fix) from error


def essence(error: BaseException) -> str:
    """The first sentence of torch's message, which may go on with advice and a C++ trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = (lines[0] if lines else type(error).__name__).rstrip(".")
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."
