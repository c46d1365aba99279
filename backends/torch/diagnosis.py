"""Explains why torch finds no device of a platform whose driver lists one, and what to do."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from qdeploy.backends.torch.accelerators.table import PLATFORMS
from qdeploy.backends.torch.build import Build
from qdeploy.backends.torch.platforms import (
    CPU_INDEX,
    OLD_CUDA_INDEX,
    Platform,
    reinstall,
)
from qdeploy.backends.torch.probe import Facts, Found
from qdeploy.errors import TargetUnavailable
from qdeploy.system import info, masks
from qdeploy.system.drivers import Hardware
from qdeploy.targets import ASCEND, CUDA, DCU, ROCM

LONGEST = 300
"""Characters of a message of torch's that are quoted."""
OLDEST_DRIVER = {"13": "580", "12": "525"}
"""First driver on Linux for each major version of CUDA. Source: CUDA toolkit release notes, "CUDA
Toolkit and Minimum Required Driver Version for CUDA Minor Version Compatibility"."""
DRIVER_TOO_OLD = re.compile(r"driver on your system is too old|driver version is insufficient")
KNOWN = {
    "Found no NVIDIA driver": "let the loader find libcuda: a container needs "
    "NVIDIA_DRIVER_CAPABILITIES=compute,utility; Debian: apt install libcuda1",
    "CUDA unknown error": "load the module again (sudo modprobe -r nvidia_uvm && sudo modprobe "
    "nvidia_uvm), or restart the machine",
}
"""What torch says where the driver lists a GPU, and the fix. The first: the driver's tools are
there and its library is not. The second: after sleep, mostly. Source: c10/cuda/CUDAFunctions.cpp.
"""
OLD_ARCHITECTURES = ("sm_50", "sm_60", "sm_61", "sm_70")
"""Architectures of the build for CUDA 12.6 that CUDA 13 has dropped. Source: torch 2.14,
`PYTORCH_RELEASES_CODE_CC` in torch/cuda/__init__.py."""
SET_ENV = (
    "/usr/local/Ascend/cann/set_env.sh",
    "/usr/local/Ascend/ascend-toolkit/set_env.sh",
    "~/Ascend/cann/set_env.sh",
    "~/Ascend/ascend-toolkit/set_env.sh",
)
"""Where CANN's installer puts the script: from 8.5 on, and before; for all users, and for one."""
OTHER_HIP = {DCU: ("AMD's", "Hygon's DTK"), ROCM: ("Hygon's", "AMD's ROCm")}
"""Both answer as HIP: whose build of torch does not run on a target, and on what."""
NPU_DRIVER = "/usr/local/Ascend/driver/lib64"


def of_build(platform: Platform, build: Build) -> TargetUnavailable | None:
    """Why this build of torch does not run on a platform, or None if it does."""
    if platform.serves(build):
        return None
    fix = platform.install
    if other := _served_here(build):
        fix = f"in an environment of its own, as this one serves {other.target.name} here: {fix}"
    if platform.target in OTHER_HIP and build.hip:
        whose, here = OTHER_HIP[platform.target]
        return TargetUnavailable(
            f"torch {build.version} is {whose} build: {here} has another binary interface", fix
        )
    return TargetUnavailable(f"{build} only, not for {platform.title}", fix)


def _served_here(build: Build) -> Platform | None:
    """The platform of this machine's hardware that a build is for, if there is one."""
    return next((p for p in PLATFORMS.values() if p.serves(build) and _is_here(p)), None)


def _is_here(platform: Platform) -> bool:
    try:
        return bool(platform.hardware and platform.hardware())
    except TargetUnavailable:
        return False


def of_npu_version(build: Build) -> TargetUnavailable | None:
    """Why the torch_npu that is installed is not for this torch, or None if it is."""
    version = _npu_version()
    if version is None or Build(version).release == build.release:
        return None
    return _other_npu(version, build)


def _npu_version() -> str | None:
    """Version of torch_npu; None if it is no distribution, as from a folder in PYTHONPATH."""
    return info.versions(("torch-npu",)).get("torch-npu")


def of_facts(
    platform: Platform, build: Build, hardware: Sequence[Hardware], facts: Facts
) -> TargetUnavailable:
    """Why torch finds no device.

    Args:
        platform: where the devices are missing.
        build: of torch; it is for the platform.
        hardware: what the driver lists, at least one device.
        facts: what torch says; it has no usable device.
    """
    if facts.found:
        return _without_kernels(platform, build, facts)
    said = facts.said[:LONGEST]
    if platform.target == CUDA and DRIVER_TOO_OLD.search(facts.said):
        return _old_driver(build, hardware[0].driver)
    if platform.target == ASCEND and facts.failed == "torch_npu":
        return _npu_import(build, said)
    if facts.failed:
        return TargetUnavailable(
            f"{facts.failed} cannot be imported: {said}",
            f"{platform.check}; or install it again: {platform.install}",
        )
    if build.hip and _hidden_by_cudas_mask(hardware):
        return TargetUnavailable(
            "every device is hidden: HIP reads CUDA_VISIBLE_DEVICES as well, and it is "
            + repr(os.environ["CUDA_VISIBLE_DEVICES"]),
            "unset CUDA_VISIBLE_DEVICES, or set HIP_VISIBLE_DEVICES, which goes before it",
        )
    return TargetUnavailable(
        f"torch {build.version} finds no device, though the driver lists {hardware[0].name}"
        + (f": {said}" if said else ""),
        next((fix for words, fix in KNOWN.items() if words in said), platform.check),
    )


