"""Targets: what a user deploys to. One row each, and nothing else.

A row holds everything that differs by target: limits on profiles, the environment variables that
mask devices, the energy meter, the devices that forecasts know, the pip extras and the CI runner. A
third party's backend brings rows of its own in `Backend.targets`; the registry offers the union.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Evidence(str, Enum):
    """How we know that something works on a target. Part of every result."""

    DEVICE = "device"
    """It ran on that hardware."""
    SIMULATED = "simulated"
    """It ran on a simulated device, whose name says so."""
    CONTRACT = "contract"
    """The calls to the vendor's library were checked against a stub."""
    NONE = "none"
    """Nothing was run."""

    def __str__(self) -> str:
        return self.value


Value = str | int | bool
"""A value of a profile's key, as TOML has it."""
Values = Mapping[str, tuple[Value, ...]]
"""Values by the profile's key, in dots: `weights.linear.dtype`, `graph.attention`."""


@dataclass(frozen=True)
class Constraint:
    """Settings of a profile, or a task, that a target cannot run.

    A profile breaks it where every key in *when* has one of its values and no key in *unless* does.
    `weights.linear` stands for the precision that the linear weights have at the model's size,
    `task` for what the model is for.

    Attributes:
        reason: why the target cannot run it, with where that is documented.
        fix: what to change, in the imperative.
    """

    when: Values
    reason: str
    fix: str
    unless: Values = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """What a user deploys to. Two rows of one name, title and kind are equal.

    Attributes:
        name: the word on the command line.
        title: the hardware in a person's words.
        kind: `cpu`, `gpu` or `npu`; `server` for hardware behind a server's address.
        constraints: what it cannot run, checked when planning.
        masks: environment variables that hide and renumber its devices, in the order in which they
            apply: each counts what the one before it leaves.
        energy: name of the meter that counts its energy: `rapl`, `nvml`, or one that a backend
            brings in `Backend.meters`. None is `rapl` for a CPU, and no meter for other kinds.
        hardware: devices that forecasts are made for, besides those in `forecast/hardware.toml`
            that name the target. The keys are those of that file, without `targets`.
        extras: extras of qdeploy that install what its backends need, by the package that each is
            for. Messages on a missing package and the hardware matrix read them here.
        torch_index: pip's index of the builds of torch for it, which PyPI lacks or has for some
            systems only.
        runner: labels of the CI runner that has it; none is a self-hosted one labelled with the
            target's name.
        cpu_vendor: the only vendor whose CPUs it is, as `qdeploy.system.info.cpu_vendor` names it;
            None is any vendor, and every target of another kind.
        dequantizes: its engine runs `DequantizeLinear`. Where it does not, static graphs cast the
            codes and multiply by the scales.
    """

    name: str
    title: str
    kind: str
    constraints: tuple[Constraint, ...] = field(default=(), compare=False)
    masks: tuple[str, ...] = field(default=(), compare=False)
    energy: str | None = field(default=None, compare=False)
    hardware: tuple[Mapping[str, Any], ...] = field(default=(), compare=False)
    extras: Mapping[str, str] = field(default_factory=dict, compare=False)
    torch_index: str | None = field(default=None, compare=False)
    runner: tuple[str, ...] = field(default=(), compare=False)
    cpu_vendor: str | None = field(default=None, compare=False)
    dequantizes: bool = field(default=True, compare=False)

    @property
    def meter(self) -> str | None:
        """Name of its energy meter, or None."""
        return self.energy or (RAPL if self.kind == "cpu" else None)

    @property
    def runs_on(self) -> tuple[str, ...]:
        """Labels of its CI runner."""
        return self.runner or (SELF_HOSTED, self.name)


SERVER = "server"
"""The kind of targets that are servers, whose hardware is behind an address."""
SELF_HOSTED = "self-hosted"
HOSTED = ("ubuntu-latest",)
RAPL, INTEGRATED_GPU, NVML = "rapl", "rapl-integrated-gpu", "nvml"
"""Energy meters: the processor packages' counters (`qdeploy.system.energy`); the same for a GPU
that is part of the processor (backend `openvino`); NVIDIA's (`qdeploy.system.nvml`)."""
PYTORCH = "https://download.pytorch.org/whl"
"""Where PyTorch's builds for each platform are. PyPI has that for CUDA on Linux, else the CPU's."""
LINEAR = "weights.linear"
TASK = "task"
FOUR_BITS = ("int4", "nf4")
NF4_PLATFORMS = ("4000", "5010")
"""NPU platforms that decode NF4: Lunar Lake and Panther Lake. 3720 is Meteor and Arrow Lake."""

WHOLE_ATTENTION = Constraint(
    when={"format": ("onnx",)},
    unless={"graph.attention": ("plain",)},
    reason="ONNX Runtime's OpenVINO provider leaves GroupQueryAttention to the CPU provider "
    "(1.8.1, its own record of node assignments)",
    fix='set graph.attention = "plain"',
)
OPENVINO_EXTRAS = {"onnxruntime-ep-openvino": "onnx-openvino", "openvino": "openvino"}

