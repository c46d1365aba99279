"""The table of execution providers: their targets and properties. Adding one is a row.

Option names and types are those that the providers document; an option of another name would be
silently ignored by some of them, so it is refused here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from qdeploy.planning.formats import ONNX, ONNX_STATIC
from qdeploy.system import drivers
from qdeploy.system.drivers import Hardware
from qdeploy.targets import (  # fmt: skip
    ASCEND,
    CPU,
    CUDA,
    INTEL_CPU,
    INTEL_GPU,
    INTEL_NPU,
    ROCM,
    WEBGPU,
    Target,
)

if TYPE_CHECKING:
    from qdeploy.interface import Device

LONGEST_PASS = 512
"""Tokens of a pass. Attention weights are one float per head, query and key: a pass of 4096 tokens
takes a gigabyte a layer with Qwen3-0.6B's 16 heads, and passes of this length an eighth of it."""
Options = Mapping[str, type]


@dataclass(frozen=True)
class Plugin:
    """A provider that is a separate library.

    Attributes:
        module: the Python module that returns the library's path.
        metadata: metadata that identifies the device's entry, e.g. `ov_device`.
        opens: a library that it opens by its bare name on Linux. If the loader does not find it,
            the provider ends the process.
    """

    module: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    opens: str | None = None


@dataclass(frozen=True)
class Driver:
    """The driver that a provider needs.

    Attributes:
        fix: how to install it, and the version that the provider needs.
        devices: lists the hardware by the driver's tools, if the provider cannot.
        files: pattern of device files on Linux, if the provider lists the hardware.
    """

    fix: str
    devices: Callable[[], list[Hardware]] | None = None
    files: str | None = None


@dataclass(frozen=True)
class Memory:
    """The memory of a provider's tensors, in the terms of `onnxruntime.OrtValue`.

    Attributes:
        vendor: PCI id of the device's vendor, for the kinds `gpu` and `npu`.
    """

    kind: str = "cpu"
    vendor: int = -1


EVERYWHERE = ("linux", "win32", "darwin")
PC = ("linux", "win32")
LINUX = ("linux",)


@dataclass(frozen=True)
class Provider:
    """One execution provider on one target.

    Attributes:
        name: its name in ONNX Runtime.
        package: the pip package that contains it. The target's row has qdeploy's extra for it.
        formats: bundle formats that it takes.
        attention: the form of attention that it runs completely, as in profiles; None is any.
        genai: its name in onnxruntime-genai; None if that does not support it.
        experts: the form of experts that it runs completely; None is any.
        weights: dtypes of weights that it accepts, as in profiles; None is any.
        profile: the shipped profile for it, if the target's default does not fit.
        memory: the memory for the key-value cache of qdeploy's loop.
        longest_pass: most tokens of one pass through a graph of the format `onnx`.
        longest_text: most tokens of a text that embedding and reranking models read, which is one
            pass; None is the context.
        library: stem of the provider's library, if it is part of ONNX Runtime.
        options: names and types of its options.
        source: the documentation of the options.
        plugin: set if the provider is a separate library.
        driver: the driver that it needs; None for a CPU.
        systems: values of `sys.platform` for which the package is built.
    """

    target: Target
    name: str
    package: str
    formats: tuple[str, ...]
    options: Options
    source: str
    attention: str | None = None
    experts: str | None = None
    weights: tuple[str, ...] | None = None
    profile: str | None = None
    genai: str | None = None
    memory: Memory = Memory()
    longest_pass: int = LONGEST_PASS
    longest_text: int | None = None
    library: str | None = None
    plugin: Plugin | None = None
    driver: Driver | None = None
    systems: tuple[str, ...] = EVERYWHERE

    @property
    def install(self) -> str:
        """Commands that install it, and remove the CPU builds of the same modules first."""
        extra = self.target.extras[self.package]
        return f"pip uninstall onnxruntime onnxruntime-genai; pip install 'qdeploy[{extra}]'"