def _hidden_by_cudas_mask(hardware: Sequence[Hardware]) -> bool:
    """Whether HIP shows nothing for NVIDIA's variable (HIP manual, "GPU isolation techniques")."""
    if "HIP_VISIBLE_DEVICES" in os.environ:
        return False
    numbered = {str(number): device for number, device in enumerate(hardware)}
    try:
        masks.visible(numbered, CUDA.masks, "rocminfo")
    except TargetUnavailable:
        return True
    return False


def has_kernels(platform: Platform, facts: Facts, device: Found) -> bool:
    """Whether the build has kernels for a device.

    NVIDIA's code runs on its own compute capability and on later ones of the same major version
    (CUDA programming guide, "Binary Compatibility"); `compute_` marks code that is compiled for
    later ones when it is loaded. AMD's runs on its own architecture. Hygon's build lists none that
    it would be right to hold against a device.
    """
    if platform.target == CUDA and facts.kernels:
        return any(_runs(kernel, device.architecture) for kernel in facts.kernels)
    if platform.target == ROCM and facts.kernels:
        return device.architecture in {kernel.partition(":")[0] for kernel in facts.kernels}
    return True


def _runs(kernel: str, architecture: str) -> bool:
    built, here = _capability(kernel), _capability(architecture)
    if kernel.startswith("compute_"):
        return built <= here
    return built[0] == here[0] and built <= here


def _capability(name: str) -> tuple[int, int]:
    """Major and minor compute capability in `sm_89`, `sm_90a` or `compute_120`."""
    digits = re.sub(r"\D", "", name)
    return int(digits[:-1]), int(digits[-1])


def _without_kernels(platform: Platform, build: Build, facts: Facts) -> TargetUnavailable:
    devices = ", ".join(f"{found.name} ({found.architecture})" for found in facts.found)
    reason = f"torch {build.version} has no kernels for {devices}; it has those for " + ", ".join(
        facts.kernels
    )
    if platform.target != CUDA:
        return TargetUnavailable(reason, "build torch for it, or take another GPU")
    capabilities = [_capability(found.architecture) for found in facts.found]
    if any(c >= (7, 5) for c in capabilities):
        return TargetUnavailable(reason, reinstall(CUDA.torch_index))
    if any(_runs(kernel, f.architecture) for kernel in OLD_ARCHITECTURES for f in facts.found):
        return TargetUnavailable(reason, reinstall(OLD_CUDA_INDEX))
    return TargetUnavailable(reason, "take a GPU of compute capability 5.0 or later")


def _old_driver(build: Build, driver: str | None) -> TargetUnavailable:
    major = (build.cuda or "").partition(".")[0]
    needed = OLDEST_DRIVER.get(major)
    update = f"install NVIDIA's driver {needed} or later" if needed else "update NVIDIA's driver"
    older = f", or torch for an older CUDA: {reinstall(OLD_CUDA_INDEX)}" if major == "13" else ""
    return TargetUnavailable(
        f"NVIDIA's driver {driver or ''} is too old for {build}".replace("  ", " "),
        update + older,
    )


def _npu_import(build: Build, said: str) -> TargetUnavailable:
    version = _npu_version() or ""
    name = f"torch_npu {version}".rstrip()
    if "Two accelerators" in said:  # torch_npu/__init__.py, _check_device_conflict
        release = build.version.partition("+")[0]
        return TargetUnavailable(
            f"{name} does not run beside NVIDIA's GPUs, which torch {build.version} sees as well",
            "hide them: export CUDA_VISIBLE_DEVICES= ; or install torch for the CPU: "
            + reinstall(CPU_INDEX).replace("torch ", f"torch=={release} ", 1),
        )
    if "undefined symbol" in said and version:
        return _other_npu(version, build)
    if "libascend_hal" in said:
        return TargetUnavailable(
            f"{name} does not find the NPU driver's library: {said}",
            f"export LD_LIBRARY_PATH={NPU_DRIVER}/driver:{NPU_DRIVER}/common:$LD_LIBRARY_PATH",
        )
    script = next(filter(Path.is_file, (Path(file).expanduser() for file in SET_ENV)), None)
    return TargetUnavailable(
        f"{name} does not load without CANN: {said}",
        f"source {script}" if script else "install the CANN toolkit, and source its set_env.sh",
    )


def _other_npu(version: str, build: Build) -> TargetUnavailable:
    wanted = [
        found[1]
        for line in metadata.requires("torch-npu") or ()
        if (found := re.match(r"torch\s*\(?(==[\w.*]+)", line))
    ]
    major, minor = Build(version).release
    pin = wanted[0] if wanted else f"=={major}.{minor}.*"
    return TargetUnavailable(
        f"torch_npu {version} is for torch{pin}, and torch {build.version} is installed",
        f"pip install 'torch{pin}' torch-npu=={version}",
    )
