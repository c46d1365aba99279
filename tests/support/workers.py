"""Work functions for worker processes, defined by a test."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable
from importlib import import_module, invalidate_caches
from pathlib import Path
from typing import Any

import pytest

from qdeploy.system.parent import Parent

Work = Callable[[Any, Parent], Any]


def make_work(folder: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> Work:
    """Return a function of `job` and `parent` with this body, in a module on the import path."""
    name = f"made_up_{uuid.uuid4().hex}"
    body = "".join(f"    {line}\n" for line in lines or ["pass"])
    head = "import json, os, signal, subprocess, sys, time\n\n\ndef work(job, parent):\n"
    (folder / f"{name}.py").write_text(head + body, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    invalidate_caches()
    work: Work = import_module(name).work
    return work
