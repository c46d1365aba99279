"""Plans whose linear weights have several precisions, each where it costs the least.

A *unit* is what gets one precision: a linear weight, or several that the format, or a runtime that
loads it, holds as one (`formats.Together`). Its candidates are of the profile's kind: int4 in the
profile's groups and in smaller ones, and int8, as far as the target's constraints and the columns
of its weights allow. Weights whose codes are kept have no candidates but their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

from qdeploy.errors import PlanError
from qdeploy.planning import constraints
from qdeploy.planning.allocation import Option, allocate, least_bytes, most_bytes
from qdeploy.planning.plan import Plan
from qdeploy.planning.tensor_spec import TensorPlan, with_precision
from qdeploy.planning.together import together
from qdeploy.quantization.precision import PER_CHANNEL, Precision
from qdeploy.storage.sizes import size

GROUPS = (128, 64, 32)
"""Groups that all formats and most kernels have."""

Loss = Callable[[str, Precision], float]
"""What it costs to store a weight, by its name, in a precision; finite and not negative."""


@dataclass(frozen=True)
class Unit:
    """Weights that get one precision.

    Attributes:
        names: of the weights.
        candidates: the precisions, at least one.
    """

    names: tuple[str, ...]
    candidates: tuple[Precision, ...]


def units(plan: Plan) -> tuple[Unit, ...]:
    """Everything that gets a precision, with its candidates.

    Raises:
        PlanError: there is nothing to choose: the profile's precision is not int4, or the target
            takes one only, or the codes of all weights are kept.
        CheckpointError: the architecture is unknown.
    """
    wanted = plan.rounded
    if wanted.dtype != "int4":
        raise PlanError(
            f"bits are chosen between int4 and int8, and the profile {plan.profile.name!r} stores "
            f"linear weights as {wanted}",
            fix="a --profile whose linear weights are int4",
        )
    tensors = {t.name: t for t in plan.linears}
    forms, found = _Forms(plan), []
    for names in together(plan):
        members = [tensors[name] for name in names]
        if not any(t.scheme for t in members):
            found.append(Unit(names, forms.of(members)))
    if not found:
        raise PlanError(
            "the codes of all linear weights are kept as the checkpoint stores them",
            fix="add --requantize, which rounds them again, or give the float checkpoint",
        )
    if all(len(unit.candidates) == 1 for unit in found):
        raise PlanError(
            f"there is nothing to choose: the profile {plan.profile.name!r} for "
            f"{plan.target.name} has linear weights in {found[0].candidates[0]} only",
            fix="leave the limit out, or give another --profile",
        )
    return tuple(found)


def with_precisions(
    plan: Plan, precisions: Mapping[str, Precision], notes: Iterable[str] = ()
) -> Plan:
    """The plan with other precisions of some linear weights, and what to tell the user.

    Raises:
        PlanError: a weight is not one of the plan's linear weights, its codes are kept, its columns
            are not whole groups, the target cannot run it, or weights that the format holds as one
            would have several precisions.
    """
    tensors, runs = {t.name: t for t in plan.tensors}, _Runs(plan)
    for name, precision in precisions.items():
        if name not in tensors or tensors[name].role != "linear":
            raise PlanError("it is no linear weight of the model", where=name)
        if reason := _why_not(tensors[name], precision) or runs.broken(precision):
            raise PlanError(f"it cannot be {precision}: {reason}", where=name)
        tensors[name] = with_precision(tensors[name], precision, plan.profile, plan.format_row)
    changed = replace(plan, tensors=tuple(tensors.values()), notes=(*plan.notes, *notes))
    for names in together(plan):
        forms = sorted({str(tensors[name].precision) for name in names})
        if len(forms) > 1 and not precisions.keys().isdisjoint(names):
            raise PlanError(
                f"the format {plan.format} needs it and others in one precision, not in "
                f"{' and '.join(forms)}",
                where=names[0],
            )
    return changed


def keep(plan: Plan, loss: Loss | None = None) -> Plan:
    """The plan of least loss within its own limit; the same plan where it has none.

    Without a *loss* that was measured it is a forecast: all parameters are taken to lose the same.

    Raises:
        PlanError: there is nothing to choose, or no choice keeps the limit.
    """
    limit, known = plan.limit, loss or _typical(plan)
    plan = replace(plan, notes=())
    if limit and limit.average_bits is not None:
        return for_average(plan, known, limit.average_bits)
    if limit and limit.bundle_bytes is not None:
        return for_size(plan, known, limit.bundle_bytes)
    return plan


def _typical(plan: Plan) -> Loss:
    """The loss where all weights are alike: a quarter for each bit, less in smaller groups."""
    parameters = {t.name: t.parameters for t in plan.linears}

    def loss(name: str, precision: Precision) -> float:
        coarse = 1.0 if precision.group_size == PER_CHANNEL else precision.group_size / 512 + 0.6
        return parameters[name] * coarse * 4.0**-precision.bits

    return loss


def for_average(plan: Plan, loss: Loss, bits: float) -> Plan:
    """The plan of least loss whose linear weights have at most so many *bits* on average.

    They are counted with scales and zero points. Above what all weights can have, that is taken,
    and noted.

    Raises:
        PlanError: there is nothing to choose, or there are too few bits for any choice.
    """
    parameters = sum(t.parameters for t in plan.linears)

    def in_words(nbytes: int) -> str:
        return f"{ceil(800 * nbytes / parameters) / 100:.2f} bits"

    whole = sum(t.nbytes for t in plan.linears)
    return _choose(plan, loss, int(bits * parameters / 8), whole, in_words, f"{bits:g} bits")


def for_size(plan: Plan, loss: Loss, nbytes: int) -> Plan:
    """The plan of least loss whose bundle takes at most *nbytes*, as far as plans predict it.

    Above the largest possible bundle, that is taken, and noted.

    Raises:
        PlanError: there is nothing to choose, or no bundle is so small.
    """
    return _choose(plan, loss, nbytes, plan.bundle_bytes, _size_above, size(nbytes))


def _size_above(nbytes: int) -> str:
    """The size in words, rounded up at its last digit."""
    step = 10 ** max(3 * ((len(str(nbytes)) - 1) // 3) - 1, 0)
    return size(-(-nbytes // step) * step)


def _choose(
    plan: Plan,
    loss: Loss,
    limit: int,
    whole: int,
    in_words: Callable[[int], str],
    asked: str,
) -> Plan:
    """Choose precisions so that *whole*, of which the units' weights are a part, keeps to *limit*.

    *in_words* says so many bytes, rounded up, in the words of the user who *asked*.
    """
    chosen = units(plan)
    tensors = {t.name: t for t in plan.linears}

    def option(unit: Unit, precision: Precision) -> Option:
        shapes = {tensors[name].shape: tensors[name] for name in unit.names}
        nbytes = {
            shape: with_precision(t, precision, plan.profile, plan.format_row).nbytes
            for shape, t in shapes.items()
        }
        return Option(
            sum(nbytes[tensors[name].shape] for name in unit.names),
            sum(loss(name, precision) for name in unit.names),
        )

    fixed = whole - sum(tensors[name].nbytes for unit in chosen for name in unit.names)
    options = [[option(unit, precision) for precision in unit.candidates] for unit in chosen]
    if limit < (least := fixed + least_bytes(options)):
        raise PlanError(
            f"the limit, {asked}, is below the {in_words(least)} that the smallest choice takes",
            where=plan.checkpoint.name,
            fix=f"{in_words(least)} or more, or a --profile of fewer bits or larger groups",
        )
    notes = []
    if limit > (most := fixed + most_bytes(options)):
        notes = [
            f"the limit, {asked}, is above the {in_words(most)} of the best choice, which is taken"
        ]
    found = allocate(options, limit - fixed)
    return with_precisions(
        plan,
        {
            name: unit.candidates[number]
            for unit, number in zip(chosen, found.chosen, strict=True)
            for name in unit.names
        },
        notes,
    )


class _Forms:
    """The precisions of the profile's kind that the target runs."""

    def __init__(self, plan: Plan) -> None:
        wanted, own = plan.rounded, plan.rounded.group_size
        groups = [own, *(group for group in GROUPS if group < own)]
        fours = [wanted.model_copy(update={"group_size": group}) for group in groups]
        eights = []
        if plan.profile.weights.group_fallback == "smaller":  # such a profile has a use for int8
            sizes = (own, PER_CHANNEL) if plan.format_row.groups_int8 else (PER_CHANNEL,)
            eights = [
                Precision(dtype="int8", symmetric=wanted.symmetric, group_size=group)
                for group in dict.fromkeys(sizes)
            ]
        runs = _Runs(plan)
        self._fours, self._eights = ([p for p in k if not runs.broken(p)] for k in (fours, eights))

    def of(self, members: Sequence[TensorPlan]) -> tuple[Precision, ...]:
        """Those that all *members* can have; what the plan gives them, where there are none."""
        columns = {t.shape[-1] for t in members}
        fours, eights = (
            [p for p in known if not any(_splits(p, count) for count in columns)]
            for known in (self._fours, self._eights)
        )
        return (*fours, *eights[:1]) or (members[0].precision,)


class _Runs:
    """The target's constraints, looked up once for each precision."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._known: dict[Precision, str | None] = {}

    def broken(self, precision: Precision) -> str | None:
        """Why the target does not run linear weights in a precision, or None if it does."""
        if precision not in self._known:
            plan = self._plan
            broken = constraints.broken_by(plan.profile, plan.target, precision, plan.task.name)
            self._known[precision] = broken.reason if broken else None
        return self._known[precision]


def _splits(precision: Precision, columns: int) -> bool:
    """Whether a row of so many columns ends within a group."""
    return precision.group_size != PER_CHANNEL and columns % precision.group_size > 0


def _why_not(tensor: TensorPlan, precision: Precision) -> str | None:
    """Why a linear weight cannot have a precision on any target, or None if it can."""
    if tensor.scheme:
        return "its codes are kept as the checkpoint stores them"
    if _splits(precision, columns := tensor.shape[-1]):
        return f"groups of {precision.group_size} do not divide its {columns} columns"
    return None
