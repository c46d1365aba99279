"""Predicted cost of a calibration: time on this CPU, peak of memory, room on the disk.

For T tokens, H the width of the residual stream, and linear weights [N, K]; an expert sees its
share of the tokens, T * top_k / experts, and `BESIDE` others:

    operations = sum over inputs of  MOMENTS * TKK + sum over weights of SOLVING * NKK
                 + passes * 2TNK, divided by EFFICIENCY
    passes     = FORWARDS, and GRADIENTS more where tokens count by importance; the head has
                 OWN_HEAD, and GRADIENTS more
    memory     = BASE + the tokenizer + MATRICES * 4KK of the widest input + buffers of each thread;
                 of an expert EXPERT_MATRICES, and its tokens' activations
    disk       = codes + STREAMS * 4TH + TEMPORARY * 4T * the widest output,
                 or the residual streams before all layers while importance is found

Constants were measured on one layer of Qwen3-8B's and of Qwen3-30B-A3B's shapes (docs/quality.md).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache
from itertools import groupby
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from qdeploy.planning.formats import group_count
from qdeploy.system.threads import usable_threads
from qdeploy.tokenization.text_files import TOKENIZER_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qdeploy.planning.plan import Plan
    from qdeploy.planning.tensor_spec import TensorPlan

MOMENTS = 3
"""Operations for each token and pair of columns: half of H, and C. Weights that share their inputs
share them; the first and the last of a block have inputs of their own."""
SOLVING = 14
"""Operations for each row and pair of columns: target, feedback, and two refinements."""
FORWARDS = 2.5
"""Products with a weight: in both models, and half a time of what the residual stream lacks."""
GRADIENTS = 3
"""More products: forward, again before the reverse, and for the gradient of the inputs."""
OWN_HEAD = 0.5
"""Products with the head where the model writes half of the text."""
EFFICIENCY = 0.65
"""Part of the rate of a large product that all of this reaches."""
MATRICES, EXPERT_MATRICES = 3, 5
"""Second moments, cross moments and factor, float32 [K, K] each; for an expert those of all tokens
beside it."""
STREAMS, TEMPORARY = 6, 4
"""Residual streams of both models on the disk, and in files without a name before and after a sum;
outputs of two layers in both models."""
BASE_BYTES = 90_000_000
"""Python, NumPy and qdeploy."""
TOKENIZER_COPIES = 6
"""Memory of the tokenizer, in sizes of its file."""
BLOCK_BYTES = 10 * 4 * 2**21 + 2 * 4 * 8192 * 512
"""A thread's buffers: of a block of rows, and of a panel of moments in both models."""
BESIDE, SETS = 2048, 3
"""Tokens that each expert is run on beside its own; sets of activations that it has: of its tokens
in the float model, in both models, and of the others."""
SCALE_BYTES = 2


@dataclass(frozen=True)
class Cost:
    """What a calibration takes.

    Attributes:
        seconds: on this CPU without other load; None where it was not measured.
        memory_bytes: peak of anonymous memory.
        disk_bytes: most that lies in the cache at a time.
    """

    seconds: float | None
    memory_bytes: int
    disk_bytes: int

    def as_dict(self) -> dict[str, float | int | None]:
        return asdict(self)


def predict(plan: Plan, *, timed: bool = True) -> Cost:
    """Predict the cost of calibrating a plan, as if nothing of it was done before.

    *timed*: whether to measure this CPU for the time, which takes a second at the first call.

    Raises:
        ValueError: the plan has no calibration.
    """
    if plan.calibration is None:
        raise ValueError("a plan without calibration")
    tokenizer = TOKENIZER_COPIES * plan.checkpoint.size_of(TOKENIZER_FILE)
    memory = BASE_BYTES + tokenizer + _widest_bytes(plan) + BLOCK_BYTES * usable_threads()
    seconds = operations(plan) / _operations_per_s() if timed else None
    return Cost(seconds, memory, _disk_bytes(plan))


class _Layer(NamedTuple):
    """A calibrated linear weight, [rows, columns], and how many tokens it reads.

    Attributes:
        inputs: whether its inputs are its own, or the first of several weights that share them.
    """

    rows: int
    columns: int
    tokens: float
    inputs: bool
    expert: bool


def operations(plan: Plan) -> float:
    """Multiplications and additions of a calibration, see the module's docstring."""
    calibration, config = plan.calibration, plan.checkpoint.config
    if calibration is None:
        return 0
    gradients = GRADIENTS if calibration.importance else 0
    passes = FORWARDS + gradients
    total = 0.0
    for rows, columns, tokens, inputs, _ in _layers(plan):
        total += SOLVING * rows * columns**2 + passes * 2 * tokens * rows * columns
        if inputs:
            total += MOMENTS * tokens * columns**2
    if plan.task.generates:
        heads = (0 if calibration.texts else OWN_HEAD) + gradients
        total += heads * 2 * calibration.tokens * config.vocab_size * config.hidden_size
    return total / EFFICIENCY


@cache
def _operations_per_s() -> float:
    from qdeploy.system import bandwidth

    return bandwidth.float32_flops_per_s(passes=3)


def _layers(plan: Plan) -> Iterator[_Layer]:
    tokens = plan.calibration.tokens if plan.calibration else 0
    config = plan.checkpoint.config
    share = (config.num_experts_per_tok or 0) / (config.num_experts or 1)
    for _, together in groupby(_calibrated(plan), lambda t: t.name.rsplit(".", 2)[0]):
        block = list(together)
        for t in block:
            yield _Layer(
                t.shape[0],
                prod(t.shape[1:]),
                tokens * share + BESIDE if t.expert else tokens,
                inputs=t in (block[0], block[-1]),
                expert=t.expert,
            )


def _calibrated(plan: Plan) -> list[TensorPlan]:
    return [t for t in plan.tensors if t.calibrated]


def _widest_bytes(plan: Plan) -> int:
    """Of the matrices of the widest input, and of an expert's tokens in both models."""
    widest = 0
    for n in _layers(plan):
        matrices = (EXPERT_MATRICES if n.expert else MATRICES) * n.columns**2
        activations = SETS * n.tokens * (n.rows + n.columns) if n.expert else 0
        widest = max(widest, 4 * matrices + round(4 * activations))
    return widest


def _disk_bytes(plan: Plan) -> int:
    codes = sum(map(_stored_bytes, _calibrated(plan)))
    calibration, config = plan.calibration, plan.checkpoint.config
    if calibration is None:
        return codes
    outputs = max((n.rows for n in _layers(plan) if not n.expert), default=0)
    layers = STREAMS * config.hidden_size + TEMPORARY * outputs
    gradients = (config.num_hidden_layers + 1) * config.hidden_size if calibration.importance else 0
    return max(codes + 4 * calibration.tokens * layers, 4 * calibration.tokens * gradients)


def _stored_bytes(tensor: TensorPlan) -> int:
    """Codes packed by their bits, scales in float16, and zero points of a byte."""
    points = 1 if tensor.precision.has_zero_points else 0
    groups = group_count(tensor.shape, tensor.precision)
    return prod(tensor.shape) * tensor.precision.bits // 8 + groups * (SCALE_BYTES + points)
