"""Maps constants of the traced graph to tensors of the checkpoint.

optimum-intel names a matrix as the checkpoint does, with a prefix and, for 16-bit weights, another
suffix. The experts of a block are two or three stacks [experts, rows, columns]; some stacks keep
only the block's name. Vectors (norms) keep no name: they stay in float32, as optimum-intel writes
them, and are not checked.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from qdeploy.errors import ExportFailed
from qdeploy.exporters.optimum.job import Matrix
from qdeploy.quantization.precision import Precision

EXPERT = re.compile(r"^(?P<block>.+\.experts)\.\d+\.\w+\.weight$")
STACK = re.compile(r"^(?:self\.|__module\.)(?P<block>.+\.experts)[./]")
SIXTEEN_BIT = "._openvino_orig_weight"


@dataclass
class Slot:
    """A matrix that the graph must hold, or the stacks of equal shape of one block's experts.

    Attributes:
        shape: of one constant; for a stack: experts, rows, columns.
        tensors: names in the checkpoint; stacks have more than one.
    """

    shape: tuple[int, ...]
    precision: Precision
    tensors: list[str] = field(default_factory=list)

    @property
    def constants(self) -> int:
        """Number of constants that hold these tensors."""
        return len(self.tensors) // self.shape[0] if len(self.shape) == 3 else 1


@dataclass(frozen=True)
class Constant:
    """A weight found in a graph.

    Attributes:
        name: its name in the graph.
        shape: after decompression, with groups joined.
        stored: `str(Precision)`, or the element type of a float.
    """

    name: str
    shape: tuple[int, ...]
    stored: str


def slots(matrices: Iterable[Matrix]) -> dict[str, Slot]:
    """Return the slots of all matrices, by the keys that `key_of` returns for their constants."""
    found: dict[str, Slot] = {}
    experts: dict[str, list[Matrix]] = {}
    for matrix in matrices:
        if match := EXPERT.match(matrix.name):
            experts.setdefault(match["block"], []).append(matrix)
        else:
            found[matrix.name] = Slot(matrix.shape, matrix.precision, [matrix.name])
    for block, members in experts.items():
        count = len({m.name[len(block) :].split(".")[1] for m in members})
        for matrix in members:
            # role and shape decide a precision, so equal shapes of a block have equal precisions
            key = _stack_key(block, matrix.shape)
            slot = found.setdefault(key, Slot((count, *matrix.shape), matrix.precision))
            slot.tensors.append(matrix.name)
    return found


def key_of(constant: Constant) -> str:
    """Return the key of the slot that *constant* belongs to; the plan may have no such slot."""
    stack = STACK.match(constant.name)
    if stack and len(constant.shape) == 3:
        return _stack_key(stack["block"], constant.shape[1:])
    return constant.name.removeprefix("self.").replace(SIXTEEN_BIT, ".weight")


def _stack_key(block: str, shape: tuple[int, ...]) -> str:
    return f"{block} {shape}"


def check_places(wanted: dict[str, Slot], constants: Iterable[Constant]) -> None:
    """Check that the graph holds every matrix of the plan once, and no others.

    Raises:
        ExportFailed: a tensor is missing, or a constant is not in the plan.
    """
    seen: Counter[str] = Counter()
    for constant in constants:
        key = key_of(constant)
        if key not in wanted:
            raise ExportFailed(
                f"the traced graph has a weight of shape {list(constant.shape)}"
                " that is not in the plan",
                where=constant.name,
            )
        if constant.shape != wanted[key].shape:
            raise ExportFailed(
                f"planned as {list(wanted[key].shape)}, traced as {list(constant.shape)}",
                where=wanted[key].tensors[0],
            )
        seen[key] += 1
    for key, slot in wanted.items():
        if seen[key] != slot.constants:
            raise ExportFailed(
                f"the traced graph holds it in {seen[key]} constants, not {slot.constants}",
                where=slot.tensors[0],
            )


def check_precisions(wanted: dict[str, Slot], constants: Iterable[Constant]) -> None:
    """Check that every weight is stored as planned, after `check_places`.

    Raises:
        ExportFailed: a tensor is stored in another precision.
    """
    for constant in constants:
        slot = wanted[key_of(constant)]
        if constant.stored != str(slot.precision):
            raise ExportFailed(
                f"planned as {slot.precision}, stored as {constant.stored}", where=slot.tensors[0]
            )
