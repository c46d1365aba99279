"""Which execution provider serves which target, and what each is like. Adding one is a row.

Option names and types are those that the providers document; an option of another name would be
ignored by some of them without a word, so it is refused here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qdeploy.targets import (
    ASCEND,
    CPU,
    CUDA,
    INTEL_CPU,
    INTEL_GPU,
    INTEL_NPU,
    ROCM,
    WEBGPU,
    Target,
)  # fmt: skip

CONTRIB, STATIC = "onnx", "onnx-static"
Options = Mapping[str, type]


@dataclass(frozen=True)
class Plugin:
    """A provider that comes as a library of its own.

    Attributes:
        module: the Python module that knows the library's path.
        metadata: what the entry of the wanted device says of itself, e.g. `ov_device`.
    """

    module: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Driver:
    """How to see that the driver under a provider is there.

    Attributes:
        library: a shared library's name, as the linker has it.
        files: device files, as a pattern.
        fix: what installs it.
    """

    library: str | None
    files: str | None
    fix: str


@dataclass(frozen=True)
class Provider:
    """One execution provider on one target.

    Attributes:
        name: ONNX Runtime's own.
        package: what brings it, for pip.
        formats: bundle formats that it takes.
        attention: the form that it takes whole, as profiles name it; None where all do.
        genai: onnxruntime-genai's name of it; None where that does not run on it.
        memory: ONNX Runtime's word for where its tensors lie.
        options: names and types of its options.
        source: where those are documented.
        plugin: where the provider is a library of its own.
        driver: what must be there under it; None for a processor.
    """

    target: Target
    name: str
    package: str
    formats: tuple[str, ...]
    options: Options
    source: str
    attention: str | None = None
    genai: str | None = None
    memory: str = "cpu"
    plugin: Plugin | None = None
    driver: Driver | None = None


OPENVINO_OPTIONS: Options = {
    "device_type": str, "device_id": str, "cache_dir": str, "load_config": str, "precision": str,
    "num_of_threads": int, "num_streams": int, "model_priority": str, "reshape_input": str,
    "enable_qdq_optimizer": bool, "enable_causallm": bool, "enable_opencl_throttling": bool,
}  # fmt: skip
CUDA_OPTIONS: Options = {
    "device_id": int, "gpu_mem_limit": int, "arena_extend_strategy": str,
    "cudnn_conv_algo_search": str, "do_copy_in_default_stream": bool, "enable_cuda_graph": bool,
    "tunable_op_enable": bool, "tunable_op_tuning_enable": bool,
    "tunable_op_max_tuning_duration_ms": int, "prefer_nhwc": bool, "use_tf32": bool,
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
    "GPU": Driver("OpenCL", "/dev/dri/renderD*", "apt install intel-opencl-icd"),
    "NPU": Driver(None, "/dev/accel/accel*", "install Intel's NPU driver (linux-npu-driver)"),
}


def _openvino(target: Target, device: str) -> Provider:
    return Provider(
        target=target, name="OpenVINOExecutionProvider", package="onnxruntime-ep-openvino",
        formats=(CONTRIB,), attention="plain", options=OPENVINO_OPTIONS,
        plugin=Plugin("onnxruntime_ep_openvino", {"ov_device": device}),
        driver=INTEL_DRIVER.get(device),
        source="https://onnxruntime.ai/docs/execution-providers/OpenVINO-ExecutionProvider.html",
    )  # fmt: skip


PROVIDERS: tuple[Provider, ...] = (
    Provider(
        target=CPU, name="CPUExecutionProvider", package="onnxruntime",
        formats=(CONTRIB, STATIC), genai="cpu", options={},
        source="https://onnxruntime.ai/docs/execution-providers/",
    ),
    Provider(
        target=CUDA, name="CUDAExecutionProvider", package="onnxruntime-gpu",
        formats=(CONTRIB,), attention="gqa", genai="cuda", memory="cuda", options=CUDA_OPTIONS,
        driver=Driver("cuda", "/dev/nvidia[0-9]*", "install NVIDIA's driver; nvidia-smi must work"),
        source="https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html",
    ),
    Provider(
        target=WEBGPU, name="WebGpuExecutionProvider", package="onnxruntime-ep-webgpu",
        formats=(CONTRIB,), attention="gqa", options=WEBGPU_OPTIONS,
        plugin=Plugin("onnxruntime_ep_webgpu"),
        driver=Driver("vulkan", None, "install a Vulkan driver for the GPU, and libvulkan1"),
        source="https://onnxruntime.ai/docs/execution-providers/WebGPU-ExecutionProvider.html",
    ),
    Provider(
        target=ROCM, name="MIGraphXExecutionProvider", package="onnxruntime-migraphx",
        formats=(STATIC,), options=MIGRAPHX_OPTIONS,
        driver=Driver("amdhip64", "/dev/kfd", "install ROCm; rocminfo must list the GPU"),
        source="https://onnxruntime.ai/docs/execution-providers/MIGraphX-ExecutionProvider.html",
    ),
    Provider(
        target=ASCEND, name="CANNExecutionProvider", package="onnxruntime-cann",
        formats=(STATIC,), options=CANN_OPTIONS,
        driver=Driver("ascendcl", "/dev/davinci[0-9]*",
                      "install the Ascend driver and CANN, and source its set_env.sh"),
        source="https://onnxruntime.ai/docs/execution-providers/community-maintained/"
               "CANN-ExecutionProvider.html",
    ),
    _openvino(INTEL_CPU, "CPU"),
    _openvino(INTEL_GPU, "GPU"),
    _openvino(INTEL_NPU, "NPU"),
)  # fmt: skip
"""One row for each target. Those of Intel are an alternative to the backend `openvino`."""

BY_TARGET: Mapping[str, Provider] = {p.target.name: p for p in PROVIDERS}
