"""What an exception in the worker means to the person who asked for the export."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from qdeploy.errors import ExportFailed
from qdeploy.exporters.optimum.errors import explain
from qdeploy.exporters.optimum.job import Job


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(
        step="quantize", checkpoint=Path("/model"), folder=tmp_path,
        architecture="Qwen3ForCausalLM", model_type="qwen3", kv_cache="u8",
        memory_bytes=2_000_000_000, matrices=(),
    )  # fmt: skip


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError(errno.EFBIG, "File too large"),
        RuntimeError("basic_ios::clear: iostream error"),  # OpenVINO, on Linux
        RuntimeError("ios_base::badbit set: iostream stream error"),  # and on Windows
    ],
    ids=repr,
)
def test_a_full_disk(job: Job, error: Exception) -> None:
    told = explain(error, job)
    assert "the disk is full" in told.what
    assert told.where == str(job.folder)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("std::bad_alloc"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
    ids=repr,
)
def test_want_of_memory_comes_with_the_prediction(job: Job, error: Exception) -> None:
    told = explain(error, job)
    assert "out of memory" in told.what
    assert "about 2.0 GB" in told.what


def test_a_broken_library(job: Job) -> None:
    told = explain(ImportError("cannot import name 'OVConfig'"), job)
    assert "OVConfig" in told.what
    assert told.fix == "pip install --upgrade 'qdeploy[optimum]'"


def test_what_is_explained_already_stays(job: Job) -> None:
    said = ExportFailed("planned as fp16, stored as int4", where="a.gate")
    assert explain(said, job) is said


def test_anything_else_names_the_step_and_stays_on_one_line(job: Job) -> None:
    told = explain(ValueError("first\nsecond " + "x" * 10_000), job)
    assert "step 'quantize' failed (ValueError: first second" in told.what
    assert "\n" not in told.what
    assert len(told.what) < 1000
