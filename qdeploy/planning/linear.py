"""The linear weights of a plan summed up: their precisions in words, and their bits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from qdeploy.planning.tensor_spec import CALIBRATED, TensorPlan


def most_common(tensors: Iterable[TensorPlan]) -> TensorPlan | None:
    """A tensor of the form that most parameters have; None where there is no tensor."""
    sizes: Counter[str] = Counter()
    found = {}
    for t in tensors:
        sizes[t.label] += t.parameters
        found[t.label] = t
    return found[sizes.most_common(1)[0][0]] if sizes else None


def average_bits(tensors: Iterable[TensorPlan]) -> float:
    """Bits a parameter: codes, scales and zero points; 0 where there is no tensor."""
    linears = list(tensors)
    parameters = sum(t.parameters for t in linears)
    return 8 * sum(t.nbytes for t in linears) / max(parameters, 1)


def mixed_label(tensors: Iterable[TensorPlan]) -> str:
    """All precisions, most parameters first, and the average, e.g.
    `int4 asym g128 and int8 asym channel, 4.25 bits on average (calibrated)`.
    """
    linears = list(tensors)
    calibrated = CALIBRATED if all(t.calibrated for t in linears) else ""
    sizes: Counter[str] = Counter()
    for t in linears:
        sizes[str(t.precision) if calibrated else t.label] += t.parameters
    *others, last = [label for label, _ in sizes.most_common()]
    labels = f"{', '.join(others)} and {last}" if others else last
    return f"{labels}, {average_bits(linears):.2f} bits on average{calibrated}"
