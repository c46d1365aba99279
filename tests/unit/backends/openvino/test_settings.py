"""What a session is loaded with, and what it then refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qdeploy.backends.openvino import compile_cache, isa, npu
from qdeploy.backends.openvino.batching import cache
from qdeploy.backends.openvino.session import OpenVINOSession
from qdeploy.backends.openvino.settings import (
    CPU_BATCH,
    REFUSED,
    Settings,
    resolve_settings,
)
from qdeploy.bundle import Manifest, ModelIdentity
from qdeploy.errors import InputError, OutOfMemory, PromptError
from qdeploy.interface import Device, LoadOptions, Placement, Property
from qdeploy.planning.profile import parse_profile
from qdeploy.system.threads import usable_threads
from qdeploy.targets import Evidence

CONTEXT = 4096
CPU = Device("CPU", "a CPU", "intel-cpu")
GPU = Device("GPU.1", "a GPU", "intel-gpu", driver="26.1")
NPU = Device("NPU", "an NPU", "intel-npu", driver="1005")
SIMULATED_NPU = replace(NPU, evidence=Evidence.SIMULATED)


def manifest(properties: Mapping[str, Property], kv_cache: str) -> Manifest:
    lines = "\n".join(f"{n} = {str(v).lower() if isinstance(v, bool) else repr(v)}"
                      for n, v in properties.items())  # fmt: skip
    written = (
        'schema = 1\ntarget = "intel-cpu"\nformat = "openvino"\nwhy = "For tests."\n'
        f'[weights.linear]\ndtype = "int8"\n[kv_cache]\ndtype = "{kv_cache}"\n'
        f"[runtime.properties]\n{lines}\n"
    )
    return Manifest(
        schema_version=1,
        model=ModelIdentity(
            name="made-up",
            architecture="qwen3",
            parameters=1,
            experts=0,
            vocab_size=100,
            context_length=CONTEXT,
            digest="0" * 64,
        ),
        target="intel-cpu",
        format="openvino",
        exporter="none",
        profile=parse_profile(written, "made-up", where="a test"),
        plan={},
        tools={},
        files={},
    )


@pytest.fixture(autouse=True)
def _every_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no variable limit the instruction sets of oneDNN."""
    for name in isa.VARIABLES:
        monkeypatch.delenv(name, raising=False)


def resolve(
    device: Device,
    profiled: Mapping[str, Property] | None = None,
    *,
    kv_cache: str = "u8",
    context: int | None = None,
    **asked: Property,
) -> Settings:
    options = LoadOptions(context=context, properties=asked)
    return resolve_settings(manifest(profiled or {}, kv_cache), device, options)


def test_the_users_properties_win_over_the_profiles() -> None:
    found = resolve(GPU, {"A": 1, "B": "x"}, B="y", C=True)
    assert found.plugin == {"KV_CACHE_PRECISION": "u8", "A": 1, "B": "y", "C": True}


@pytest.mark.parametrize(
    ("dtype", "name"), [("u8", "u8"), ("fp16", "f16"), ("bf16", "bf16"), ("fp32", "f32")]
)
def test_the_caches_type_is_the_profiles(dtype: str, name: str) -> None:
    assert resolve(GPU, kv_cache=dtype).plugin["KV_CACHE_PRECISION"] == name


def test_the_caches_type_can_be_overridden() -> None:
    assert resolve(CPU, KV_CACHE_PRECISION="u4").plugin["KV_CACHE_PRECISION"] == "u4"


def test_attention_is_paged_and_keeps_no_prefix_unless_asked() -> None:
    assert resolve(CPU).scheduler == {
        "enable_prefix_caching": False,
        "max_num_batched_tokens": CPU_BATCH,
    }
    chosen = resolve(CPU, enable_prefix_caching=True, max_num_batched_tokens=64, cache_size=2)
    assert chosen.scheduler == {
        "enable_prefix_caching": True,
        "max_num_batched_tokens": 64,
        "cache_size": 2,
    }
    assert set(chosen.plugin) == {"KV_CACHE_PRECISION", "INFERENCE_NUM_THREADS"}


