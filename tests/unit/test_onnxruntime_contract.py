"""Calls to ONNX Runtime for hardware that is not here, checked against a stub of it.

The stub records what it is given; the names are held against what each provider documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qdeploy import profile
from qdeploy.backends.onnxruntime import placement, runtime, settings
from qdeploy.backends.onnxruntime.genai import GenaiLoop
from qdeploy.backends.onnxruntime.growing import GrowingModel
from qdeploy.backends.onnxruntime.opening import open_session
from qdeploy.backends.onnxruntime.placement import Node
from qdeploy.backends.onnxruntime.providers import BY_TARGET, PROVIDERS, Memory, Provider
from qdeploy.backends.onnxruntime.settings import Settings
from qdeploy.backends.onnxruntime.static import StaticModel
from qdeploy.errors import PlacementError
from qdeploy.interface import Device, Property
from qdeploy.targets import ASCEND, CUDA, INTEL_CPU, ROCM, WEBGPU, Target

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
    # the page OpenVINO-ExecutionProvider, and the strings in the library of the plugin 1.8.1
    "OpenVINOExecutionProvider": {
        "device_type": str, "device_id": str, "cache_dir": str, "load_config": str,
        "precision": str, "num_of_threads": int, "num_streams": int, "model_priority": str,
        "reshape_input": str, "enable_qdq_optimizer": bool, "enable_causallm": bool,
        "enable_opencl_throttling": bool,
    },
    "CPUExecutionProvider": {},
}  # fmt: skip
"""Options of each provider and their types, written down from the sources named."""


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda p: p.target.name)
def test_a_row_has_only_documented_options(provider: Provider) -> None:
    assert provider.options.items() <= DOCUMENTED[provider.name].items()
    assert provider.source.startswith("https://onnxruntime.ai/docs/execution-providers/")


class Stub:
    """As much of `onnxruntime` as a session takes, on any provider."""

    __version__ = "stub"

    def __init__(self, shapes: Mapping[str, list[Any]], fallback: str = "") -> None:
        self.shapes, self.fallback = shapes, fallback
        self.preloaded = 0
        self.sessions: list[SimpleNamespace] = []
        self.runs: list[dict[str, Any]] = []
        self.values: list[tuple[str, int, int]] = []
        self.OrtValue = SimpleNamespace(ortvalue_from_numpy=self._value)
        self.SessionOptions = lambda: SimpleNamespace(
            entries={}, add_session_config_entry=lambda *_: None
        )

    def preload_dlls(self) -> None:
        self.preloaded += 1

    def set_default_logger_severity(self, level: int) -> None: ...

    def _value(self, zeros: Any, kind: str = "cpu", number: int = 0, vendor: int = -1) -> Any:
        assert not zeros.any()
        self.values.append((kind, number, vendor))
        return SimpleNamespace(shape=zeros.shape, dtype=zeros.dtype)

    def InferenceSession(self, file: str, options: Any, providers: Any) -> Any:  # noqa: N802
        session = SimpleNamespace(
            file=file, providers=providers,
            get_providers=lambda: [self.fallback or providers[0][0], "CPUExecutionProvider"],
            get_inputs=lambda: [
                SimpleNamespace(name=n, shape=s, type="tensor(float16)")
                for n, s in self.shapes.items()
            ],
            io_binding=lambda: Binding(self),
            run_with_iobinding=lambda binding, options=None: binding.ran(options),
        )  # fmt: skip
        self.sessions.append(session)
        return session

    class RunOptions:
        def __init__(self) -> None:
            self.entries: dict[str, str] = {}

        def add_run_config_entry(self, name: str, value: str) -> None:
            self.entries[name] = value


class Binding:
    """Records one run: shapes of what came from the host, where the cache was."""

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._run: dict[str, Any] = {}

    def bind_cpu_input(self, name: str, array: Any) -> None:
        self._run[name] = array

    def bind_ortvalue_input(self, name: str, value: Any) -> None:
        self._run[name] = value

    bind_ortvalue_output = bind_ortvalue_input

    def bind_output(self, *_: Any) -> None: ...

    def ran(self, options: Any) -> None:
        self._stub.runs.append(self._run | {"options": options and options.entries})

    def get_outputs(self) -> list[Any]:
        tokens = self._run["input_ids"].shape[1]
        return [SimpleNamespace(numpy=lambda: np.zeros((1, tokens, 8), np.float16))]


CACHE = {f"past_key_values.0.{kind}": ["b", 2, "p", 128] for kind in ("key", "value")}
FIXED = {name: [1, 2, 64, 128] for name in CACHE} | {
    "input_ids": [1, 16], "attention_bias": [1, 1, 16, 64]
}  # fmt: skip


def stubbed(patch: pytest.MonkeyPatch, shapes: Mapping[str, list[Any]], fallback: str = "") -> Stub:
    stub = Stub(shapes, fallback)
    patch.setattr(runtime, "load", lambda: stub)
    return stub


def chosen(target: Target, name: str, number: int = 0, **properties: Property) -> Settings:
    """What a shipped profile is loaded with on device *number*."""
    provider = BY_TARGET[target.name]
    manifest: Any = SimpleNamespace(
        profile=profile.load(name), format=profile.load(name).format,
        model=SimpleNamespace(context_length=64, vocab_size=8),
    )  # fmt: skip
    options: Any = SimpleNamespace(
        properties=properties, context=None, cache_dir=None, allow_fallback=False
    )
    device = Device(f"{provider.name}:{number}", "made up", target.name)
    return settings.resolve(manifest, provider, device, options)


@pytest.mark.parametrize(
    ("target", "name", "kind", "vendor"),
    [
        (ROCM, "rocm-int4", "gpu", 0x1002),
        (ASCEND, "ascend-fp16", "cann", -1),
    ],
)
def test_static_graphs_keep_their_cache_on_the_device(
    target: Target, name: str, kind: str, vendor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = stubbed(monkeypatch, FIXED)
    model = StaticModel(Path("bundle"), chosen(target, name, 1))
    assert stub.values == [(kind, 1, vendor)] * 4  # keys and values, twice: passes take turns
    assert {Path(s.file).name for s in stub.sessions} == {"prefill.onnx", "decode.onnx"}
    for session in stub.sessions:
        assert session.providers == [(BY_TARGET[target.name].name, {"device_id": "1"})]
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
    wanted = chosen(CUDA, "cuda-int4", 2, loop="own", gpu_mem_limit=2**33, use_tf32=False)
    model = GrowingModel(Path("bundle"), wanted)
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
    model = GrowingModel(
        Path("bundle"), chosen(CUDA, "cuda-int4", loop="own", enable_cuda_graph=True)
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
        open_session(Path("model.onnx"), chosen(CUDA, "cuda-int4"))


@pytest.mark.parametrize(
    ("target", "name", "provider"),
    [(CUDA, "cuda-int8", "cuda")],
)
def test_onnxruntime_genai_gets_the_provider_by_its_word(
    target: Target, name: str, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    GenaiLoop(Path("bundle"), chosen(target, name))
    assert ("append", provider) in said
    assert said.index("clear") < said.index(("append", provider))
    assert (("option", "cuda", "device_id", "0") in said) == (target is CUDA)
    registered = ("register", BY_TARGET[target.name].name, "library") in said
    assert registered == (target is WEBGPU)


def test_heavy_operators_elsewhere_are_listed() -> None:
    wanted = chosen(CUDA, "cuda-int4")
    nodes = [Node(wanted.provider.name, "MatMulNBits", "q"), Node("CPU", "Gather", "shape")]
    assert placement.prove(nodes, wanted).nodes == {"CUDAExecutionProvider": 1, "CPU": 1}
    strays = [Node("CPU", "QMoE", f"layer.{i}") for i in range(6)]
    with pytest.raises(PlacementError) as caught:
        placement.prove([*nodes, *strays], wanted)
    assert "6 heavy operators are not on CUDAExecutionProvider" in caught.value.what
    assert "layer.0 (QMoE, on CPU)" in caught.value.what
    assert "and 2 more" in caught.value.what
    assert "--allow-fallback" in (caught.value.fix or "")


def test_the_memory_of_a_row_is_one_that_onnxruntime_knows() -> None:
    """`get_ort_device_type` in onnxruntime_inference_collection.py."""
    known = {"cpu", "cuda", "cann", "dml", "webgpu", "gpu", "npu"}
    assert {p.memory.kind for p in PROVIDERS} <= known
    assert BY_TARGET[INTEL_CPU.name].memory == Memory()
