"""The table of devices: every number has its source, and none is made up."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic import ValidationError

from qdeploy import registry
from qdeploy.errors import InputError
from qdeploy.forecast import hardware
from qdeploy.forecast.hardware import NUMBERS, DeviceSpec
from qdeploy.system import info
from qdeploy.targets import BUILT_IN, Target
from tests.support.plugins import only
from tests.support.scripted import ScriptedBackend

NAMES = [d.name for d in hardware.table()]


@pytest.mark.parametrize("spec", hardware.table(), ids=lambda d: d.name)
def test_every_number_names_a_page(spec: DeviceSpec) -> None:
    for number in NUMBERS:
        if getattr(spec, number) is not None:
            page = urlsplit(spec.source_of(number) or "")
            assert (page.scheme, bool(page.netloc)) == ("https", True)


@pytest.mark.parametrize("spec", hardware.table(), ids=lambda d: d.name)
def test_numbers_are_of_a_likely_size(spec: DeviceSpec) -> None:
    """A slip of a thousand, or of sparse for dense, would show."""
    if spec.memory_bytes:
        assert 8e9 <= spec.memory_bytes <= 300e9
    if spec.bytes_per_s:
        assert 50e9 <= spec.bytes_per_s <= 10e12
    if spec.fp16_flops and spec.int8_ops:
        assert spec.int8_ops / spec.fp16_flops == pytest.approx(2, rel=0.01) or (
            spec.name == "RTX 4090"  # where sums in float32 halve the rate of float16
        )


def test_a_device_belongs_to_targets_that_there_are() -> None:
    assert {t for d in hardware.table() for t in d.targets} <= set(registry.targets())


def test_names_are_unique() -> None:
    assert len({n.lower() for n in [*NAMES, hardware.THIS_CPU]}) == len(NAMES) + 1


def test_a_number_without_a_source_is_refused() -> None:
    with pytest.raises(ValidationError, match="bytes_per_s has no source"):
        DeviceSpec(name="x", targets=("cuda",), bytes_per_s=1.0)


def test_names_are_found_in_any_case() -> None:
    assert hardware.named(["a100 80gb", "THIS CPU"]) == ["A100 80GB", "this CPU"]


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown device 'A100 80G'") as caught:
        hardware.named(["A100 80G"])
    assert caught.value.fix == "did you mean 'A100 80GB'?"


@pytest.mark.parametrize(
    ("name", "target", "fix"),
    [("Arc B580", "cuda", "--target intel-gpu or webgpu"), ("this CPU", "webgpu", "cpu")],
)
def test_a_device_of_another_target_is_refused_unmeasured(
    name: str, target: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "this_cpu", lambda: pytest.fail("measured"))
    hardware.check_target([name], "intel-gpu" if name == "Arc B580" else "cpu")
    with pytest.raises(InputError, match=f"'{name}' is no device of {target}") as caught:
        hardware.check_target(["RTX 4090", name] if target == "webgpu" else [name], target)
    assert fix in str(caught.value.fix)


def test_a_rate_that_is_not_known_is_stood_in_for_by_int8s() -> None:
    common = {"name": "x", "targets": ("cuda",), "sources": {"all": "https://x"}}
    assert DeviceSpec.model_validate(common).operations_per_s is None
    assert DeviceSpec.model_validate(common | {"int8_ops": 8.0}).operations_per_s == 8
    both = common | {"int8_ops": 8.0, "fp16_flops": 4.0}
    assert DeviceSpec.model_validate(both).operations_per_s == 4


ROW = {"name": "Abacus 9000", "memory_bytes": 1e10, "bytes_per_s": 2e11,
       "sources": {"all": "https://abacus.example"}}  # fmt: skip


class AbacusBackend(ScriptedBackend):
    name, targets = "abacus", (Target("abacus", "beads", "npu", hardware=(ROW,)),)


class Sourceless(ScriptedBackend):
    name = "abacus"
    targets = (Target("abacus", "beads", "npu", hardware=({**ROW, "sources": {}},)),)


class SlideRuleBackend(ScriptedBackend):
    name = "abacus"
    targets = (
        Target("slide-rule", "any CPU by another runtime", "cpu"),
        Target("abacus-cpu", "Abacus CPU", "cpu", cpu_vendor="Abacus"),
    )


def bringing(backend: type) -> dict[str, dict[str, str]]:
    return {registry.BACKENDS: {"abacus": f"tests.unit.forecast.test_hardware:{backend.__name__}"}}


def test_a_third_partys_target_brings_its_devices(tmp_path: Path) -> None:
    with only(tmp_path, acme=bringing(AbacusBackend)):
        assert hardware.named(["abacus 9000"]) == ["Abacus 9000"]
        (spec,) = hardware.for_target("abacus")
        hardware.check_target(["Abacus 9000"], "abacus")
        with pytest.raises(InputError, match="is no device of cuda"):
            hardware.check_target(["Abacus 9000"], "cuda")
    assert (spec.memory_bytes, spec.bytes_per_s) == (1e10, 2e11)


@pytest.mark.usefixtures("cpu")
@pytest.mark.parametrize(
    ("vendor", "targets"),
    [
        ("Abacus", ("cpu", "slide-rule", "abacus-cpu")),
        ("Intel", ("cpu", "intel-cpu", "slide-rule")),
        (None, ("cpu", "slide-rule")),
    ],
)
def test_this_cpu_is_a_device_of_every_cpu_target_of_its_vendor(
    vendor: str | None, targets: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(info, "cpu_vendor", lambda *_: vendor)
    with only(tmp_path, acme=bringing(SlideRuleBackend)):
        assert hardware.this_cpu().targets == targets
        for name in registry.targets():
            found = "this CPU" in [spec.name for spec in hardware.for_target(name)]
            assert found == (name in targets)
        hardware.check_target(["this CPU"], "slide-rule")


def test_a_built_in_targets_devices_are_in_the_table_alone() -> None:
    assert [target.name for target in BUILT_IN if target.hardware] == []


def test_its_numbers_need_sources_as_well(tmp_path: Path) -> None:
    with (
        only(tmp_path, acme=bringing(Sourceless)),
        pytest.raises(InputError, match=r"hardware of abacus: .*memory_bytes has no source"),
    ):
        hardware.table()
