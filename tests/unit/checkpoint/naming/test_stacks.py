"""The experts in a stack are all of it, each row once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdeploy.architectures.tensors import Tensor
from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.naming.stacks import MOST, split, weights_in
from qdeploy.checkpoint.sources.plain import Slice
from qdeploy.errors import CheckpointError

PLACE = "model.layers.0.mlp.experts"
sizes = st.integers(1, 40)


def table(experts: int, inner: int, hidden: int) -> dict[str, Tensor]:
    shapes = {"gate_proj": (inner, hidden), "up_proj": (inner, hidden),
              "down_proj": (hidden, inner)}  # fmt: skip
    return {
        f"{PLACE}.{number}.{part}.weight": Tensor(shape, "linear", expert=True)
        for number in range(experts)
        for part, shape in shapes.items()
    }


def stack(*shape: int) -> TensorInfo:
    return TensorInfo(f"{PLACE}.gate_up_proj", shape, "BF16", "model.safetensors")


@given(sizes, sizes, sizes)
def test_every_row_belongs_to_one_weight(experts: int, inner: int, hidden: int) -> None:
    wanted = table(experts, inner, hidden)
    tensor = stack(experts, 2 * inner, hidden)
    found = dict(split(PLACE, experts, "gate_up_proj", tensor, wanted))
    assert found.keys() == {name for name in wanted if "down_proj" not in name}
    assert all(source.shape == wanted[name].shape for name, source in found.items())
    rows: list[int] = []
    for source in found.values():
        assert isinstance(source, Slice)
        rows += range(source.first, source.first + source.rows)
    assert rows == list(range(experts * 2 * inner))


@given(sizes, sizes, sizes, st.lists(sizes, max_size=4))
def test_another_shape_is_refused(experts: int, inner: int, hidden: int, shape: list[int]) -> None:
    wanted = table(experts, inner, hidden)
    if tuple(shape) != (experts, 2 * inner, hidden):
        with pytest.raises(CheckpointError, match=r"config\.json describes"):
            list(split(PLACE, experts, "gate_up_proj", stack(*shape), wanted))


def test_an_absurd_number_of_experts_is_not_believed() -> None:
    assert weights_in([stack(2**40, 1, 1), stack(3, 2, 2)]) == MOST
    assert weights_in([stack(2**40, 0, 7), stack(3, 2, 2), stack(9, 9)]) == 3
