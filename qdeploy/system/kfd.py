"""Lists what the kernel driver of AMD's and Hygon's GPUs found, by its topology in sysfs.

Both vendors use the driver interface kfd: a device file /dev/kfd, and a folder for each node. Only
GPUs have compute units there; the other nodes are CPUs. The PCI vendor tells the two apart, and the
architecture where a driver of Hygon's gives AMD's. Sources: Linux, drivers/gpu/drm/amd/amdkfd/
kfd_topology.c; the PCI ID repository (1002 is AMD, 1d94 Chengdu Haiguang, which is Hygon).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

AMD, HYGON = "4098", "7572"
"""PCI ids of the vendors in decimal, as the topology has them."""
HYGON_ARCHITECTURES = ("gfx926", "gfx928", "gfx936", "gfx938")
"""Architectures that are Hygon's alone: the DCUs Z100L and K100, K100-AI, BW1000 and later."""


class Gpu(NamedTuple):
    """A GPU of the topology.

    Attributes:
        id: as `rocminfo` writes it, e.g. `GPU-0123456789abcdef`; the node's number without one.
        vendor: `AMD`, `HYGON`, or another PCI id in decimal.
        architecture: e.g. `gfx942`; empty if it is not reported.
        memory_bytes: of its largest bank; None if it is not reported.
    """

    id: str
    vendor: str
    architecture: str
    memory_bytes: int | None


def present(root: Path) -> bool:
    """Return whether the driver's device file is there."""
    return (root / "dev/kfd").exists()


def gpus(root: Path) -> list[Gpu]:
    """Return the GPUs in the order of the topology, which is that of HIP's numbers.

    Args:
        root: the directory that holds `sys`.
    """
    nodes = sorted((root / "sys/class/kfd/kfd/topology/nodes").glob("*"), key=_number)
    described = [(node, _pairs(node / "properties")) for node in nodes]
    return [_gpu(node, found) for node, found in described if found.get("simd_count", "0") != "0"]


def _gpu(node: Path, properties: dict[str, str]) -> Gpu:
    architecture = _gfx(properties.get("gfx_target_version", ""))
    unique = int(properties.get("unique_id", "0"))
    return Gpu(
        f"GPU-{unique:016x}" if unique else node.name,
        HYGON if architecture in HYGON_ARCHITECTURES else properties.get("vendor_id", ""),
        architecture,
        _largest_bank(node),
    )


def _number(path: Path) -> int:
    digits = re.search(r"\d+$", path.name)
    return int(digits[0]) if digits else 0


def _pairs(file: Path) -> dict[str, str]:
    """Read a file with a name and a value in each line."""
    if not file.is_file():
        return {}
    lines = (line.split(maxsplit=1) for line in file.read_text().splitlines())
    return {line[0]: line[1] for line in lines if len(line) == 2}


def _gfx(version: str) -> str:
    """Return the architecture, e.g. gfx942 for `90402`: major, minor, and the stepping in hex."""
    if not version.isdigit() or version == "0":
        return ""
    number = int(version)
    return f"gfx{number // 10000}{number // 100 % 100}{number % 100:x}"


def _largest_bank(node: Path) -> int | None:
    banks = [_pairs(b / "properties") for b in (node / "mem_banks").glob("*")]
    sizes = [int(b["size_in_bytes"]) for b in banks if b.get("size_in_bytes", "").isdigit()]
    return max(sizes, default=None)
