"""A general plugin of vLLM: asks Linux for the tile registers of AMX, in each of its processes.

Without having asked, a process that uses them ends by SIGILL. oneDNN asks before its products in
bfloat16; vLLM's attention does not (0.32, `cpu_attn.py`), so a model whose linear layers are all
int8 ended at its first request. It runs in vLLM's environment, alone: `overlay` puts it there.
"""

from __future__ import annotations

ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA = 158, 0x1023, 18
"""Number of the system call on x86-64, and its arguments: Documentation/arch/x86/xstate.rst of
Linux. A system without them refuses, and vLLM does not use AMX there."""


def register() -> None:
    """What the entry point `vllm.general_plugins` asks for."""
    import ctypes
    import platform
    import sys

    if sys.platform == "linux" and platform.machine() == "x86_64":
        ctypes.CDLL(None).syscall(ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA)