OPENVINO_OPTIONS: Options = {
    "load_config": str, "reshape_input": str, "enable_causallm": bool,
}  # fmt: skip
"""The plugin (1.8.1) ignores the other options of the page. `load_config` replaces them, with
OpenVINO's property names: `{"CPU": {"INFERENCE_NUM_THREADS": "2"}}`, or a file with such JSON."""
CUDA_OPTIONS: Options = {
    "device_id": int, "gpu_mem_limit": int, "arena_extend_strategy": str,
    "cudnn_conv_algo_search": str, "do_copy_in_default_stream": bool, "enable_cuda_graph": bool,
    "tunable_op_enable": bool, "tunable_op_tuning_enable": bool,
    "tunable_op_max_tuning_duration_ms": int, "prefer_nhwc": bool, "use_tf32": bool,
}  # fmt: skip
RTX_OPTIONS: Options = {
    "nv_max_workspace_size": int, "nv_max_shared_mem_size": int, "nv_runtime_cache_path": str,
    "nv_weight_streaming_budget": str, "enable_cuda_graph": bool, "nv_multi_profile_enable": bool,
    "nv_profile_min_shapes": str, "nv_profile_opt_shapes": str, "nv_profile_max_shapes": str,
    "nv_use_sync_gpu_allocator": bool, "nv_persistent_context_memory": bool,
    "nv_op_types_to_exclude": str, "nv_dump_subgraphs": bool, "nv_detailed_build_log": bool,
    "nv_enable_profiling": bool, "nv_profiling_output_file": str,
}  # fmt: skip
MIGRAPHX_OPTIONS: Options = {
    "device_id": int, "migraphx_fp16_enable": bool, "migraphx_bf16_enable": bool,
    "migraphx_fp8_enable": bool, "migraphx_int8_enable": bool, "migraphx_exhaustive_tune": bool,
    "migraphx_int8_calibration_table_name": str, "migraphx_mem_limit": int,
    "migraphx_int8_use_native_calibration_table": bool, "migraphx_arena_extend_strategy": str,
    "migraphx_model_cache_dir": str,
}  # fmt: skip
CANN_OPTIONS: Options = {
    "device_id": int, "npu_mem_limit": int, "arena_extend_strategy": str, "enable_cann_graph": bool,
    "dump_graphs": bool, "dump_om_model": bool, "op_select_impl_mode": str,
    "optypelist_for_implmode": str,
}  # fmt: skip
WEBGPU_OPTIONS: Options = {
    "preferredLayout": str, "enableGraphCapture": bool, "enableInt64": bool, "deviceId": int,
    "dawnBackendType": str, "powerPreference": str, "validationMode": str,
    "maxStorageBufferBindingSize": int, "storageBufferCacheMode": str,
    "uniformBufferCacheMode": str, "forceCpuNodeNames": str,
}  # fmt: skip

INTEL_DRIVER = {
    "GPU": Driver("apt install intel-opencl-icd", files="/dev/dri/renderD*"),
    "NPU": Driver("install Intel's NPU driver (linux-npu-driver)", files="/dev/accel/accel*"),
}


def _openvino(target: Target, device: str) -> Provider:
    return Provider(
        target=target, name="OpenVINOExecutionProvider", package="onnxruntime-ep-openvino",
        formats=(ONNX.name,), attention="plain", experts="unrolled",
        options=OPENVINO_OPTIONS,
        plugin=Plugin("onnxruntime_ep_openvino", {"ov_device": device}),
        driver=INTEL_DRIVER.get(device), systems=PC,
        source="https://onnxruntime.ai/docs/execution-providers/OpenVINO-ExecutionProvider.html",
    )  # fmt: skip


