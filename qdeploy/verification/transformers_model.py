"""The model as transformers loads it, in float32 on the CPU: the side that is believed.

Nothing here reads a weight or a config through qdeploy, which is what makes the check independent.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qdeploy.architectures.task import Task
from qdeploy.errors import CheckpointError
from qdeploy.verification.dequantized import float_weights
from qdeploy.verification.libraries import quiet, reason, require
from qdeploy.verification.peft_adapter import merge
from qdeploy.verification.stored import read_stored

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Reading:
    """What a model computes for one passage of T tokens.

    Attributes:
        hidden: states [T, H] after the embedding and after each layer; the last norm is applied to
            those of the last layer.
        output: by the model's task: logits [T, V], an embedding [H], or scores [1 or 2].
    """

    hidden: tuple[Floats, ...]
    output: Floats


class Kind(NamedTuple):
    """Names in transformers: the class that loads a model, and the table of classes behind it."""

    auto: str
    table: str


CAUSAL = Kind("AutoModelForCausalLM", "MODEL_FOR_CAUSAL_LM_MAPPING")
ENCODER = Kind("AutoModel", "MODEL_MAPPING")
CLASSIFIER = Kind("AutoModelForSequenceClassification", "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING")


def kind_for(task: Task) -> Kind:
    """What loads a model for *task*; a reranker without labels has a score weight of its own."""
    if task.name == "rerank":
        return CAUSAL if task.labels else CLASSIFIER
    return CAUSAL if task.generates else ENCODER


@dataclass(frozen=True)
class LoadReport:
    """Names that transformers reports of loading a checkpoint.

    Attributes:
        missing: weights that it did not find and drew at random.
        unexpected: stored tensors that it did not use.
        mismatched: weights that are stored with another shape.
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()


class TransformersModel:
    """A model in float32. It takes four bytes a parameter."""

    def __init__(
        self,
        folder: Path,
        task: Task,
        *,
        adapter: Path | None = None,
        rope_scaling: Mapping[str, Any] | None = None,
    ) -> None:
        """Load it.

        Args:
            folder: the checkpoint's directory.
            task: what it is for.
            adapter: directory of an adapter that PEFT merges.
            rope_scaling: how positions are scaled where the checkpoint's config does not say it.

        Raises:
            CheckpointError: transformers cannot load the checkpoint.
            InputError: PEFT cannot load the adapter.
            TargetUnavailable: a library is not installed.
        """
        self._torch, self._transformers = require("torch"), require("transformers")
        if adapter:
            require("peft")  # before the model is loaded
        self._folder, self._task, self._stored = folder, task, read_stored(folder)
        with quiet():
            try:
                config = self._config(folder, rope_scaling)
                self._model, info = self._load(folder, config)
            except Exception as error:  # whatever a library raises
                raise CheckpointError(
                    f"transformers cannot load it ({reason(error)})", where=folder
                ) from None
        self.report = _report(info)
        if adapter:
            self._model = merge(self._model, adapter)
        self._model.eval()

    @property
    def stop_ids(self) -> frozenset[int]:
        """Tokens at which `generate` stops."""
        found = self._model.generation_config.eos_token_id
        return frozenset([found] if isinstance(found, int) else found or ())

    def read(self, ids: Sequence[int]) -> Reading:
        """Compute hidden states and output of one passage.

        Raises:
            CheckpointError: transformers cannot, as where its embedding lacks a token.
        """
        torch = self._torch
        with quiet(), torch.inference_mode():
            tokens = torch.tensor([list(ids)])
            try:
                made = self._model(tokens, output_hidden_states=True, use_cache=False)
            except Exception as error:  # whatever a library raises
                raise CheckpointError(
                    f"transformers loads it, but cannot compute it ({reason(error)})",
                    where=self._folder,
                ) from None
            hidden = tuple(state[0].float().numpy() for state in made.hidden_states)
            return Reading(hidden, self._output(made).float().numpy())

    def close(self) -> None:
        """Free the weights."""
        del self._model
        gc.collect()

    def _output(self, made: Any) -> Any:
        """What the task takes from transformers' output of one passage."""
        task = self._task
        if task.generates:
            return made.logits[0]
        if task.name == "rerank":
            return made.logits[0, -1, list(task.labels)] if task.labels else made.logits[0]
        vector = made.last_hidden_state[0, -1]
        return self._torch.nn.functional.normalize(vector, dim=-1) if task.normalize else vector

    def _config(self, folder: Path, rope_scaling: Mapping[str, Any] | None) -> Any:
        config = self._transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        own = getattr(config, "rope_parameters", None) or {}
        if rope_scaling and own.get("rope_type", "default") == "default":
            config.rope_parameters = {**own, **rope_scaling}
        return config

    def _load(self, folder: Path, config: Any) -> tuple[Any, Mapping[str, Any]]:
        kind = kind_for(self._task)
        loader = getattr(self._transformers, kind.auto)
        source: Path | None = folder
        settings = getattr(config, "quantization_config", None)
        weights: dict[str, Any] | None = None
        if not self._stored.is_float:
            weights = float_weights(folder, settings or {})
            loader, source = getattr(self._transformers, kind.table)[type(config)], None
        if settings is not None:  # the weights are float now, or the settings are left over
            del config.quantization_config
        model, info = loader.from_pretrained(
            source,
            state_dict=weights,
            config=config,
            dtype=self._torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            attn_implementation="eager",
            experts_implementation="eager",
            key_mapping=self._stored.renaming or None,
        )
        if weights and (folder / "generation_config.json").is_file():
            generation = self._transformers.GenerationConfig
            model.generation_config = generation.from_pretrained(folder, local_files_only=True)
        return model, info


def _report(info: Mapping[str, Any]) -> LoadReport:
    def names(key: str) -> tuple[str, ...]:
        found: Iterable[Any] = info.get(key) or ()
        return tuple(sorted(n[0] if isinstance(n, tuple) else str(n) for n in found))

    return LoadReport(*map(names, ("missing_keys", "unexpected_keys", "mismatched_keys")))
