"""Torch's exceptions become qdeploy's: what ran out of memory, and where."""

from __future__ import annotations

import pytest

from qdeploy.backends.torch.errors import LESS_ON_DEVICES, translated
from qdeploy.errors import GenerationFailed, OutOfMemory
from qdeploy.system.memory import LESS


def told(error: Exception) -> GenerationFailed:
    with (
        pytest.raises(GenerationFailed) as caught,
        translated("generating", where="cuda:0", fix="try again"),
    ):
        raise error
    return caught.value


@pytest.mark.parametrize("vendor", ["CUDA", "HIP", "NPU"])
def test_the_memory_of_a_device(vendor: str) -> None:
    error = told(RuntimeError(f"{vendor} out of memory. Tried to allocate 2.00 GiB.\nC++ trace"))
    assert isinstance(error, OutOfMemory)
    assert error.what.startswith("generating failed: ")
    assert "trace" not in error.what
    assert error.fix == LESS_ON_DEVICES


@pytest.mark.parametrize(
    "error", [RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError()], ids=str
)
def test_the_memory_of_the_host(error: Exception) -> None:
    found = told(error)
    assert isinstance(found, OutOfMemory)
    assert found.fix == LESS


def test_anything_else_keeps_its_fix() -> None:
    error = told(RuntimeError("an illegal instruction was encountered."))
    assert type(error) is GenerationFailed
    assert str(error) == (
        "cuda:0: generating failed: an illegal instruction was encountered\n  fix: try again"
    )
