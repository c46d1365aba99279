"""Lists the devices of NVIDIA, AMD, Hygon and Huawei without loading the drivers' libraries.

NVIDIA's driver has a tool for it, the others have files. Product names and memory come from the
driver; what it does not report is None. Every function takes the environment variables that hide
the target's devices (`Target.masks`), which drivers do not apply.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from qdeploy.errors import TargetUnavailable
from qdeploy.system import kfd, masks


class Hardware(NamedTuple):
    """A device as its driver describes it; None is not reported."""

    name: str
    memory_bytes: int | None
    driver: str | None


ROOT = Path("/")
SECONDS = 20
MISMATCH = "Driver/library version mismatch"
"""What NVIDIA's tools say after an update of the driver, until its kernel module is loaded."""
QUERY = ("--query-gpu=uuid,name,memory.total,driver_version", "--format=csv,noheader,nounits")


class Vendor(NamedTuple):
    """A vendor of GPUs under the kernel driver interface kfd.

    Attributes:
        pci: the vendor's PCI id, as `kfd.Gpu.vendor`.
        target: name of the target that its GPUs are.
        driver: what to install, and what must then list the GPUs.
        tool: the vendor's tool that lists them.
        versions: files with the driver's version, in the order of preference.
        mounts: what a container needs besides the device files.
        prefix: what the version is of, if not of the driver.
    """

    title: str
    pci: str
    target: str
    driver: str
    tool: str
    versions: tuple[str, ...]
    mounts: str = ""
    prefix: str = ""


AMD = Vendor(
    "AMD GPU", kfd.AMD, "rocm", "ROCm's kernel driver amdgpu-dkms", "rocminfo",
    ("opt/rocm/.info/version",), prefix="ROCm ",
)  # fmt: skip
HYGON = Vendor(
    "Hygon DCU", kfd.HYGON, "dcu", "Hygon's driver and DTK; `hy-smi` must list it", "hy-smi",
    ("sys/module/hycu/version", "sys/module/hydcu/version"),
    mounts=" -v /opt/hyhal:/opt/hyhal:ro",
)  # fmt: skip
"""Hygon's kernel module is `hycu`, before DTK 25 `hydcu`; /opt/hyhal holds its libraries."""


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
        raise TargetUnavailable(
            f"nvidia-smi did not answer within {SECONDS} s",
            "restart the machine; `dmesg` has the errors of the GPU (Xid)",
        ) from None
    rows = [[part.strip() for part in line.split(",")] for line in done.stdout.splitlines()]
    rows = [row for row in rows if len(row) == 4 and row[0].startswith("GPU-")]
    if done.returncode != 0 or not rows:
        said = " ".join((done.stdout + done.stderr).split()) or "nothing"
        if MISMATCH in said:
            fix = "restart the machine, which loads the kernel module of the installed driver"
        raise TargetUnavailable(f"no NVIDIA GPU found: nvidia-smi says {said[:200]!r}", fix)
    for first, *_ in masks.entries(variables).values():
        if first.startswith("MIG-"):  # a part of a GPU, which is not listed here
            return [Hardware(f"NVIDIA {first}", None, rows[0][3])]
    gpus = {uuid: Hardware(name, _mebibytes(total), driver) for uuid, name, total, driver in rows}
    return masks.visible(gpus, variables, f"{command} -L")


def amd(variables: Sequence[str], root: Path = ROOT) -> list[Hardware]:
    """Return AMD's GPUs by the kernel driver's topology.

    Raises:
        TargetUnavailable: no kernel driver, no GPU of AMD's, or all are masked.
    """
    return _of(AMD, variables, root)


def dcu(variables: Sequence[str], root: Path = ROOT) -> list[Hardware]:
    """Return Hygon's DCUs by the kernel driver's topology. Raises like `amd`."""
    return _of(HYGON, variables, root)


def _of(vendor: Vendor, variables: Sequence[str], root: Path) -> list[Hardware]:
    if not kfd.present(root):
        raise TargetUnavailable(
            f"no {vendor.title} found: there is no /dev/kfd",
            f"install {vendor.driver}; a container needs --device /dev/kfd --device /dev/dri"
            f"{vendor.mounts}",
        )
    _require_access(root / "dev/kfd", root, "render,video")
    version = next(filter(None, (_first_word(root / file) for file in vendor.versions)), None)
    driver = version and vendor.prefix + version
    gpus = kfd.gpus(root)
    found = {
        gpu.id: Hardware(_named(vendor, gpu), gpu.memory_bytes, driver)
        for gpu in gpus
        if gpu.vendor == vendor.pci
    }
    if not found:
        (other,) = {AMD, HYGON} - {vendor}
        theirs = [_named(other, gpu) for gpu in gpus if gpu.vendor == other.pci]
        raise TargetUnavailable(
            f"no {vendor.title} found: the kernel's topology lists "
            + (f"{', '.join(theirs)} only" if theirs else "none"),
            f"--target {other.target}" if theirs else f"see `{vendor.tool}`",
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
            "install Huawei's driver and CANN toolkit; `npu-smi info` must list it",
        )
    _require_access(files[0], root, "HwHiAiUser")
    about = root / "usr/local/Ascend/driver/version.info"
    said = (
        re.search(r"^Version=(\S+)", about.read_text(), re.MULTILINE) if about.is_file() else None
    )
    driver = said[1] if said else None
    npus = {file.name: Hardware(f"Ascend NPU {_number(file)}", None, driver) for file in files}
    return masks.visible(npus, variables, "npu-smi info")


def or_simulated(absent: TargetUnavailable) -> TargetUnavailable:
    """The same of hardware that a backend can simulate."""
    return TargetUnavailable(absent.reason, f"{absent.fix}; or try it without: --simulate")


def _mebibytes(text: str) -> int | None:
    return int(text) * 2**20 if text.isdigit() else None  # some boards say [N/A]


def _number(path: Path) -> int:
    digits = re.search(r"\d+$", path.name)
    return int(digits[0]) if digits else 0


def _first_word(file: Path) -> str | None:
    return next(iter(file.read_text().split()), None) if file.is_file() else None


def _named(vendor: Vendor, gpu: kfd.Gpu) -> str:
    return f"{vendor.title} {gpu.architecture}".rstrip()


def _require_access(file: Path, root: Path, groups: str) -> None:
    """Check that this user may open a device file.

    Raises:
        TargetUnavailable: it belongs to a group that the user is not in.
    """
    if not os.access(file, os.R_OK | os.W_OK):
        raise TargetUnavailable(
            f"this user may not open /{file.relative_to(root).as_posix()}",
            f"sudo usermod -aG {groups} $USER, then log in again",
        )
