"""Matching the constants of a traced graph with the tensors of a plan, and finding what is off."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qdeploy.errors import ExportFailed
from qdeploy.exporters.optimum.job import Matrix
from qdeploy.exporters.optimum.slots import (
    Constant,
    Slot,
    check_places,
    check_precisions,
    key_of,
    slots,
)
from qdeploy.quantization.precision import Precision

INT4 = Precision(dtype="int4", group_size=128)
INT8 = Precision(dtype="int8")
FP16 = Precision(dtype="fp16")
BLOCK = "model.layers.0.mlp.experts"
EXPERTS = 4


def matrices() -> list[Matrix]:
    """An embedding, a router and the experts of one block."""
    made = [
        Matrix(name="model.embed_tokens.weight", shape=(2048, 256), precision=INT8),
        Matrix(name="model.layers.0.mlp.gate.weight", shape=(EXPERTS, 256), precision=FP16),
    ]
    for expert in range(EXPERTS):
        for part, shape in {
            "gate_proj": (128, 256), "up_proj": (128, 256), "down_proj": (256, 128),
        }.items():  # fmt: skip
            name = f"{BLOCK}.{expert}.{part}.weight"
            made.append(Matrix(name=name, shape=shape, precision=INT4))
    return made


def constants() -> list[Constant]:
    """What the graph of that model holds, under the names that optimum-intel leaves."""
    return [
        Constant("self.model.embed_tokens._openvino_orig_weight", (2048, 256), str(INT8)),
        Constant("self.model.layers.0.mlp.gate.weight", (EXPERTS, 256), str(FP16)),
        Constant(f"__module.{BLOCK}/prim::ListUnpack/Split.0", (EXPERTS, 128, 256), str(INT4)),
        Constant(f"__module.{BLOCK}/prim::ListUnpack/Split.1", (EXPERTS, 128, 256), str(INT4)),
        Constant(f"self.{BLOCK}.down_proj", (EXPERTS, 256, 128), str(INT4)),
    ]


def test_experts_are_found_in_stacks() -> None:
    wanted = slots(matrices())
    assert len(wanted) == 4
    stacks = [s for s in wanted.values() if len(s.shape) == 3]
    assert {(s.shape, s.constants) for s in stacks} == {
        ((EXPERTS, 128, 256), 2), ((EXPERTS, 256, 128), 1),
    }  # fmt: skip
    assert {key_of(c) for c in constants()} == wanted.keys()


def test_square_experts_share_one_slot() -> None:
    square = [
        Matrix(name=f"{BLOCK}.{e}.{part}_proj.weight", shape=(128, 128), precision=INT4)
        for e in range(EXPERTS)
        for part in ("gate", "up", "down")
    ]
    (slot,) = slots(square).values()
    assert slot.constants == 3


def test_a_graph_like_the_plan_passes() -> None:
    wanted = slots(matrices())
    check_places(wanted, constants())
    check_precisions(wanted, constants())


def test_a_weight_that_is_stored_otherwise_is_named() -> None:
    """What optimum-intel does of its own accord: the router in int4."""
    found = [replace(c, stored=str(INT4)) if ".gate." in c.name else c for c in constants()]
    with pytest.raises(ExportFailed, match="planned as fp16, stored as int4 asym g128") as told:
        check_precisions(slots(matrices()), found)
    assert told.value.where == "model.layers.0.mlp.gate.weight"


@pytest.mark.parametrize("missing", range(5))
def test_a_weight_that_is_missing_is_named(missing: int) -> None:
    found = constants()
    key = key_of(found.pop(missing))
    wanted = slots(matrices())
    with pytest.raises(ExportFailed, match=r"in \d constants, not \d") as told:
        check_places(wanted, found)
    assert told.value.where == wanted[key].tensors[0]


def test_a_weight_outside_the_plan_is_named() -> None:
    """An embedding that the trace has untied would otherwise stay behind in float."""
    extra = Constant("self.lm_head._openvino_orig_weight", (2048, 256), "bf16")
    with pytest.raises(ExportFailed, match=r"\[2048, 256\].*not in the plan") as told:
        check_places(slots(matrices()), [*constants(), extra])
    assert told.value.where == extra.name


def test_a_transposed_weight_is_named() -> None:
    wanted = {"a.weight": Slot((8, 4), INT8, ["a.weight"])}
    with pytest.raises(ExportFailed, match=r"planned as \[8, 4\], traced as \[4, 8\]"):
        check_places(wanted, [Constant("self.a.weight", (4, 8), str(INT8))])
