"""What a session is loaded with."""

from __future__ import annotations

import pytest

from qdeploy.backends.openvino import npu
from qdeploy.backends.openvino.settings import (
    CPU_BATCH,
    REFUSED,
    resolve_settings,
)
from qdeploy.errors import InputError
from qdeploy.interface import Device, LoadOptions, Property
from qdeploy.system.threads import usable_threads
from tests.support.openvino_settings import (
    CONTEXT,
    CPU,
    GPU,
    NPU,
    SIMULATED_NPU,
    manifest,
    resolve,
)


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
