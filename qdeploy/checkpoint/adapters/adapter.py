"""An adapter merged into a model: the sources of the model's weights with its changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qdeploy.architectures.base import SCORE
from qdeploy.checkpoint.adapters.base_model import disagreement
from qdeploy.checkpoint.adapters.config import CONFIG, OTHER_TASKS, AdapterConfig, read_config
from qdeploy.checkpoint.adapters.dora import scale
from qdeploy.checkpoint.adapters.experts import merge_experts
from qdeploy.checkpoint.adapters.lora import merge_layer
from qdeploy.checkpoint.adapters.parts import AGAIN, Misfit, Model, Parts, group
from qdeploy.checkpoint.adapters.recognize import WEIGHTS, check_folder
from qdeploy.checkpoint.adapters.targets import is_target
from qdeploy.checkpoint.adapters.whole import Files, Replacement
from qdeploy.checkpoint.headers import read_header
from qdeploy.checkpoint.sources.base import Source
from qdeploy.errors import InputError

PREFIX = "adapter/"
"""What the names of its files begin with among those of the checkpoint."""
SHOWN = 3
"""Modules that a warning names."""


@dataclass(frozen=True)
class Adapter:
    """An adapter, merged into a model.

    Attributes:
        folder: its directory on disk.
        sources: of all weights of the model.
        changes: keys of the model's `config.json` that it changes, with their values.
        dropped: why a tensor of its file is not read, by the tensor's name.
        warnings: what a user must know.
    """

    folder: Path
    sources: Mapping[str, Source] = field(repr=False)
    changes: Mapping[str, Any]
    dropped: Mapping[str, str] = field(repr=False)
    warnings: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    def files(self) -> dict[str, Path]:
        """Its files by the names that plans give them: `adapter/*`."""
        return {f"{PREFIX}{name}": self.folder / name for name in (CONFIG, WEIGHTS)}


def merge_adapter(folder: Path, model: Model) -> Adapter:
    """Merge the adapter in *folder* into *model*. No weight is read, except copies of the model's.

    Raises:
        CheckpointError: *folder* is no adapter's, or one of its files cannot be read.
        InputError: it cannot be merged, or is an adapter for another model.
    """
    check_folder(folder)
    config, warnings = read_config(folder / CONFIG, model=model.folder)
    if config.task_type in OTHER_TASKS and SCORE not in model.sources:
        raise InputError(
            f"the adapter is for another task (task_type {config.task_type!r}), whose model does "
            "not end in a language model's head",
            where=folder / CONFIG,
            fix="give an adapter that was trained with task_type CAUSAL_LM",
        )
    if text := disagreement(config.base_model_name_or_path, model.name, model.config):
        warnings.append(text)
    try:
        merge = _Merge(folder, model, config)
        merge.carry_out()
    except Misfit as misfit:
        on = config.base_model_name_or_path
        raise InputError(
            f"the adapter does not fit: {misfit.problem}",
            where=folder / WEIGHTS,
            fix=misfit.fix or f"use it with the model that it was trained on{f', {on}' * bool(on)}",
        ) from None
    whole = merge.whole
    return Adapter(
        folder,
        whole.sources,
        _config_changes(model, whole.sources),
        whole.dropped,
        (*warnings, *whole.warnings),
    )


class _Merge:
    def __init__(self, folder: Path, model: Model, config: AdapterConfig) -> None:
        self._model, self._config = model, config
        self._tensors = [replace(t, file=PREFIX + t.file) for t in read_header(folder / WEIGHTS)]
        self.whole = Replacement(model, config, Files(model.folder, folder, PREFIX))

    def carry_out(self) -> None:
        if not self._tensors:
            raise Misfit("there are no tensors", AGAIN)
        parts, dropped = group(self._tensors, self._model)
        self.whole.dropped |= dropped
        self.whole.replace(parts)
        adapted = [part for part in parts if part.is_lora]
        targets = [part for part in adapted if is_target(self._config, part.names)]
        self._ignore([part for part in adapted if part not in targets])
        self._miss(targets)
        stacks = self._model.stacks()
        for part in targets:
            if part.module in stacks:
                experts = stacks[part.module]
                self.whole.sources |= merge_experts(part, experts, self.whole.sources, self._config)
            else:
                self.whole.sources[part.weight] = self._merged(part)

    def _merged(self, part: Parts) -> Source:
        """The weight of a layer with its low-rank update."""
        model, sources = self._model, self.whole.sources
        tied = model.tied and model.head not in sources
        if tied and part.weight in (model.head, model.embedding):
            raise self.whole.needs_untied(f"adapts {part.module} alone")
        magnitude = part.tensors.get("lora_magnitude_vector")
        if magnitude and not self._config.use_dora:
            raise Misfit(
                f"there is {magnitude.name!r}, and use_dora is not set in {CONFIG}",
                f'set "use_dora": true in {CONFIG}',
            )
        merged = merge_layer(part, sources.get(part.weight), self._role(part), self._config)
        return scale(merged, part) if self._config.use_dora else merged

    def _role(self, part: Parts) -> str | None:
        if part.weight == self._model.head:
            return "lm_head"
        described = self._model.described.get(part.weight)
        return described.role if described else None

    def _ignore(self, parts: Sequence[Parts]) -> None:
        """Leave out what the config does not adapt, as PEFT does."""
        for part in parts:
            for tensor in part.tensors.values():
                self.whole.dropped[tensor.name] = "adapter_config.json does not adapt its module"
        if parts:
            self.whole.warnings.append(
                f"the adapter has tensors of {_named([part.module for part in parts])}, which its "
                "adapter_config.json does not adapt: they are ignored, as PEFT does"
            )

    def _miss(self, targets: Sequence[Parts]) -> None:
        """Warn of layers that the config adapts and that have no tensors."""
        if self._config.target_modules is None:
            return
        held = {part.module for part in targets}
        missing = [
            module
            for name, tensor in self._model.described.items()
            if tensor.role == "linear" and not tensor.expert
            and (module := name.rpartition(".")[0]) not in held
            and is_target(self._config, (module,))
        ]  # fmt: skip
        if missing:
            self.whole.warnings.append(
                f"adapter_config.json adapts {_named(missing)}, of which the adapter has no "
                "tensors: left as they are, as PEFT does"
            )


def _named(modules: Sequence[str]) -> str:
    shown = ", ".join(modules[:SHOWN])
    return f"{shown} and {len(modules) - SHOWN} more" if len(modules) > SHOWN else shown


def _config_changes(model: Model, sources: Mapping[str, Source]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if model.embedding and sources[model.embedding].shape[0] != model.config.vocab_size:
        changes["vocab_size"] = sources[model.embedding].shape[0]
    if model.config.tie_word_embeddings and model.head in sources:
        changes["tie_word_embeddings"] = False
    return changes
