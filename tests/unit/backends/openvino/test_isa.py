"""Instruction sets that are switched off for oneDNN, and the setting that the plugin then gets."""

from __future__ import annotations

import pytest

from qdeploy.backends.openvino.isa import limited_properties
from qdeploy.interface import Property
from tests.support.openvino_settings import CPU, GPU, resolve

FLOAT32: dict[str, Property] = {"INFERENCE_PRECISION_HINT": "f32"}
UNQUANTIZED: dict[str, Property] = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}


@pytest.mark.parametrize(
    ("environment", "properties"),
    [
        ({}, {}),
        ({"ONEDNN_MAX_CPU_ISA": ""}, {}),
        ({"ONEDNN_MAX_CPU_ISA": "ALL"}, {}),
        ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, {}),
        ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"}, FLOAT32),
        ({"ONEDNN_MAX_CPU_ISA": "AVX2"}, FLOAT32 | UNQUANTIZED),
        ({"DNNL_MAX_CPU_ISA": "avx2"}, FLOAT32 | UNQUANTIZED),
        ({"ONEDNN_MAX_CPU_ISA": "ALL", "DNNL_MAX_CPU_ISA": "AVX2"}, {}),
    ],
)
def test_the_limit_decides_what_the_plugin_may_compute_in(
    environment: dict[str, str], properties: dict[str, Property]
) -> None:
    assert limited_properties(environment) == properties


def test_the_limit_is_the_cpus_alone_and_the_users_own_properties_win(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert resolve(CPU).plugin["INFERENCE_PRECISION_HINT"] == "f32"
    asked = resolve(CPU, INFERENCE_PRECISION_HINT="bf16").plugin
    assert asked["INFERENCE_PRECISION_HINT"] == "bf16"
    assert "INFERENCE_PRECISION_HINT" not in resolve(GPU).plugin
