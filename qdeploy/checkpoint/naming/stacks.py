"""Experts of a layer stored as one tensor, as transformers 5 holds them: [E, N, K].

Each expert's weights [N, K] are rows of it. `gate_up_proj` [E, 2M, H] has the M rows of the gate
before those of the projection up, as `Qwen3MoeExperts` of transformers splits it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from qdeploy.architectures.tensors import Tensor
from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.naming.module_names import STACKS
from qdeploy.checkpoint.sources.base import Source
from qdeploy.checkpoint.sources.plain import Slice
from qdeploy.errors import CheckpointError

Table = Mapping[str, Tensor]
"""The weights of an architecture by name."""

MOST = 100_000
"""Weights in stacks that are believed before config.json is compared; no model has as many."""


def weights_in(tensors: Iterable[TensorInfo]) -> int:
    """How many experts the stacks among *tensors* hold by their shapes, at most `MOST`."""
    stacks = (t for t in tensors if len(t.shape) == 3 and t.numel and ".experts." in t.name)
    return min(MOST, sum(t.shape[0] for t in stacks))


def split(
    experts: str, count: int, stack: str, tensor: TensorInfo, table: Table
) -> Iterator[tuple[str, Source]]:
    """Yield name and source of each expert's weights in *tensor*.

    Args:
        experts: the module of the layer's experts, e.g. `model.layers.0.mlp.experts`.
        count: how many it has.
        stack: a key of `STACKS`.
        tensor: what is stored under it.
        table: the weights of the architecture by name.

    Raises:
        CheckpointError: its shape is not that of the experts in the table.
    """
    shapes = [table[f"{experts}.0.{part}.weight"].shape for part in STACKS[stack]]
    rows, columns = sum(shape[0] for shape in shapes), shapes[0][1]
    wanted = (count, rows, columns)
    if tensor.shape != wanted:
        raise _misshapen(tensor, wanted)
    for expert in range(count):
        first = expert * rows
        for part, shape in zip(STACKS[stack], shapes, strict=True):
            yield f"{experts}.{expert}.{part}.weight", Slice(tensor, first, shape[0])
            first += shape[0]


def _misshapen(tensor: TensorInfo, wanted: tuple[int, int, int]) -> CheckpointError:
    experts, rows, columns = wanted
    problem = f"{tensor.name} is {list(tensor.shape)}; config.json describes {list(wanted)}"
    if tensor.shape == (experts, columns, rows):
        return CheckpointError(
            f"{problem}: experts are transposed",
            where=tensor.file,
            fix="save each such tensor as tensor.transpose(1, 2).contiguous()",
        )
    return CheckpointError(
        problem, where=tensor.file, fix="take config.json and weights from the same model"
    )