PROVIDERS: tuple[Provider, ...] = (
    Provider(
        target=CPU, name="CPUExecutionProvider", package="onnxruntime",
        formats=(ONNX.name, ONNX_STATIC.name), genai="cpu", options={},
        source="https://onnxruntime.ai/docs/execution-providers/",
    ),
    Provider(
        target=CUDA, name="CUDAExecutionProvider", package="onnxruntime-gpu",
        formats=(ONNX.name,), attention="gqa", genai="cuda", memory=Memory("cuda"),
        library="onnxruntime_providers_cuda", options=CUDA_OPTIONS, systems=PC,
        driver=Driver("install CUDA 13 and cuDNN 9: pip install 'onnxruntime-gpu[cuda,cudnn]'",
                      partial(drivers.nvidia, CUDA.masks)),
        source="https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html",
    ),
    Provider(
        target=CUDA, name="NvTensorRTRTXExecutionProvider",
        package="onnxruntime-ep-nv-tensorrt-rtx",
        formats=(ONNX.name,), attention="gqa", experts="unrolled", genai="NvTensorRtRtx",
        weights=("int4", "fp16"), profile="cuda-int4-rtx", options=RTX_OPTIONS, systems=PC,
        plugin=Plugin("onnxruntime_ep_nv_tensorrt_rtx", opens="libtensorrt_rtx.so"),
        driver=Driver("a GPU of compute capability 8.6, 8.9, or 12.0 and up, and a driver for "
                      "CUDA 13", partial(drivers.nvidia, CUDA.masks)),
        source="https://nvidia.github.io/TensorRT-RTX-EP-ABI/_generated/provider-options.html",
    ),
    Provider(
        target=WEBGPU, name="WebGpuExecutionProvider", package="onnxruntime-ep-webgpu",
        formats=(ONNX.name,), attention="gqa", experts="unrolled",
        options=WEBGPU_OPTIONS, plugin=Plugin("onnxruntime_ep_webgpu"),
        driver=Driver("install a current driver of the GPU (Linux, with Vulkan: apt install "
                      "libvulkan1 mesa-vulkan-drivers); or try it without: --simulate"),
        source="https://onnxruntime.ai/docs/execution-providers/WebGPU-ExecutionProvider.html",
    ),
    Provider(
        target=ROCM, name="MIGraphXExecutionProvider", package="onnxruntime-migraphx",
        formats=(ONNX_STATIC.name,), memory=Memory("gpu", vendor=0x1002),
        library="onnxruntime_providers_migraphx", options=MIGRAPHX_OPTIONS, systems=LINUX,
        driver=Driver("install ROCm with MIGraphX (apt install migraphx)",
                      partial(drivers.amd, ROCM.masks)),
        source="https://onnxruntime.ai/docs/execution-providers/MIGraphX-ExecutionProvider.html",
    ),
    Provider(
        target=ASCEND, name="CANNExecutionProvider", package="onnxruntime-cann",
        formats=(ONNX_STATIC.name,), memory=Memory("cann"),
        library="onnxruntime_providers_cann", options=CANN_OPTIONS, systems=LINUX,
        driver=Driver("install the CANN toolkit, and source its set_env.sh",
                      partial(drivers.ascend, ASCEND.masks)),
        source="https://onnxruntime.ai/docs/execution-providers/community-maintained/"
               "CANN-ExecutionProvider.html",
    ),
    _openvino(INTEL_CPU, "CPU"),
    _openvino(INTEL_GPU, "GPU"),
    _openvino(INTEL_NPU, "NPU"),
)  # fmt: skip
"""In the order of preference. OpenVINO's provider is an alternative to the backend `openvino`."""

FOR_TARGET: Mapping[str, tuple[Provider, ...]] = {
    target: tuple(p for p in PROVIDERS if p.target.name == target)
    for target in dict.fromkeys(p.target.name for p in PROVIDERS)
}
"""The rows of each target, the preferred one first."""


def of(device: Device) -> Provider:
    """Return the row of the provider in a device's id, which precedes the device's number."""
    return named(device.target, device.id.partition(":")[0])


def named(target: str, name: str) -> Provider:
    """Return the row of a provider on a target. The caller ensures that it exists."""
    return next(p for p in FOR_TARGET[target] if p.name == name)
