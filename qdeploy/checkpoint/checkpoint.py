"""A checkpoint described by its `config.json` and safetensors headers, without reading weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from qdeploy.architectures.base import Architecture
from qdeploy.architectures.config import DecoderConfig, ModelConfig, RopeScaling
from qdeploy.architectures.graph import GraphConfig
from qdeploy.architectures.table import find_architecture, known_classes
from qdeploy.architectures.task import GENERATE, Task
from qdeploy.architectures.tensors import Tensor, guess_tensor
from qdeploy.checkpoint.adapters import Adapter
from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.naming.find import Found
from qdeploy.checkpoint.naming.inventory import Inventory
from qdeploy.checkpoint.naming.stacks import weights_in
from qdeploy.checkpoint.naming.tying import tie_warning
from qdeploy.checkpoint.sources.base import Source, Weight
from qdeploy.checkpoint.sources.rows import Rows
from qdeploy.errors import CheckpointError
from qdeploy.tokenization.adapter_text import adapter_text_warnings, with_adapter_text
from qdeploy.tokenization.check import text_warnings
from qdeploy.tokenization.text_files import TextFiles, find_text_files


@dataclass(frozen=True)
class Checkpoint:
    """A Hugging Face checkpoint directory, described without reading weights.

    Attributes:
        name: the name of an embedded model, a hub id, or the directory's name.
        folder: the directory on disk.
        config: the parts of `config.json` that qdeploy uses.
        tensors: all tensors listed in the headers.
        adapter: what is merged into the weights, or None.
        decided: what was decided where the files disagree, for the user.
        task: what it is for.
        base: the checkpoint without its adapter; None where it has none.
        is_here: whether the checkpoint's files are on this machine.
    """

    is_here: ClassVar[bool] = True

    name: str
    folder: Path
    config: ModelConfig
    tensors: tuple[TensorInfo, ...] = field(repr=False)
    adapter: Adapter | None = None
    decided: tuple[str, ...] = ()
    task: Task = GENERATE
    base: Checkpoint | None = field(default=None, repr=False)

    @cached_property
    def stored(self) -> Found:
        """The weights as they are stored, before an adapter changes them.

        Raises:
            CheckpointError: they are quantized in a way that cannot be read.
        """
        if self.base:  # whose names and shapes are those of the files
            return self.base.stored
        return self._inventory.find(self.config.quantization_config)

    @cached_property
    def weights(self) -> tuple[Weight, ...]:
        """The weights of the model, the adapter's changes included.

        Not among them is an lm_head that the graph does not read, as in the hub's Qwen3-0.6B, where
        it is tied to the embedding. Weights that are some rows of another one come last.

        Raises:
            CheckpointError: they are quantized in a way that cannot be read.
        """
        sources = dict(self.merged)
        for name, (base, numbers) in self._derived.items():
            if base in sources:
                sources[name] = Rows(sources[base], numbers)
        return tuple(Weight(n, source) for n, source in sources.items() if n != self.unused_head)

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """The methods that weights are quantized by, in alphabetical order; none for floats."""
        sources = self.stored.sources.values()
        return tuple(sorted({source.scheme for source in sources if source.scheme}))

    @property
    def merged(self) -> Mapping[str, Source]:
        """Sources of the stored weights that the model needs, with the adapter's changes, by name.

        Raises:
            CheckpointError: they are quantized in a way that cannot be read.
        """
        if self.adapter:
            return self.adapter.sources
        unused = {self.unused_head} - {base for base, _ in self._derived.values()}
        return {name: s for name, s in self.stored.sources.items() if name not in unused}

    @property
    def _derived(self) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        """Weights that are some rows of another one: its name, and the numbers of the rows."""
        return self.architecture.derived(self._graph) if self._graph else {}

    @property
    def dropped(self) -> Mapping[str, str]:
        """Why a stored tensor is not read, by its stored name, the adapter's included."""
        head = self.stored.sources.get(self.unused_head or "")
        is_read = self.unused_head in {base for base, _ in self._derived.values()}
        unread = () if head is None or is_read or self.task.generates else head.tensors
        reason = f"a model to {self.task.name} has no vocabulary head"
        heads = dict.fromkeys((tensor.name for tensor in unread), reason)
        return {
            **self.stored.dropped, **heads, **(self.adapter.dropped if self.adapter else {}),
        }  # fmt: skip

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What a user must know about this checkpoint: what was decided where files disagree.

        Raises:
            CheckpointError: a file of the tokenizer is invalid, or inconsistent with another file.
        """
        text = self._text_warnings() if self.is_here else ()
        merged = self.adapter.warnings if self.adapter else ()
        return (*self.decided, *self.stored.warnings, *merged, *text)

    def _text_warnings(self) -> tuple[str, ...]:
        size = self.config.vocab_size if self.is_known else None
        own = find_text_files(self.folder)
        other = adapter_text_warnings(own, self.text_files) if self.adapter else ()
        generates = self.task.generates
        return (*other, *text_warnings(self.text_files, size, generates=generates))

    @cached_property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(w.numel for w in self.weights)

    @cached_property
    def nbytes(self) -> int:
        """Size of all stored tensors in bytes."""
        return sum(t.nbytes for t in self.tensors)

    @cached_property
    def text_files(self) -> TextFiles:
        """Config, generation settings, tokenizer and chat template: an adapter's before its own."""
        own = find_text_files(self.folder)
        return with_adapter_text(own, self.adapter.folder) if self.adapter else own

    @property
    def sidecars(self) -> Mapping[str, Path]:
        """Path of every file beside the weights, by name."""
        return self.text_files.paths

    def size_of(self, sidecar: str) -> int:
        """Size of a sidecar file in bytes; 0 where there is no such file."""
        file = self.sidecars.get(sidecar)
        return file.stat().st_size if file else 0

    @cached_property
    def architecture(self) -> Architecture:
        """The family in the table of architectures.

        Raises:
            CheckpointError: the table does not have it.
        """
        if found := find_architecture(self.config.name):
            return found
        raise self._unknown()

    @property
    def is_known(self) -> bool:
        """Whether the table of architectures has this model's."""
        return isinstance(self.config, DecoderConfig)

    @property
    def decoder(self) -> DecoderConfig:
        """The config of a known architecture.

        Raises:
            CheckpointError: the architecture is unknown.
        """
        if isinstance(self.config, DecoderConfig):
            return self.config
        raise self._unknown()

    @cached_property
    def _graph(self) -> GraphConfig | None:
        """The numbers of the family's graph.

        None for an unknown architecture, and for a config that asks for more layers and experts
        than there are tensors.
        """
        most = len(self.tensors) + weights_in(self.tensors)
        if not self.is_known or self.decoder.modules(most) > most:
            return None
        return self.graph(None)

    def graph(self, rope_scaling: RopeScaling | None) -> GraphConfig:
        """The numbers of the graph with positions scaled by *rope_scaling*.

        Raises:
            CheckpointError: the architecture is unknown.
        """
        return replace(self.decoder.graph(rope_scaling), task=self.task)

    @cached_property
    def _inventory(self) -> Inventory:
        known = (self.architecture, self._graph) if self._graph else None
        return Inventory(self.folder, self.tensors, known)

    @property
    def wrapped(self) -> str | None:
        """A stored name that transformers does not know the weight by, or None."""
        return self._inventory.wrapped

    def untied_if_stored_so(self) -> Checkpoint:
        """The checkpoint, as untied where its head has other values than the embedding.

        Raises:
            CheckpointError: a weight file cannot be read.
        """
        tie = self._inventory.tie
        if tie is None or not self._inventory.has_its_own_head():
            return self
        untied = self.config.model_copy(update={"tie_word_embeddings": False})
        return replace(self, config=untied, decided=(*self.decided, tie_warning(tie)))

    @cached_property
    def described(self) -> Mapping[str, Tensor]:
        """What each weight does, by its name; guessed where no family's graph says it."""
        listed = self.architecture.tensors(self._graph) if self._graph else {}
        stored = self.adapter.sources if self.adapter else self.stored.sources
        shapes = {name: source.shape for name, source in stored.items()}
        return {name: listed[name] for name in self._derived} | {
            name: (listed.get(name) or guess_tensor(name, shape))._replace(shape=shape)
            for name, shape in shapes.items()
        }

    @cached_property
    def unused_head(self) -> str | None:
        """Name of the lm_head that the graph does not read: see `Architecture.unused_head`."""
        if self._graph:
            return self.architecture.unused_head(self._graph)
        if not self.config.tie_word_embeddings:
            return None
        return next((name for name, t in self.described.items() if t.role == "lm_head"), None)

    @property
    def head(self) -> str:
        """Name of the lm_head's weight, whether the model has one or not."""
        if self._graph:
            return self.architecture.head(replace(self._graph, tied=False))
        heads = (name for name, tensor in self.described.items() if tensor.role == "lm_head")
        return next(heads, "lm_head.weight")

    @property
    def is_tied(self) -> bool:
        """Whether the embedding is the lm_head as well."""
        needed = self.task.generates or bool(self.task.labels)
        return needed and self.config.tie_word_embeddings and self.head not in self.merged

    def _unknown(self) -> CheckpointError:
        return CheckpointError(
            f"unknown architecture {self.config.name}; known are {', '.join(known_classes())}",
            where=self.folder / "config.json",
        )

    def weight_files(self) -> list[str]:
        return sorted({t.file for t in self.tensors})

    def files(self) -> dict[str, Path]:
        """All files of the model by name: sidecars, weights, and the adapter's as `adapter/*`."""
        own = {name: self.folder / name for name in self.weight_files()}
        return {**self.sidecars, **own} | (self.adapter.files() if self.adapter else {})
