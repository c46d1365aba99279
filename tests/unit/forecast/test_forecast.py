"""Forecasts: does it fit, on how many, with which profile, how fast."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdeploy import registry
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.published.catalogue import find_published
from qdeploy.errors import PlanError
from qdeploy.forecast import forecast, hardware, roofline
from qdeploy.forecast.forecast import Forecast, of_plan
from qdeploy.forecast.hardware import DeviceSpec
from qdeploy.forecast.share import MEASURED
from qdeploy.planning.plan import Plan, make_plan
from qdeploy.planning.profile import load_profile, profile_names
from qdeploy.system import info
from qdeploy.targets import BUILT_IN, CPU, CUDA, INTEL_CPU, INTEL_NPU, Target

SOURCES = {"all": "https://example.org"}


def model(size: str) -> Checkpoint:
    found = find_published(size)
    assert found is not None
    return found


def spec(target: Target = INTEL_CPU, **numbers: Any) -> DeviceSpec:
    given = {"memory_bytes": 80e9, "bytes_per_s": 1e12, "fp16_flops": 1e14} | numbers
    return DeviceSpec(name="made up", targets=(target.name,), sources=SOURCES, **given)


def made(size: str = "0.6B", context: int = 4096) -> Plan:
    return make_plan(model(size), load_profile("intel-cpu-int4"), INTEL_CPU, context=context)


def test_memory_is_weights_cache_and_activations() -> None:
    resolved = made(context=4096)
    row = of_plan(resolved, spec(), prompt=512)
    assert row.weight_bytes == resolved.weight_bytes
    assert row.kv_bytes == 4096 * resolved.kv_bytes_per_token
    assert row.activation_bytes == roofline.activation_bytes(resolved, 512)
    assert row.needed_bytes == row.weight_bytes + row.kv_bytes + row.activation_bytes
    assert (row.fits, row.devices) == (True, 1)


def test_speeds_are_those_of_the_roof() -> None:
    resolved = made()
    row = of_plan(resolved, spec(), prompt=100)
    roof = roofline.Roof(1e12, 1e14)
    assert row.decode_tokens_per_s == 1 / roof.seconds(roofline.decode(resolved, 100))[0]
    assert row.prefill_tokens_per_s == 100 / roof.seconds(roofline.prefill(resolved, 100))[0]
    assert row.bound == "memory"
    assert row.evidence == "predicted"


def test_one_byte_too_few_does_not_fit_on_a_device_that_stands_alone() -> None:
    needed = of_plan(made(), spec()).needed_bytes
    assert needed is not None
    assert of_plan(made(), spec(memory_bytes=needed)).devices == 1
    row = of_plan(made(), spec(memory_bytes=needed - 1))
    assert (row.fits, row.devices, row.decode_tokens_per_s) == (False, None, None)
    assert row.speeds is None


def test_what_does_not_fit_says_what_is_needed_and_what_there_is() -> None:
    row = of_plan(made("8B", 40960), spec(memory_bytes=2.5e9))
    needed = (row.needed_bytes or 0) / 1e9
    assert row.reason == f"needs {needed:.4g} GB; one holds 2.5 GB"
    several = of_plan(made("8B", 40960), spec(memory_bytes=1e9, several=True))
    assert several.reason == "needs more than 8 of them"


@given(st.integers(1, 64))
def test_linked_devices_share_by_whole_key_value_heads(gigabytes: int) -> None:
    resolved = MOE
    row = of_plan(resolved, spec(several=True, memory_bytes=gigabytes * 1e9))
    each = row.activation_bytes or 0
    split = (row.weight_bytes or 0) + (row.kv_bytes or 0)
    if row.fits:
        count = row.devices or 0
        assert 4 % count == 0
        assert split / count + each <= gigabytes * 1e9
        smaller = [n for n in (1, 2) if n < count]
        assert all(split / n + each > gigabytes * 1e9 for n in smaller)
    else:
        assert split / 4 + each > gigabytes * 1e9


MOE = made("30B-A3B")


@pytest.mark.parametrize(
    ("missing", "reason"),
    [("memory_bytes", "memory"), ("bytes_per_s", "bandwidth"), ("fp16_flops", "rate")],
)
def test_what_no_source_tells_is_not_forecast(missing: str, reason: str) -> None:
    numbers: dict[str, Any] = {missing: None}
    row = of_plan(made(), spec(**numbers))
    assert reason in (row.reason or "")
    assert row.prefill_tokens_per_s is None
    assert row.needed_bytes
    assert (row.decode_tokens_per_s is None) == (missing != "fp16_flops")


def test_a_gpu_that_has_no_products_of_a_profiles_inputs_is_told_and_gets_no_speed() -> None:
    rows = [
        forecast.of_target(make_plan(model("8B"), load_profile(name), CUDA, context=8192))
        for name in ("cuda-fp8", "cuda-int4")
    ]
    eights, fours = ({row.device: row for row in found} for found in rows)
    assert eights["A100 80GB"].reason == "it does not multiply inputs in fp8"
    assert eights["A100 80GB"].decode_tokens_per_s is None
    assert eights["H20"].decode_tokens_per_s
    assert fours["A100 80GB"].decode_tokens_per_s


def test_a_prefill_by_the_rate_of_int8_says_so() -> None:
    row = of_plan(made(), spec(fp16_flops=None, int8_ops=2e14))
    assert row.prefill_tokens_per_s
    assert "int8" in (row.reason or "")


def test_the_measured_share_is_used_and_named(cpu: DeviceSpec) -> None:
    row = of_plan(made(), cpu)
    share = MEASURED["openvino", "matrix"]
    ideal = 1 / roofline.Roof(20e9, None).seconds(roofline.decode(made(), 512))[0]
    assert row.decode_tokens_per_s == pytest.approx(ideal * share.memory)
    assert (row.share, row.speeds, row.reason) == (share.source, "expected", None)


def test_a_share_measured_of_one_backend_is_not_taken_for_another(cpu: DeviceSpec) -> None:
    by_onnx = make_plan(model("0.6B"), load_profile("intel-cpu-int4-onnx"), INTEL_CPU, context=4096)
    row = of_plan(by_onnx, cpu)
    limit = 1 / roofline.Roof(20e9, 200e9).seconds(roofline.decode(by_onnx, 512))[0]
    assert row.decode_tokens_per_s == pytest.approx(limit)
    assert row.speeds == "limit"
    assert "float32, narrower types may be faster" in (row.reason or "")


def test_the_share_of_onnx_runtime_is_its_own(cpu: DeviceSpec) -> None:
    by_onnx = make_plan(model("0.6B"), load_profile("cpu-int4"), CPU, context=4096)
    row = of_plan(by_onnx, cpu.model_copy(update={"arithmetic": "dot-product"}))
    share = MEASURED["onnxruntime", "dot-product"]
    ideal = 1 / roofline.Roof(20e9, None).seconds(roofline.decode(by_onnx, 512))[0]
    assert row.decode_tokens_per_s == pytest.approx(ideal * share.memory)
    assert (row.speeds, row.share, row.reason) == ("expected", share.source, None)


def test_prefill_on_a_cpu_with_float32_alone_is_slower(cpu: DeviceSpec) -> None:
    """0.6B on two cores of Zen 3 (87 GFLOPS in float32): 105 tok/s were measured."""
    zen3 = cpu.model_copy(update={"fp32_flops": 87e9, "arithmetic": "float32"})
    row = of_plan(made(), zen3)
    assert row.prefill_tokens_per_s is not None
    assert row.prefill_tokens_per_s == pytest.approx(105, rel=0.2)
    assert (row.speeds, "Zen 3" in (row.share or "")) == ("expected", True)
    with_amx = of_plan(made(), zen3.model_copy(update={"arithmetic": "matrix"}))
    assert with_amx.prefill_tokens_per_s == pytest.approx(3.2 * row.prefill_tokens_per_s)


@pytest.mark.parametrize(
    ("backend", "flags", "expected"),
    [
        ("openvino", {"avx2"}, True),
        ("openvino", {"amx_int8"}, True),
        ("onnxruntime", {"avx512_vnni"}, True),
        ("onnxruntime", {"amx_int8"}, False),
        ("unheard-of", {"avx512_vnni"}, False),
    ],
)
def test_a_run_here_is_predicted_only_for_what_was_measured(
    backend: str, flags: set[str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(info, "cpu_flags", lambda: frozenset(flags))
    planned = made().summary()
    speed = forecast.decode_here(planned, backend, cached=512, bytes_per_s=20e9)
    assert (speed is not None) == expected


@pytest.mark.usefixtures("cpu")
class TestEveryTarget:
    @pytest.fixture
    def rows(self) -> list[Forecast]:
        return forecast.for_model(model("8B"), BUILT_IN, context=8192)

    def test_has_a_row_in_the_order_of_the_targets(self, rows: list[Forecast]) -> None:
        assert list(dict.fromkeys(row.target for row in rows)) == [t.name for t in BUILT_IN]

    def test_says_which_profile_or_that_there_is_none(self, rows: list[Forecast]) -> None:
        with_profile = {load_profile(name).target for name in profile_names()}
        for row in rows:
            assert (row.profile is not None) == (row.target in with_profile)
            assert row.precision

    def test_of_an_unknown_target_is_one_row_with_the_reason(self) -> None:
        [row] = forecast.for_model(model("8B"), [Target("new", "something", "npu")])
        assert (row.device, row.profile, row.fits) == (None, None, None)
        assert row.needed_bytes
        assert "no device of this target" in (row.reason or "")

    def test_of_one_device_only(self) -> None:
        rows = forecast.for_model(model("8B"), BUILT_IN, only=["RTX 4090"])
        assert [(r.target, r.device) for r in rows] == [
            ("cuda", "RTX 4090"), ("webgpu", "RTX 4090"),
        ]  # fmt: skip

    def test_the_largest_needs_several_a100(self) -> None:
        [row] = forecast.for_model(model("235B-A22B"), [CUDA], context=8192, only=["A100 80GB"])
        assert row.devices == 2

    def test_the_npu_gets_the_precision_that_its_rules_give(self) -> None:
        [row] = forecast.for_model(model("8B"), [INTEL_NPU])
        assert row.precision == "int4 sym channel"


def test_measuring_is_spared_where_other_devices_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never() -> DeviceSpec:
        raise AssertionError("measured")

    monkeypatch.setattr(hardware, "this_cpu", never)
    assert forecast.for_model(model("8B"), registry.targets().values(), only=["H20"])


@pytest.mark.parametrize(("size", "longest"), [("0.6B", 131072), ("4B-Instruct-2507", 262144)])
def test_a_context_beyond_the_model_is_refused(size: str, longest: int) -> None:
    with pytest.raises(PlanError, match=f"takes 1 to {longest}") as caught:
        forecast.for_model(model(size), [CUDA], context=longest + 1)
    assert caught.value.fix == f"--context {longest} or less"
