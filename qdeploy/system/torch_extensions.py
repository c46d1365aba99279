"""Keeps `import torch` from loading extensions of hardware vendors by itself.

A distribution may register an extension (entry point `torch.backends`), which torch then imports
with itself. One whose vendor's libraries are missing makes `import torch` fail, for the CPU as
well: torch-npu without CANN does. What needs such an extension imports it explicitly.
Source: `_import_device_backends` in torch/__init__.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

NOT_LOADED = {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
"""The environment variable that torch reads when it is imported."""


@contextmanager
def not_loaded() -> Iterator[None]:
    """A block in which `import torch` loads no extension; the environment is restored after it."""
    before = {name: os.environ.get(name) for name in NOT_LOADED}
    os.environ.update(NOT_LOADED)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
