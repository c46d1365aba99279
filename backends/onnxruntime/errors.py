"""The one place where ONNX Runtime's exceptions become qdeploy's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from qdeploy.errors import GenerationFailed, OutOfMemory
from qdeploy.system.memory import LESS, is_out_of_memory, out_of_memory

LONGEST = 400
NOISE = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : |/onnxruntime_src/\S+ |\x1b\[[\d;]*m"
    r"|\b\w+\.cc:\d+ \w+ "
)
"""Codes, and the names of the runtime's own source files."""


@contextmanager
def translated(doing: str, *, where: object, fix: str | None = None) -> Iterator[None]:
    """Turn an exception of ONNX Runtime or onnxruntime-genai into GenerationFailed or OutOfMemory.

    Any other passes through: a mistake of qdeploy's own must not read as the runtime's.

    Args:
        doing: what was being done, e.g. `loading on CUDAExecutionProvider`.
        where: bundle or device that the message is about.
        fix: what the user can do; for want of memory there is a better one.
    """
    try:
        yield
    except Exception as error:
        if not is_the_runtimes(error):
            raise
        said = essence(error)
        if is_out_of_memory(error):
            what = f"{doing} failed: {out_of_memory(said)}"
            raise OutOfMemory(what, where=where, fix=LESS) from error
        raise GenerationFailed(f"{doing} failed: {said}", where=where, fix=fix) from error


def is_the_runtimes(error: Exception) -> bool:
    """Whether one of the runtimes raised it, and not Python code.

    ONNX Runtime has classes of its own; where pybind11 translates for it, and always for
    onnxruntime-genai, it is a plain RuntimeError. Subclasses of that are Python's.
    """
    kind = type(error)
    own = kind.__module__.partition(".")[0] == "onnxruntime"
    return own or kind is RuntimeError or isinstance(error, MemoryError)


def essence(error: BaseException) -> str:
    """The sentence in a message of ONNX Runtime's, without codes, paths and line breaks."""
    text = " ".join(NOISE.sub("", str(error)).split()).rstrip(".") or type(error).__name__
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."
