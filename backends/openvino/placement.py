"""Proof of placement, from the model that was compiled.

A model that qdeploy compiles is asked itself. LLMPipeline does not expose the one that it compiles.
With OPENVINO_LOG_LEVEL above 1 it prints that model's properties to stdout while loading, under a
line `Model: <title>`. So the variable is set and stdout is captured during the load.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from qdeploy.backends.openvino.settings import THREADS as THREADS_PROPERTY
from qdeploy.backends.openvino.settings import Settings
from qdeploy.errors import PlacementError
from qdeploy.interface import Placement
from qdeploy.targets import Evidence

VARIABLE, LEVEL = "OPENVINO_LOG_LEVEL", "2"
STDOUT, STDERR = 1, 2
BLOCK = re.compile(r"^Model: ", re.MULTILINE)
OWN = re.compile(
    r"^(?:Model: .*|  \w+: .*|EXECUTION_DEVICES:| [A-Z][\w.]*: .*"
    r"|SchedulerConfig \{ ?| \}|\[ ?[A-Z]+ ?\] .*)\r?\n",
    re.MULTILINE,
)
"""Lines that openvino-genai prints at this level. Lines of other threads may come in between."""
PROPERTY = re.compile(r"^  EXECUTION_DEVICES: (.+)$", re.MULTILINE)
THREADS = re.compile(r"^  INFERENCE_NUM_THREADS: (\d+)$", re.MULTILINE)


@contextmanager
def loading_log() -> Iterator[list[str]]:
    """Capture what the process writes to stdout. The list holds it after the context has ended.

    Descriptor 1 belongs to the process, so the output of other threads is captured, too. Lines that
    are not known to be the runtime's are written to stderr, since stdout is for answers only.
    """
    text: list[str] = []
    before = os.environ.get(VARIABLE)
    stdout = _duplicate_stdout()
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), STDOUT)
        os.environ[VARIABLE] = LEVEL
        try:
            yield text
        finally:
            if before is None:
                del os.environ[VARIABLE]
            else:
                os.environ[VARIABLE] = before
            os.dup2(stdout, STDOUT)
            os.close(stdout)
            file.seek(0)
            log = file.read().decode(errors="surrogateescape")
            text.append(log)
            with suppress(OSError), open(STDERR, "wb", closefd=False) as stderr:  # may be closed
                stderr.write(OWN.sub("", log).encode(errors="surrogateescape"))


def _duplicate_stdout() -> int:
    if sys.stdout is not None:
        sys.stdout.flush()
    try:
        return os.dup(STDOUT)
    except OSError:  # closed: the next file opened would get this number, and receive the output
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
        return os.dup(STDOUT)


def prove_placement(log: str, settings: Settings, device_name: str) -> Placement:
    """Read the placement from *log*, and check it.

    Raises:
        PlacementError: the runtime placed the model elsewhere, or did not report where.
    """
    title, said = execution_devices(log)
    if not settings.on_npu:
        return _placement(
            f"the compiled model {title!r}", said, settings, device_name, threads(log)
        )
    names = check_devices(said, settings)
    if settings.evidence is Evidence.SIMULATED:
        # NPUW reports NPU whatever NPUW_DEVICES holds; the setting decides.
        proof = "NPUW_DEVICES=CPU, the only device it may use"
        return Placement((device_name,), Evidence.SIMULATED, proof, threads=settings.threads)
    proof = (
        f"EXECUTION_DEVICES of the compiled model {title!r}, with NPUW_DEVICES=NPU and no fallback"
    )
    return Placement(names, Evidence.DEVICE, proof, threads=threads(log))


def compiled_placement(compiled: Any, settings: Settings, device_name: str) -> Placement:
    """Ask a CompiledModel of the CPU or a GPU where it runs, and check it.

    Raises:
        PlacementError: the runtime placed the model elsewhere.
    """
    said = tuple(compiled.get_property("EXECUTION_DEVICES"))
    count = compiled.get_property(THREADS_PROPERTY) if settings.device == "CPU" else None
    return _placement("the compiled model", said, settings, device_name, count)


def _placement(
    model: str, said: tuple[str, ...], settings: Settings, device_name: str, count: int | None
) -> Placement:
    names = check_devices(said, settings)
    proof = f"EXECUTION_DEVICES of {model}"
    if settings.evidence is Evidence.SIMULATED:
        proof += ", on a CPU of another vendor"
        names = (device_name,)
    return Placement(names, settings.evidence, proof, threads=count)


def threads(log: str) -> int | None:
    """Return the CPU threads of the language model in *log*, or None if it lists none."""
    for block in BLOCK.split(log):
        if "LLM" in block.partition("\n")[0] and (found := THREADS.search(block)):
            return int(found[1])
    return None


def execution_devices(log: str) -> tuple[str, tuple[str, ...]]:
    """Return the title of the language model in *log* and the devices it executes on.

    The log also lists the tokenizer and the detokenizer, which always run on the CPU.

    Raises:
        PlacementError: *log* does not list them.
    """
    for block in BLOCK.split(log):
        title = block.partition("\n")[0]
        found = PROPERTY.search(block)
        if "LLM" in title and found:
            return title, tuple(found[1].replace(",", " ").split())
    raise PlacementError(
        "openvino-genai did not print the EXECUTION_DEVICES of the model it compiled",
        fix="install the version of openvino-genai that this qdeploy was tested with: 2026.4",
    )


def check_devices(devices: tuple[str, ...], settings: Settings) -> tuple[str, ...]:
    """Compare the devices that the runtime names with the requested one, and return them.

    Raises:
        PlacementError: they differ.
    """
    # The runtime may omit the number of a single GPU.
    numbered = tuple("GPU.0" if name == "GPU" else name for name in devices)
    if numbered != (settings.device,):
        raise PlacementError(
            f"asked for {settings.device}, OpenVINO executes on {', '.join(devices) or 'nothing'}",
            fix="update the device's driver",
        )
    return numbered
