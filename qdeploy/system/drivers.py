"""Lists the devices of NVIDIA, AMD and Huawei without loading the drivers' libraries.

NVIDIA's driver has a tool for it, the others have files. Product names and memory come from the
driver; what it does not report is None. Every function takes the environment variables that hide
the target's devices (`Target.masks`), which drivers do not apply.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from qdeploy.errors import TargetUnavailable
from qdeploy.system import masks


class Hardware(NamedTuple):
    """A device as its driver describes it; None is not reported."""

    name: str
    memory_bytes: int | None
    driver: str | None


ROOT = Path("/")
SECONDS = 20
QUERY = ("--query-gpu=uuid,name,memory.total,driver_version", "--format=csv,noheader,nounits")
AMD_VENDOR = "4098"
"""PCI id of AMD in decimal, as the kernel's topology writes it."""


def nvidia(variables: Sequence[str], command: str = "nvidia-smi") -> list[Hardware]:
    """Return the GPUs that `nvidia-smi` lists, ordered by PCI bus like CUDA's numbers.

    Raises:
        TargetUnavailable: no driver, no answer from it, no GPU, or all GPUs are masked.
    """
    fix = "install NVIDIA's driver (Debian: apt install nvidia-driver); `nvidia-smi` must list it"
    try:
        done = subprocess.run(
            [command, *QUERY], capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except OSError:
        raise TargetUnavailable("no NVIDIA driver found: there is no nvidia-smi", fix) from None
    except subprocess.TimeoutExpired:
        raise TargetUnavailable(f"nvidia-smi did not answer within {SECONDS} s", fix) from None
    rows = [[part.strip() for part in line.split(",")] for line in done.stdout.splitlines()]
    rows = [row for row in rows if len(row) == 4 and row[0].startswith("GPU-")]
    if done.returncode != 0 or not rows:
        said = " ".join((done.stdout + done.stderr).split()) or "nothing"
        raise TargetUnavailable(f"no NVIDIA GPU found: nvidia-smi says {said[:200]!r}", fix)
    for first, *_ in masks.entries(variables).values():
        if first.startswith("MIG-"):  # a part of a GPU, which is not listed here
            return [Hardware(f"NVIDIA {first}", None, rows[0][3])]
    gpus = {uuid: Hardware(name, _mebibytes(total), driver) for uuid, name, total, driver in rows}
    return masks.visible(gpus, variables, f"{command} -L")


def amd(variables: Sequence[str], root: Path = ROOT) -> list[Hardware]:
    """Return the GPUs of the kernel driver's topology, where only GPUs have compute units.

    Raises:
        TargetUnavailable: no kernel driver, no GPU, or all GPUs are masked.
    """
    if not (root / "dev/kfd").exists():
        raise TargetUnavailable(
            "no AMD GPU found: there is no /dev/kfd",
            "install ROCm's kernel driver amdgpu-dkms; a container needs --device /dev/kfd "
            "--device /dev/dri; or try it without: --simulate",
        )
    version = root / "opt/rocm/.info/version"
    driver = f"ROCm {version.read_text().strip()}" if version.is_file() else None
    found: dict[str, Hardware] = {}
    for node in sorted((root / "sys/class/kfd/kfd/topology/nodes").glob("*"), key=_number):
        properties = _pairs(node / "properties")
        if properties.get("simd_count", "0") != "0" and properties.get("vendor_id") == AMD_VENDOR:
            version_id = properties.get("gfx_target_version", "")
            name = f"AMD GPU {_gfx(version_id)}".rstrip()
            unique = int(properties.get("unique_id", "0"))
            identity = f"GPU-{unique:016x}" if unique else node.name  # as `rocminfo` writes it
            found[identity] = Hardware(name, _largest_bank(node), driver)
    if not found:
        raise TargetUnavailable(
            "no AMD GPU found: the kernel's topology lists none",
            "see `rocminfo`; the user must be in the groups render and video",
        )
    return masks.visible(found, variables, "rocminfo")


def ascend(variables: Sequence[str], root: Path = ROOT) -> list[Hardware]:
    """Return the NPUs by their device files.

    Raises:
        TargetUnavailable: no NPU, or all NPUs are masked.
    """
    files = sorted((root / "dev").glob("davinci[0-9]*"), key=_number)
    if not files:
        raise TargetUnavailable(
            "no Ascend NPU found: there is no /dev/davinci*",
            "install Huawei's driver and CANN toolkit; `npu-smi info` must list it; or try it "
            "without: --simulate",
        )
    about = root / "usr/local/Ascend/driver/version.info"
    said = (
        re.search(r"^Version=(\S+)", about.read_text(), re.MULTILINE) if about.is_file() else None
    )
    driver = said[1] if said else None
    npus = {file.name: Hardware(f"Ascend NPU {_number(file)}", None, driver) for file in files}
    return masks.visible(npus, variables, "npu-smi info")


def _mebibytes(text: str) -> int | None:
    return int(text) * 2**20 if text.isdigit() else None  # some boards say [N/A]


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
