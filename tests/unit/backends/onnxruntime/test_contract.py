"""Calls to ONNX Runtime for hardware that is not here, checked against a stub of it.

The stub records what it is given; the names are held against what each provider documents.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qdeploy.backends.onnxruntime import runtime
from qdeploy.backends.onnxruntime.dynamic_decoder import DynamicDecoder
from qdeploy.backends.onnxruntime.genai import GenaiLoop
from qdeploy.backends.onnxruntime.inference_session import open_session
from qdeploy.backends.onnxruntime.placement import Node, prove_placement
from qdeploy.backends.onnxruntime.providers import (
    FOR_TARGET,
    PROVIDERS,
    Memory,
    Provider,
    named,
    of,
)
from qdeploy.backends.onnxruntime.static_decoder import StaticDecoder
from qdeploy.errors import InputError, PlacementError, TargetUnavailable
from qdeploy.interface import Device
from qdeploy.targets import ASCEND, CUDA, INTEL_CPU, ROCM, Target
from tests.support.onnxruntime_stub import CACHE, FIXED, chosen, chosen_on, stubbed

ARENA = {"arena_extend_strategy": str}
DOCUMENTED: Mapping[str, Mapping[str, type]] = {
    # cuda_execution_provider_info.cc, and the page CUDA-ExecutionProvider
    "CUDAExecutionProvider": {
        "device_id": int, "gpu_mem_limit": int, **ARENA, "cudnn_conv_algo_search": str,
        "do_copy_in_default_stream": bool, "cudnn_conv_use_max_workspace": bool,
        "cudnn_conv1d_pad_to_nc1d": bool, "enable_cuda_graph": bool, "tunable_op_enable": bool,
        "tunable_op_tuning_enable": bool, "tunable_op_max_tuning_duration_ms": int,
        "enable_skip_layer_norm_strict_mode": bool, "prefer_nhwc": bool, "use_tf32": bool,
        "use_ep_level_unified_stream": bool,
    },
    # tensorrt_rtx_provider_options.h of the plugin 0.5.0, and the page made from it
    "NvTensorRTRTXExecutionProvider": {
        "has_user_compute_stream": bool, "user_compute_stream": str, "user_aux_stream_array": str,
        "nv_max_workspace_size": int, "nv_max_shared_mem_size": int,
        "nv_length_aux_stream_array": int, "nv_dump_subgraphs": bool,
        "nv_detailed_build_log": bool, "nv_profile_min_shapes": str, "nv_profile_max_shapes": str,
        "nv_profile_opt_shapes": str, "enable_cuda_graph": bool, "nv_multi_profile_enable": bool,
        "nv_use_external_data_initializer": bool, "nv_runtime_cache_path": str,
        "VkExternalComputeQueueDataParamsNV_data": str, "nv_weight_streaming_budget": str,
        "nv_op_types_to_exclude": str, "nv_enable_profiling": bool,
        "nv_profiling_output_file": str, "nv_use_sync_gpu_allocator": bool,
        "nv_persistent_context_memory": bool, "nv_multi_rotary_cache_concat_offset": int,
        "nv_weight_stripped_engine_enable_experimental": bool, "nv_target_sm": str,
    },
    # migraphx_execution_provider_info.h at 03c125006fc8
    "MIGraphXExecutionProvider": {
        "device_id": int, "migraphx_fp16_enable": bool, "migraphx_bf16_enable": bool,
        "migraphx_fp8_enable": bool, "migraphx_int8_enable": bool,
        "migraphx_int8_calibration_table_name": str,
        "migraphx_int8_use_native_calibration_table": bool, "migraphx_exhaustive_tune": bool,
        "migraphx_mem_limit": int, "migraphx_arena_extend_strategy": str,
        "migraphx_model_cache_dir": str,
    },
    # cann_execution_provider_info.cc at 38170d0ff018, and the page CANN-ExecutionProvider
    "CANNExecutionProvider": {
        "device_id": int, "npu_mem_limit": int, **ARENA, "enable_cann_graph": bool,
        "enable_cann_subgraph": bool, "dump_graphs": bool, "dump_om_model": bool,
        "op_select_impl_mode": str, "optypelist_for_implmode": str, "precision_mode": str,
    },
    # the page WebGPU-ExecutionProvider
    "WebGpuExecutionProvider": {
        "preferredLayout": str, "enableGraphCapture": bool, "enableInt64": bool, "deviceId": int,
        "dawnBackendType": str, "powerPreference": str, "validationMode": str,
        "maxStorageBufferBindingSize": int, "storageBufferCacheMode": str,
        "uniformBufferCacheMode": str, "queryResolveBufferCacheMode": str,
        "defaultBufferCacheMode": str, "forceCpuNodeNames": str, "preserveDevice": bool,
    },
    # the page OpenVINO-ExecutionProvider, without what the plugin 1.8.1 says that it ignores
    "OpenVINOExecutionProvider": {
        "load_config": str, "reshape_input": str, "enable_causallm": bool,
    },
    "CPUExecutionProvider": {},
}  # fmt: skip
"""Options of each provider and their types, written down from the sources named."""
RTX = "NvTensorRTRTXExecutionProvider"
PAGES = (
    "https://onnxruntime.ai/docs/execution-providers/",
    "https://nvidia.github.io/TensorRT-RTX-EP-ABI/",
)


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda p: f"{p.target.name}-{p.name}")
def test_a_row_has_only_documented_options(provider: Provider) -> None:
    assert provider.options.items() <= DOCUMENTED[provider.name].items()
    assert provider.source.startswith(PAGES)


@pytest.mark.parametrize(
    ("target", "name", "kind", "vendor"),
    [
        (ROCM, "rocm-int4-onnx", "gpu", 0x1002),
        (ASCEND, "ascend-fp16-onnx", "cann", -1),
    ],
)
def test_static_graphs_keep_their_cache_on_the_device(
    target: Target, name: str, kind: str, vendor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = stubbed(monkeypatch, FIXED)
    model = StaticDecoder(Path("bundle"), chosen(target, name, 1))
    assert stub.values == [(kind, 1, vendor)] * 4  # keys and values, twice: passes take turns
    assert {Path(s.file).name for s in stub.sessions} == {"prefill.onnx", "decode.onnx"}
    for session in stub.sessions:
        assert session.providers == [(FOR_TARGET[target.name][0].name, {"device_id": "1"})]
    model.begin(20)
    model.feed(list(range(8)) * 2 + [1])  # a pass of 16, and a step
    assert [r["position_ids"].tolist()[0][-1] for r in stub.runs] == [15, 16]
    first, second = (r["past_key_values.0.key"] for r in stub.runs)
    assert first is not second
    assert stub.runs[0]["present.0.key"] is second


def test_cuda_shares_one_cache_and_takes_its_libraries_from_pip(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stub = stubbed(monkeypatch, CACHE)
    wanted = chosen(CUDA, "cuda-int4-onnx", 2, loop="own", gpu_mem_limit=2**33, use_tf32=False)
    model = DynamicDecoder(Path("bundle"), wanted)
    model.begin(20)
    assert stub.preloaded
    assert stub.values == [("cuda", 2, -1)] * 2
    expected = {"gpu_mem_limit": str(2**33), "use_tf32": "0", "device_id": "2"}
    assert stub.sessions[0].providers == [("CUDAExecutionProvider", expected)]
    model.feed([1, 2, 3])
    (run,) = stub.runs
    assert run["past_key_values.0.key"] is run["present.0.key"] is not None
    assert run["past_key_values.0.key"].shape == (1, 2, 20, 128)
    assert run["attention_mask"].shape == (1, 3)
    assert run["options"] is None


def test_cuda_replays_steps_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording has one shape and one place for everything: a mask of the whole context."""
    stub = stubbed(monkeypatch, CACHE)
    model = DynamicDecoder(
        Path("bundle"), chosen(CUDA, "cuda-int4-onnx", loop="own", enable_cuda_graph=True)
    )
    for _ in range(2):
        model.begin(20)
        model.feed([1, 2, 3])
        model.feed([4])
        model.feed([5])
    assert [r["options"]["gpu_graph_id"] for r in stub.runs] == ["-1", "1", "1"] * 2
    steps = [r for r in stub.runs if r["options"]["gpu_graph_id"] == "1"]
    assert {r["attention_mask"].shape for r in steps} == {(1, 64)}
    assert [int(r["attention_mask"].sum()) for r in steps] == [4, 5, 4, 5]
    assert len({id(r["past_key_values.0.key"]) for r in stub.runs}) == 1


