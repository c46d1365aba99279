"""The plan: a checkpoint and a profile, resolved. Planning reads no weights and loads nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from qdeploy.architectures.config import RopeScaling
from qdeploy.architectures.task import Task
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.errors import PlanError
from qdeploy.planning import constraints, linear, stored
from qdeploy.planning.calibrated import mark_calibrated
from qdeploy.planning.calibration import Calibration
from qdeploy.planning.context import check_context
from qdeploy.planning.formats import Format, format_of
from qdeploy.planning.limit import Limit
from qdeploy.planning.profile import Profile
from qdeploy.planning.tensor_spec import CALIBRATED, TensorPlan, precisions
from qdeploy.planning.tensors import plan_tensors
from qdeploy.quantization.precision import Precision
from qdeploy.storage.hashing import Identity
from qdeploy.targets import Target


@dataclass(frozen=True)
class Plan:
    """What an exporter writes, and the predicted sizes.

    Attributes:
        format_row: the row of the profile's bundle format.
        context: longest context, in tokens, that the model is exported for.
        tensors: every stored tensor; a tied lm_head is not stored, unless the format unties it.
        requantize: whether weights that are quantized already are rounded again.
        calibration: how the codes of linear weights are chosen, as the model's task allows; None
            where they are rounded alone.
        limit: what the precisions of linear weights are chosen for; None where the profile's are.
        notes: what was decided when precisions were chosen, for the user.
    """

    checkpoint: Checkpoint
    profile: Profile
    target: Target
    format_row: Format
    context: int
    tensors: tuple[TensorPlan, ...] = field(repr=False)
    requantize: bool = False
    calibration: Calibration | None = None
    limit: Limit | None = None
    notes: tuple[str, ...] = ()

    @property
    def format(self) -> str:
        return self.format_row.name

    @property
    def task(self) -> Task:
        return self.checkpoint.task

    def files(self) -> dict[str, Path]:
        """Every file that the export reads, the adapter's included."""
        return self.checkpoint.files()

    @cached_property
    def identity(self) -> Identity:
        """The content of all files that the export reads; equal identities are one model."""
        return Identity(self.files())

    @property
    def digest(self) -> str:
        """The identity in hex. The first access reads every byte."""
        return self.identity.hexdigest()

    @cached_property
    def rope_scaling(self) -> RopeScaling | None:
        """The RoPE scaling for this context, with the keys of `config.json`; None for none."""
        return self.checkpoint.config.scaling_for(self.context)

    @cached_property
    def linear(self) -> Precision:
        """Precision of the linear weights: of most that are kept, else before any fallback.

        Where one was chosen for each weight, that of most parameters.
        """
        return self._typical.precision if self._typical else self.rounded

    @cached_property
    def linear_label(self) -> str:
        """The same in words, e.g. `int4 asym g128 (as stored, awq)`, or `... (calibrated)`.

        Of chosen ones, all of them.
        """
        if self.is_mixed:
            return linear.mixed_label(self.linears)
        if self._typical:
            return self._typical.label
        return f"{self.linear}{CALIBRATED if self.calibration else ''}"

    @property
    def linears(self) -> list[TensorPlan]:
        """The linear weights."""
        return [t for t in self.tensors if t.role == "linear"]

    @cached_property
    def is_mixed(self) -> bool:
        """Whether a precision was chosen for each linear weight by itself."""
        return any(t.chosen for t in self.tensors)

    @cached_property
    def _typical(self) -> TensorPlan | None:
        """What stands for the linear weights; None where the profile's precision does."""
        return linear.most_common(t for t in self.linears if t.scheme or self.is_mixed)

    @cached_property
    def rounded(self) -> Precision:
        """The profile's precision of linear weights at this model's size."""
        return self.profile.linear_for(
            self.checkpoint.parameters, moe=self.checkpoint.config.is_moe
        )

    @cached_property
    def weight_bytes(self) -> int:
        return sum(t.nbytes for t in self.tensors)

    @cached_property
    def bundle_bytes(self) -> int:
        """Predicted size of the bundle: weights, graph, sidecars, the runtime's own tokenizer."""
        graph = self.profile.graph
        sidecars = sum(map(self.checkpoint.size_of, self.checkpoint.sidecars))
        rest = self.format_row.graph_bytes(self.checkpoint.config, graph, self.context)
        tokenizer = self.format_row.storage(graph).tokenizer if self.task.generates else 0
        return self.weight_bytes + rest + round((1 + tokenizer) * sidecars)

    @cached_property
    def is_tied(self) -> bool:
        """Whether the model that is written multiplies by the embedding to get logits."""
        tied = self.checkpoint.config.tie_word_embeddings and self.task.generates
        return tied and not any(t.role == "lm_head" for t in self.tensors)

    @cached_property
    def kv_bytes_per_token(self) -> int:
        """Bytes of key-value cache a token: 2 * layers * kv_heads * head_dim * element size.

        An 8-bit cache also stores a float32 scale and zero point for each token and head. A model
        that does not generate has no cache.
        """
        if not self.task.generates:
            return 0
        config = self.checkpoint.config
        elements = config.kv_elements_per_token()
        overhead = 8 * elements // config.head_dim if self.profile.kv_cache.dtype == "u8" else 0
        return round(elements * self.profile.kv_cache.bytes_per_element) + overhead

    @cached_property
    def bytes_per_token(self) -> int:
        """Bytes of weights that decoding one token reads: linear weights, router and lm_head.

        Only the chosen experts of a layer count. An embedding counts only where it is the lm_head:
        one looked-up row is negligible, and so are norms.
        """
        config = self.checkpoint.config
        read = {"linear", "router", "embedding" if self.is_tied else "lm_head"}
        whole = [t for t in self.tensors if t.role in read]
        experts = sum(t.nbytes for t in whole if t.expert)
        chosen = experts * (config.num_experts_per_tok or 0) // (config.num_experts or 1)
        return sum(t.nbytes for t in whole) - experts + chosen

    def longest_context(self, memory_bytes: int) -> int:
        """Longest context whose cache fits beside the weights in this memory, in tokens.

        At most the plan's context; 0 where the weights alone do not fit.
        """
        room = memory_bytes - self.weight_bytes
        if not self.task.generates:
            return self.context if room > 0 else 0
        return max(0, min(self.context, room // self.kv_bytes_per_token))

    def by_precision(self) -> dict[str, dict[str, int]]:
        """Tensors, parameters and bytes by stored precision, largest first."""
        rows: dict[str, Counter[str]] = {}
        for t in self.tensors:
            row = rows.setdefault(t.label, Counter())
            row.update(tensors=1, parameters=t.parameters, bytes=t.nbytes)
        return {k: dict(v) for k, v in sorted(rows.items(), key=lambda r: -r[1]["bytes"])}

    def fallbacks(self) -> list[TensorPlan]:
        """Tensors that the profile's group size does not divide."""
        wanted = precisions(self.profile, self.rounded)
        rounded = (t for t in self.tensors if not (t.scheme or t.chosen))
        return [t for t in rounded if t.precision != wanted[t.role]]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user must know before this is exported."""
        again = stored.rounded_again(self.checkpoint, self.tensors)
        return (*self.checkpoint.warnings, *again, *self.notes)

    def summary(self) -> dict[str, Any]:
        """The plan as plain data, for JSON and for the manifest."""
        config = self.checkpoint.config
        return {
            "model": self.checkpoint.name,
            "architecture": config.name,
            "task": self.task.name,
            "parameters": self.checkpoint.parameters,
            "target": self.target.name,
            "profile": self.profile.name,
            "format": self.format,
            "context": self.context,
            "rope_scaling": self.rope_scaling,
            "adapter": self.checkpoint.adapter.name if self.checkpoint.adapter else None,
            "linear": self.linear_label,
            "quantized_by": list(self.checkpoint.methods),
            "requantize": self.requantize,
            "calibration": self.calibration.summary() if self.calibration else None,
            "by_precision": self.by_precision(),
            "fallbacks": [
                {
                    "name": t.name,
                    "shape": t.shape,
                    "role": t.role,
                    "precision": str(t.precision),
                    "nbytes": t.nbytes,
                }
                for t in self.fallbacks()
            ],
            "weight_bytes": self.weight_bytes,
            "bundle_bytes": self.bundle_bytes,
            "dropped": dict(self.checkpoint.dropped),
            "warnings": list(self.warnings),
            "bytes_per_token": self.bytes_per_token,
            "kv_bytes_per_token": self.kv_bytes_per_token,
        }


def make_plan(
    checkpoint: Checkpoint,
    profile: Profile,
    target: Target,
    *,
    format_row: Format | None = None,
    context: int | None = None,
    requantize: bool = False,
    calibration: Calibration | None = None,
) -> Plan:
    """Resolve *profile* for *checkpoint*.

    *format_row* is the row of the profile's format, from the registry; None looks it up among the
    built-in rows. Weights that are stored as integer codes are kept as they are, and rounded again
    only with *requantize*. A profile's table `[calibration]` is not looked at: *calibration* is
    what `calibration.choose` made of it.

    Raises:
        PlanError: they do not go together, with the reason and the fix.
        ProfileError: its format is unknown.
        InputError: the checkpoint's adapter does not fit it.
    """
    row = format_row or format_of(profile)
    if profile.target != target.name:
        raise PlanError(
            f"profile {profile.name!r} is for target {profile.target!r}, not {target.name!r}",
            fix=f"--target {profile.target}, or a profile of {target.name!r}",
        )
    if not (checkpoint.task.generates or row.encoder):
        raise PlanError(
            f"the format {row.name} holds models that generate, and {checkpoint.name} is to "
            f"{checkpoint.task.name}",
            fix="another --target, or a --profile of the format openvino or onnx",
        )
    wanted = profile.linear_for(checkpoint.parameters, moe=checkpoint.config.is_moe)
    if broken := constraints.broken_by(profile, target, wanted, checkpoint.task.name):
        raise PlanError(
            f"profile {profile.name!r} cannot run on {target.name}: {broken.reason}",
            fix=broken.fix,
        )
    config = checkpoint.config
    longest = config.longest_context
    check_context(context, longest, taker=checkpoint.name)
    tensors = plan_tensors(checkpoint, profile, target, wanted, row, requantize=requantize)
    if calibration:
        calibration = calibration.of_task(checkpoint.task)
        tied = checkpoint.is_tied and checkpoint.task.generates
        tensors = mark_calibrated(tensors, checkpoint.name, profile, wanted.dtype, tied=tied)
    usual = longest if config.rope_scaling else config.max_position_embeddings
    usual = min(usual, profile.graph.context or usual)
    context = context or usual
    made = Plan(checkpoint, profile, target, row, context, tensors, requantize, calibration)
    for t in made.fallbacks():
        broken = constraints.broken_by(profile, target, t.precision, checkpoint.task.name)
        if broken and t.role == "linear":
            raise PlanError(
                f"group size {wanted.group_size} does not divide the {t.shape[-1]} columns, and "
                f"stored as {t.precision} it cannot run on {target.name}: {broken.reason}",
                where=t.name,
                fix="set weights.linear.group_size = -1",
            )
    return made