def batched(
    monkeypatch: pytest.MonkeyPatch,
    device: Device = CPU,
    *,
    free: int | None = 10**9,
    context: int | None = 1024,
    asked: Mapping[str, Property] | None = None,
) -> Settings:
    """Settings for 8 requests at once, of a model with 1 MB of weights and 1 kB a token."""
    monkeypatch.setattr(cache, "available_bytes", lambda: free)
    sizes = {"weight_bytes": 10**6, "kv_bytes_per_token": 10**3}
    planned = manifest({}, "u8").model_copy(update={"plan": sizes})
    options = LoadOptions(context=context, properties=asked or {}, concurrency=8)
    return resolve_settings(planned, replace(device, memory_bytes=free), options)


def test_many_requests_share_a_cache_that_keeps_prefixes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A context, 1024 tokens for each further request, and a block of each that is part full."""
    found = batched(monkeypatch)
    assert found.scheduler == {
        "enable_prefix_caching": True,
        "dynamic_split_fuse": True,
        "max_num_seqs": 8,
        "max_num_batched_tokens": CPU_BATCH,
        "num_kv_blocks": 8 * 1024 // 32 + 8,
    }
    limits = found.limits(100)
    assert (limits.concurrency, limits.logprobs, limits.json_schema) == (8, 0, True)


@pytest.mark.parametrize(
    ("free", "context", "tokens"),
    [(10**9, 256, 8 * 256), (10**9, 4096, 4096 + 7 * 1024), (7 * 10**6, 4096, 4600),
     (None, 4096, 4096 + 7 * 1024)],
)  # fmt: skip
def test_the_cache_fits_into_the_free_memory_and_holds_a_context(
    free: int | None, context: int, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for device, block in ((CPU, 32), (GPU, 16)):
        found = batched(monkeypatch, device, free=free, context=context)
        assert found.scheduler is not None
        assert found.scheduler["num_kv_blocks"] == -(-tokens // block) + 8


def test_too_little_memory_for_one_context_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutOfMemory, match="a key-value cache of 4096 tokens does not fit"):
        batched(monkeypatch, free=6 * 10**6, context=4096)


def test_a_size_that_is_asked_for_is_taken_if_it_holds_a_context(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = batched(monkeypatch, asked={"cache_size": 1, "enable_prefix_caching": False})
    assert found.scheduler is not None
    assert found.scheduler["cache_size"] == 1
    assert found.scheduler["enable_prefix_caching"] is False
    assert "num_kv_blocks" not in found.scheduler
    assert batched(monkeypatch, asked={"num_kv_blocks": 32}).concurrency == 8
    with pytest.raises(InputError, match="asked for holds 992 tokens, and a context has 1024"):
        batched(monkeypatch, asked={"num_kv_blocks": 31})


@pytest.mark.parametrize("device", [NPU, SIMULATED_NPU, CPU])
def test_one_request_is_served_where_attention_is_not_paged(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpaged: dict[str, Property] = {"ATTENTION_BACKEND": "SDPA"} if device is CPU else {}
    limits = batched(monkeypatch, device, context=None, asked=unpaged).limits(100)
    assert (limits.concurrency, limits.logprobs, limits.json_schema) == (1, None, True)


def test_attention_can_be_left_unpaged() -> None:
    found = resolve(CPU, {"ATTENTION_BACKEND": "SDPA"})
    assert found.scheduler is None
    assert "ATTENTION_BACKEND" not in found.plugin


@pytest.mark.parametrize(
    ("device", "asked", "named"),
    [
        (CPU, {"ATTENTION_BACKEND": "FLASH"}, "FLASH"),
        (CPU, {"ATTENTION_BACKEND": "SDPA", "cache_size": 1}, "cache_size"),
        (CPU, {"cache_size": "1"}, "cache_size"),
        (CPU, {"enable_prefix_caching": 1}, "enable_prefix_caching"),
        (CPU, {"max_num_batched_tokens": True}, "max_num_batched_tokens"),
        (NPU, {"cache_size": 1}, "cache_size"),
        (NPU, {"ATTENTION_BACKEND": "PA"}, "ATTENTION_BACKEND"),
        (NPU, {"MAX_PROMPT_LEN": "1024"}, "MAX_PROMPT_LEN"),
        (NPU, {"MIN_RESPONSE_LEN": 0}, "MIN_RESPONSE_LEN"),
        (NPU, {"MIN_RESPONSE_LEN": True}, "MIN_RESPONSE_LEN"),
    ],
)
def test_wrong_properties_are_refused_by_name(
    device: Device, asked: dict[str, Property], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        resolve(device, asked)


@pytest.mark.parametrize("device", [CPU, GPU, NPU, SIMULATED_NPU])
@pytest.mark.parametrize("name", REFUSED)
def test_nothing_may_move_the_work_elsewhere(device: Device, name: str) -> None:
    with pytest.raises(InputError, match=name):
        resolve(device, {name: "CPU"})


@pytest.mark.parametrize(("asked", "context"), [(None, CONTEXT), (100, 100), (10**6, CONTEXT)])
def test_context_on_cpu_and_gpu(asked: int | None, context: int) -> None:
    for device in (CPU, GPU):
        found = resolve(device, context=asked)
        assert (found.context, found.prompt_limit) == (context, context - 1)


@pytest.mark.parametrize(
    ("profiled", "asked", "prompt", "context"),
    [
        ({}, None, 1024, 1152),
        ({"MAX_PROMPT_LEN": 512, "MIN_RESPONSE_LEN": 256}, None, 512, 768),
        ({"MAX_PROMPT_LEN": 512, "MIN_RESPONSE_LEN": 256}, 600, 512, 768),
        ({"MAX_PROMPT_LEN": 512, "MIN_RESPONSE_LEN": 256}, 2000, 1744, 2000),
        ({"MAX_PROMPT_LEN": 512, "MIN_RESPONSE_LEN": 256}, 10**6, CONTEXT - 256, CONTEXT),
        ({"MAX_PROMPT_LEN": CONTEXT, "MIN_RESPONSE_LEN": 256}, None, CONTEXT - 1, CONTEXT),
    ],
)
def test_context_on_the_npu_follows_from_its_static_lengths(
    profiled: dict[str, Property], asked: int | None, prompt: int, context: int
) -> None:
    found = resolve(NPU, profiled, context=asked)
    assert (found.prompt_limit, found.context) == (prompt, context)


def test_the_npu_gets_no_other_device_to_fall_back_on() -> None:
    found = resolve(NPU)
    assert found.plugin["NPUW_DEVICES"] == "NPU"
    assert found.plugin["NPUW_FALLBACK_EXEC"] == "NO"
    assert found.scheduler is None
    assert "KV_CACHE_PRECISION" not in found.plugin


def test_the_simulated_npu_runs_on_the_cpu_only() -> None:
    assert resolve(SIMULATED_NPU).plugin["NPUW_DEVICES"] == "CPU"


def test_the_scorer_compiles_with_the_plugins_own_names() -> None:
    found = npu.plugin_properties(resolve(NPU, {"PREFILL_HINT": "STATIC", "X": 1}).plugin)
    assert found["NPUW_LLM_MAX_PROMPT_LEN"] == 1024
    assert found["NPUW_LLM_PREFILL_HINT"] == "STATIC"
    assert (found["NPUW_LLM"], found["X"]) == ("YES", 1)
    assert not {"MAX_PROMPT_LEN", "MIN_RESPONSE_LEN", "PREFILL_HINT"} & set(found)


def folder(
    chosen: Settings, *, bundle: str = "b", driver: str | None = "1", runtime: str = "r"
) -> Path | None:
    return compile_cache.cache_folder(
        Path("c"), chosen, bundle=bundle, driver=driver, runtime=runtime
    )


def test_a_blob_is_kept_for_this_very_compilation() -> None:
    one = resolve(NPU)
    kept = [
        folder(one),
        folder(one, bundle="other"),
        folder(one, driver="2"),
        folder(one, driver=None),
        folder(one, runtime="other"),
        folder(resolve(NPU, context=2000)),
        folder(resolve(NPU, X=1)),
        folder(resolve(GPU)),
    ]
    assert len(set(kept)) == len(kept)
    assert folder(one) == folder(resolve(NPU))
    assert kept[0] is not None
    assert kept[0].is_relative_to("c/openvino")


def test_the_cpu_keeps_no_blobs() -> None:
    assert folder(resolve(CPU)) is None
    assert folder(resolve(SIMULATED_NPU)) is None


def test_no_cache_folder_keeps_nothing() -> None:
    found = compile_cache.cache_folder(None, resolve(NPU), bundle="b", driver="1", runtime="r")
    assert found is None


def session(device: Device) -> OpenVINOSession:
    """A session whose runtime is never called."""
    placement = Placement((device.id,), device.evidence, "none was asked")
    nothing: Any = None
    return OpenVINOSession(nothing, object(), placement, resolve(device), Path(), 100, None)


@pytest.mark.parametrize(
    ("device", "tokens", "named"),
    [
        (CPU, 0, "empty"),
        (CPU, CONTEXT, str(CONTEXT)),
        (CPU, CONTEXT + 5, str(CONTEXT)),
        (NPU, 1, "2 or more"),
        (NPU, 1025, "a prompt of 1024"),
        (NPU, 1152, "1152"),
    ],
)
def test_a_prompt_that_does_not_fit_is_refused(device: Device, tokens: int, named: str) -> None:
    with pytest.raises(PromptError, match=named) as caught:
        session(device).check_prompt([5] * tokens)
    names_the_setting = "raise MAX_PROMPT_LEN" in (caught.value.fix or "")
    assert names_the_setting == (device is NPU and tokens > 1)


@pytest.mark.parametrize(
    ("device", "tokens"), [(CPU, 1), (CPU, CONTEXT - 1), (NPU, 2), (NPU, 1024)]
)
def test_a_prompt_that_fits_is_taken(device: Device, tokens: int) -> None:
    session(device).check_prompt([99] * tokens)


@pytest.mark.parametrize("wrong", [-1, 100, 2**31])
def test_ids_outside_the_vocabulary_are_refused(wrong: int) -> None:
    with pytest.raises(PromptError, match=str(wrong)):
        session(CPU).check_prompt([5, wrong])


@pytest.mark.parametrize(("device", "longest"), [(CPU, CONTEXT), (NPU, 1151)])
def test_the_longest_text_to_score(device: Device, longest: int) -> None:
    assert (resolve(device).limits(100).score or CONTEXT) == longest
    with pytest.raises(PromptError, match=str(longest)):
        session(device).score([5] * (longest + 1))


def test_the_cpu_has_a_thread_for_each_core_unless_asked_otherwise() -> None:
    profiled: dict[str, Property] = {"INFERENCE_NUM_THREADS": 7}
    assert resolve(CPU).plugin["INFERENCE_NUM_THREADS"] == usable_threads()
    assert resolve(CPU, profiled).plugin["INFERENCE_NUM_THREADS"] == 7
    asked = resolve_settings(manifest(profiled, "u8"), CPU, LoadOptions(threads=3))
    assert asked.plugin["INFERENCE_NUM_THREADS"] == 3
    assert "INFERENCE_NUM_THREADS" not in resolve(GPU).plugin


def test_the_simulated_npu_has_the_threads_of_the_cpu_it_runs_on() -> None:
    assert resolve(SIMULATED_NPU).plugin["INFERENCE_NUM_THREADS"] == usable_threads()
    asked = resolve_settings(manifest({}, "u8"), SIMULATED_NPU, LoadOptions(threads=1))
    assert asked.plugin["INFERENCE_NUM_THREADS"] == 1
    assert "INFERENCE_NUM_THREADS" not in resolve(NPU).plugin


@pytest.mark.parametrize("device", [GPU, NPU])
def test_threads_are_refused_where_they_compute_nothing(device: Device) -> None:
    with pytest.raises(InputError, match="threads are for CPUs"):
        resolve_settings(manifest({}, "u8"), device, LoadOptions(threads=3))