def test_a_provider_that_is_not_taken_is_no_silent_fallback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stubbed(monkeypatch, CACHE, fallback="AzureExecutionProvider")
    with pytest.raises(PlacementError, match="CUDAExecutionProvider was asked for"):
        open_session(Path("model.onnx"), chosen(CUDA, "cuda-int4-onnx"))


@pytest.mark.parametrize(
    ("provider", "profile_name", "word", "said_of_it"),
    [
        ("CUDAExecutionProvider", "cuda-int8-onnx", "cuda", ("option", "cuda", "device_id", "0")),
        (RTX, "cuda-int4-rtx", "NvTensorRtRtx", ("register", RTX, "library")),
    ],
)
def test_onnxruntime_genai_gets_the_provider_by_its_word(
    provider: str, profile_name: str, word: str, said_of_it: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    said: list[Any] = []
    config = SimpleNamespace(
        overlay=lambda text: said.append(("overlay", text)),
        clear_providers=lambda: said.append("clear"),
        append_provider=lambda word: said.append(("append", word)),
        set_provider_option=lambda *a: said.append(("option", *a)),
    )
    genai = SimpleNamespace(
        Config=lambda _: config, Model=lambda _: None,
        register_execution_provider_library=lambda *a: said.append(("register", *a)),
    )  # fmt: skip
    stubbed(monkeypatch, {})
    monkeypatch.setattr(runtime, "load_genai", lambda: genai)
    monkeypatch.setattr(runtime, "plugin_library", lambda _: "library")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: None)
    runtime.register_with_genai.cache_clear()
    wanted = chosen_on(named("cuda", provider), provider, profile_name)
    assert wanted.loop == "genai"
    for _ in range(2):
        GenaiLoop(Path("bundle"), wanted)
    assert said.index("clear") < said.index(("append", word))
    assert said_of_it in said
    assert said.count(("register", RTX, "library")) == (provider == RTX)  # twice is an error


