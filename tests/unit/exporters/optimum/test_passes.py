"""From a plan to what NNCF is asked: one call a precision, every argument from the profile."""

from __future__ import annotations

from typing import Any

import pytest

from qdeploy.exporters.optimum import passes
from qdeploy.exporters.optimum.job import Matrix
from qdeploy.exporters.optimum.passes import Pass
from qdeploy.exporters.optimum.slots import Constant, slots
from qdeploy.quantization.precision import Precision

INT4 = Precision(dtype="int4", group_size=128)
INT8 = Precision(dtype="int8")
FP16 = Precision(dtype="fp16")


@pytest.mark.parametrize(
    ("precision", "mode", "group_size"),
    [
        (INT4, "int4_asym", 128),
        (Precision(dtype="int4", symmetric=True, group_size=64), "int4_sym", 64),
        (Precision(dtype="int4", symmetric=True), "int4_sym", -1),
        (Precision(dtype="nf4"), "nf4", -1),
        (INT8, "int8_asym", None),
        (Precision(dtype="int8", symmetric=True), "int8_sym", None),
    ],
    ids=str,
)
def test_a_precision_becomes_arguments(
    precision: Precision, mode: str, group_size: int | None
) -> None:
    call = Pass(precision, frozenset())
    assert call.mode == mode
    assert call.options.get("group_size") == group_size


def test_nothing_is_left_to_nncf_to_choose() -> None:
    options: dict[str, Any] = Pass(INT4, frozenset()).options
    assert options == {"group_size": 128, "ratio": 1.0, "all_layers": True, "awq": False}
    assert Pass(INT8, frozenset()).options == {}, "NNCF refuses every one of them for int8"


def test_one_pass_a_precision_and_none_for_float() -> None:
    fallback = Precision(dtype="int4", group_size=64)
    wanted = {
        "model.embed_tokens": INT8, "a.q_proj": INT4, "a.k_proj": INT4, "a.o_proj": fallback,
        "a.down_proj": INT8, "a.gate": FP16,
    }  # fmt: skip
    matrices = [
        Matrix(name=f"{n}.weight", shape=(128, 128), precision=p) for n, p in wanted.items()
    ]
    constants = [Constant(f"self.{n}._openvino_orig_weight", (128, 128), "bf16") for n in wanted]
    made = {str(p.precision): p.constants for p in passes.passes(slots(matrices), constants)}
    ending = "._openvino_orig_weight"
    assert made == {
        "int4 asym g128": {f"self.a.q_proj{ending}", f"self.a.k_proj{ending}"},
        "int4 asym g64": {f"self.a.o_proj{ending}"},
        "int8 asym channel": {f"self.model.embed_tokens{ending}", f"self.a.down_proj{ending}"},
    }


def test_int8_in_groups_is_refused() -> None:
    reason = passes.why_not(Precision(dtype="int8", group_size=128))
    assert reason is not None
    assert "int8 asym g128" in reason
    assert passes.why_not(INT8) is None
    assert passes.why_not(INT4) is None
