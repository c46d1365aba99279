"""Translates the runtime's exceptions into qdeploy's, in one place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from qdeploy.backends.openvino import schema
from qdeploy.errors import GenerationFailed, OutOfMemory
from qdeploy.system.memory import LESS, is_out_of_memory, out_of_memory

NOISE = ("Exception from ", "Check '")
"""Beginnings of the lines that only name the runtime's source files."""
SETTING_REFUSED = ("Unsupported property", "Wrong value", "is not supported for current config")
"""Messages of the CPU and NPU plugins about a property's name or value."""
GRAMMAR = re.compile(r"\[[\d:]+\] \S*xgrammar\S*: (?:Check failed: \(.*?\) is false: )?")
"""What xgrammar, which openvino-genai compiles schemas with, writes before a message."""
LONGEST = 400


@contextmanager
def translated(doing: str, *, where: object, fix: str | None = None) -> Iterator[None]:
    """Turn an exception of OpenVINO or openvino-genai into GenerationFailed, or its OutOfMemory.

    One that comes from compiling a JSON schema becomes InputError.

    Args:
        doing: what was being done, e.g. `loading on NPU`.
        where: the bundle or device in the message.
        fix: what the user can do; a refused property and want of memory have a more specific fix.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        said = essence(error)
        if GRAMMAR.search(str(error)):
            raise schema.refused(said, where) from error
        if is_out_of_memory(error):
            what = f"{doing} failed: {out_of_memory(said)}"
            raise OutOfMemory(what, where=where, fix=LESS) from error
        if any(sign in said for sign in SETTING_REFUSED):
            fix = "correct that name or value in runtime.properties of the profile"
        raise GenerationFailed(f"{doing} failed: {said}", where=where, fix=fix) from error


def essence(error: BaseException) -> str:
    """Return the message of a nested OpenVINO exception, without source paths and line breaks."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(NOISE)] or lines[-1:]
    text = GRAMMAR.sub("", " ".join(telling)).rstrip(". ") or type(error).__name__
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."
