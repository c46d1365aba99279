"""The one place where ONNX Runtime's exceptions become qdeploy's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from qdeploy.errors import GenerationFailed, QdeployError

LONGEST = 400
NOISE = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : |/onnxruntime_src/\S+ |\x1b\[[\d;]*m"
    r"|\b\w+\.cc:\d+ \w+ "
)
"""Codes, and the names of the runtime's own source files."""
OUT_OF_MEMORY = (
    "Failed to allocate memory", "out of memory", "bad allocation", "std::bad_alloc", "MemoryError",
    "CUBLAS_STATUS_ALLOC_FAILED", "Available memory of",
)  # fmt: skip
"""What allocators and libraries say; the last is that of a provider's own limit (`*_mem_limit`)."""


@contextmanager
def translated(doing: str, *, where: object, fix: str | None = None) -> Iterator[None]:
    """Turn an exception of ONNX Runtime or onnxruntime-genai into GenerationFailed.

    Args:
        doing: what was being done, e.g. `loading on CUDAExecutionProvider`.
        where: bundle or device that the message is about.
        fix: what the user can do; for want of memory there is a better one.
    """
    try:
        yield
    except QdeployError:
        raise
    except Exception as error:  # the bindings' own types, and RuntimeError
        said = essence(error)
        if any(sign in said for sign in OUT_OF_MEMORY):
            fix = "a shorter --context, a smaller model, or a profile of fewer bits"
            said = f"out of memory ({said})"
        raise GenerationFailed(f"{doing} failed: {said}", where=where, fix=fix) from error


def essence(error: BaseException) -> str:
    """The sentence in a message of ONNX Runtime's, without codes, paths and line breaks."""
    text = " ".join(NOISE.sub("", str(error)).split()).rstrip(".") or type(error).__name__
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."