def test_an_onnxruntime_genai_for_the_cpu_is_absence_and_not_a_broken_bundle(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its own words, of the package for the CPU, which is the one here."""
    genai = pytest.importorskip("onnxruntime_genai")
    if find_spec("onnxruntime_genai_cuda") or list(Path(genai.__file__).parent.glob("*-cuda.*")):
        pytest.skip("this one is for CUDA")
    decoder = {"filename": "model.onnx", "head_size": 1, "hidden_size": 1}
    model = {"type": "qwen3", "context_length": 8, "vocab_size": 8, "decoder": decoder}
    (tmp_path / "genai_config.json").write_text(json.dumps({"model": model, "search": {}}))
    stubbed(monkeypatch, {})
    with pytest.raises(TargetUnavailable, match="is not for CUDAExecutionProvider") as caught:
        GenaiLoop(tmp_path, chosen(CUDA, "cuda-int4-onnx"))
    fix = "pip uninstall onnxruntime onnxruntime-genai; pip install 'qdeploy[cuda]'"
    assert caught.value.fix == fix


def test_the_provider_comes_from_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second GPU of TensorRT for RTX, which is not that target's first provider."""
    stub = stubbed(monkeypatch, CACHE)
    monkeypatch.setattr(runtime, "prepare", lambda *_: None)
    monkeypatch.setattr(runtime, "plugin_devices", lambda p: [f"{p.name} {i}" for i in range(2)])
    device = Device(f"{RTX}:1", "made up", CUDA.name)
    wanted = chosen_on(
        of(device), device.id, "cuda-int4-rtx", enable_cuda_graph=True, nv_max_workspace_size=2**30
    )
    model = DynamicDecoder(Path("bundle"), wanted)
    model.begin(20)
    expected = {"enable_cuda_graph": "1", "nv_max_workspace_size": str(2**30)}
    assert stub.plugged == [([f"{RTX} 1"], expected)]
    assert wanted.loop == "own"  # onnxruntime-genai would give it both GPUs
    model.feed([1, 2, 3])
    assert stub.values == [("cpu", 0, -1)] * 2  # copied to the GPU and back by the runtime
    assert stub.runs[0]["outputs"]["present.0.key"] == ("cpu", 0)


def test_weights_that_would_end_the_process_are_refused_before() -> None:
    with pytest.raises(InputError, match="takes weights in int4 and fp16") as caught:
        chosen_on(named("cuda", RTX), RTX, "cuda-int4-onnx")
    assert "int8 asym g32" in caught.value.what
    assert "--target cuda --profile cuda-int4-rtx" in (caught.value.fix or "")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the loader of Linux")
def test_a_library_that_the_loader_does_not_find_is_told_before_it_ends_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtime, "plugin_library", lambda _: "/packages/rtx/provider.so")
    provider = named("cuda", RTX)
    with pytest.raises(TargetUnavailable, match=r"needs libtensorrt_rtx\.so") as caught:
        runtime.prepare(SimpleNamespace(), provider)
    assert "export LD_LIBRARY_PATH=/packages/rtx:" in (caught.value.fix or "")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: None)
    runtime.prepare(SimpleNamespace(), provider)


def test_heavy_operators_elsewhere_are_listed() -> None:
    wanted = chosen(CUDA, "cuda-int4-onnx")
    nodes = [Node(wanted.provider.name, "MatMulNBits", "q"), Node("CPU", "Gather", "shape")]
    assert prove_placement(nodes, wanted).nodes == {"CUDAExecutionProvider": 1, "CPU": 1}
    strays = [Node("CPU", "QMoE", f"layer.{i}") for i in range(6)]
    with pytest.raises(PlacementError) as caught:
        prove_placement([*nodes, *strays], wanted)
    assert "6 heavy operators are not on CUDAExecutionProvider" in caught.value.what
    assert "layer.0 (QMoE, on CPU)" in caught.value.what
    assert "and 2 more" in caught.value.what
    assert "--allow-fallback" in (caught.value.fix or "")


def test_the_memory_of_a_row_is_one_that_onnxruntime_knows() -> None:
    """`get_ort_device_type` in onnxruntime_inference_collection.py."""
    known = {"cpu", "cuda", "cann", "dml", "webgpu", "gpu", "npu"}
    assert {p.memory.kind for p in PROVIDERS} <= known
    assert FOR_TARGET[INTEL_CPU.name][0].memory == Memory()