CPU = Target(
    "cpu",
    "any CPU",
    "cpu",
    extras={"onnxruntime": "onnx", "openvino": "openvino", "torch": "torch"},
    runner=HOSTED,
)
INTEL_CPU = Target(
    "intel-cpu",
    "Intel CPU",
    "cpu",
    constraints=(WHOLE_ATTENTION,),
    extras=OPENVINO_EXTRAS,
    cpu_vendor="Intel",
)
INTEL_GPU = Target(
    "intel-gpu",
    "Intel integrated and Arc GPU",
    "gpu",
    constraints=(WHOLE_ATTENTION,),
    energy=INTEGRATED_GPU,
    extras=OPENVINO_EXTRAS,
)
INTEL_NPU = Target(
    "intel-npu",
    "Intel Core Ultra NPU",
    "npu",
    constraints=(
        Constraint(
            when={f"{LINEAR}.dtype": ("int8",)},
            reason="the NPU compiler crashes on or refuses int8 layers (openvino issues 34450, "
            "35641)",
            fix="use int4, symmetric, e.g. the profile intel-npu-int4",
        ),
        Constraint(
            when={f"{LINEAR}.dtype": ("int4",), f"{LINEAR}.symmetric": (False,)},
            reason="the NPU runs symmetric int4 only (OpenVINO GenAI guide for NPU)",
            fix="set weights.linear.symmetric = true",
        ),
        Constraint(
            when={f"{LINEAR}.dtype": ("nf4",)},
            unless={"runtime.properties.NPU_PLATFORM": NF4_PLATFORMS},
            reason="NF4 needs the NPU of Lunar Lake or later (NPU_PLATFORM 4000 or 5010)",
            fix="set runtime.properties.NPU_PLATFORM to the device's, or use int4",
        ),
        Constraint(
            when={f"{LINEAR}.dtype": ("nf4",)},
            unless={f"{LINEAR}.group_size": (-1,)},
            reason="the NPU takes NF4 with one scale a row only",
            fix="set weights.linear.group_size = -1",
        ),
        WHOLE_ATTENTION,
        Constraint(
            when={TASK: ("embed", "rerank")},
            reason="it runs models that generate only: texts to embed or rerank have any length, "
            "and the NPU takes graphs of fixed shapes",
            fix="--target intel-cpu, or intel-gpu",
        ),
    ),
    energy=RAPL,
    extras=OPENVINO_EXTRAS,
)
CUDA = Target(
    "cuda",
    "NVIDIA GPU",
    "gpu",
    masks=("CUDA_VISIBLE_DEVICES",),
    energy=NVML,
    extras={
        "onnxruntime-gpu": "cuda",
        "onnxruntime-ep-nv-tensorrt-rtx": "cuda-rtx",
        "torch": "torch",
    },
    torch_index=f"{PYTORCH}/cu130",
)
ROCM = Target(
    "rocm",
    "AMD GPU (ROCm)",
    "gpu",
    constraints=(
        Constraint(
            when={"format": ("onnx",)},
            reason="MIGraphX compiles anew for every shape, and its GroupQueryAttention does not "
            "go on from a cache (parse_group_query_attention.cpp)",
            fix='set format = "onnx-static"',
        ),
        Constraint(
            when={
                "format": ("onnx-static",),
                f"{LINEAR}.dtype": FOUR_BITS,
                f"{LINEAR}.symmetric": (False,),
            },
            reason="MIGraphX reads MatMulNBits' zero points in another shape than the operator has "
            "(parse_matmulnbits.cpp)",
            fix="set weights.linear.symmetric = true",
        ),
    ),
    masks=("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"),
    extras={"onnxruntime-migraphx": "rocm", "torch": "torch"},
    torch_index=f"{PYTORCH}/rocm7.2",
)
DCU = Target(
    "dcu",
    "Hygon DCU (DTK)",
    "gpu",
    constraints=(
        Constraint(
            when={"format": ("safetensors",), f"{LINEAR}.dtype": ("fp8",)},
            reason="torch multiplies FP8 on NVIDIA's and AMD's architectures alone "
            "(scaled_mm_arch_allowed in ScaledBlasDeviceUtils.cpp)",
            fix="use int8 or int4, e.g. the profile dcu-int8",
        ),
    ),
    masks=("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"),
    extras={"torch": "torch"},
)
ASCEND = Target(
    "ascend",
    "Huawei Ascend NPU (CANN)",
    "npu",
    constraints=(
        Constraint(
            when={"format": ("onnx",)},
            reason="CANN takes ONNX's own operators only, none of ONNX Runtime's (cann_graph.cc)",
            fix='set format = "onnx-static"',
        ),
        Constraint(
            when={"format": ("onnx-static",), f"{LINEAR}.dtype": FOUR_BITS},
            reason="CANN has no operator for four-bit weights through ONNX Runtime (cann_graph.cc)",
            fix="use int8 or fp16, e.g. the profile ascend-int8-onnx",
        ),
        Constraint(
            when={"format": ("safetensors",), f"{LINEAR}.dtype": FOUR_BITS},
            unless={f"{LINEAR}.group_size": (64, 128, -1)},
            reason="of groups, Ascend NPUs take those of 64 and 128 four-bit weights only (error "
            "161002 of aclnnWeightQuantBatchMatmul for weights in FRACTAL_NZ: vllm-ascend issues "
            "3588, 5603, 8770)",
            fix="set weights.linear.group_size to 64, 128 or -1, or use the profile ascend-int8",
        ),
        Constraint(
            when={"format": ("safetensors",), f"{LINEAR}.dtype": ("fp8",)},
            reason="Atlas A2 and A3 multiply int8 and int4, not FP8 (documentation of "
            "npu_quant_matmul, torch_npu 2.14)",
            fix="use int8 or int4, e.g. the profile ascend-int8",
        ),
    ),
    masks=("ASCEND_RT_VISIBLE_DEVICES",),
    extras={"onnxruntime-cann": "ascend", "torch-npu": "torch-npu"},
    dequantizes=False,  # cann_graph.cc
)
WEBGPU = Target(
    "webgpu",
    "any GPU through WebGPU",
    "gpu",
    extras={"onnxruntime-ep-webgpu": "webgpu"},
)

BUILT_IN: tuple[Target, ...] = (
    CPU, INTEL_CPU, INTEL_GPU, INTEL_NPU, CUDA, ROCM, DCU, ASCEND, WEBGPU,
)  # fmt: skip
