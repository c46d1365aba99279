"""Weights that an adapter replaces: whole modules, embeddings of another vocabulary, and rows.

PEFT saves the modules of `modules_to_save`, and copies of the embedding and the lm_head where it
takes them for changed. A module of `modules_to_save` is trained apart from what it was tied to, so
that PEFT's merge unties the two; copies stay tied.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from qdeploy.checkpoint.adapters import recipes
from qdeploy.checkpoint.adapters.compare import equal
from qdeploy.checkpoint.adapters.config import AdapterConfig
from qdeploy.checkpoint.adapters.names import Part
from qdeploy.checkpoint.adapters.parts import AGAIN, Misfit, Model, Parts
from qdeploy.checkpoint.adapters.rows import RowsReplaced
from qdeploy.checkpoint.adapters.targets import is_saved
from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.sources.base import Source
from qdeploy.checkpoint.sources.plain import Plain
from qdeploy.errors import InputError

UNTIED = (
    "the adapter has trained embedding and lm_head apart, which config.json ties: they are "
    "exported as two weights, as PEFT merges them"
)
SAME = "a copy of the model's own weight"
BOTH = "save it again with save_pretrained(FOLDER, save_embedding_layers=True), which saves both"
KINDS: tuple[Part, ...] = ("weight", "saved", "copy")
"""Tensors that hold the whole weight of a module, the one that PEFT reads first."""


@dataclass(frozen=True)
class Files:
    """Where the files of a model and of its adapter are.

    Attributes:
        prefix: what the names of the adapter's files begin with.
    """

    model: Path
    adapter: Path
    prefix: str

    def __call__(self, name: str) -> Path:
        """The place of a file by `TensorInfo.file`."""
        own = name.removeprefix(self.prefix)
        return (self.model if own == name else self.adapter) / own


class Replacement:
    """The weights of a model after an adapter has replaced some.

    Attributes:
        sources: by name.
        dropped: why a tensor of the adapter is not read, by its name.
        warnings: what was decided.
    """

    def __init__(self, model: Model, config: AdapterConfig, files: Files) -> None:
        self.sources = dict(model.sources)
        self.dropped: dict[str, str] = {}
        self.warnings: list[str] = []
        self._model, self._config, self._files = model, config, files

    def replace(self, parts: Iterable[Parts]) -> None:
        """Replace what *parts* hold whole, or by rows.

        Raises:
            InputError: the adapter needs a model that is not tied.
            Misfit: a tensor has another shape than what it replaces; a module that the config lists
                is missing.
        """
        parts = list(parts)
        given = {part.weight: tensor for part in parts if (tensor := self._whole(part))}
        ends = (self._model.embedding, self._model.head)
        for name, tensor in given.items():
            if name not in ends:
                self._replace(name, tensor)
        if self._model.embedding:
            self._replace_ends(self._model.embedding, self._model.head, given)
        for part in parts:
            if bias := part.tensors.get("bias"):
                self._replace(f"{part.module}.bias", bias)
            if rows := part.tensors.get("trainable_tokens_delta"):
                self._replace_rows(part, rows)
        self._check_complete(parts)

    def _whole(self, part: Parts) -> TensorInfo | None:
        """The tensor that takes the place of the module's weight, or is a copy of it."""
        found = [part.tensors[kind] for kind in KINDS if kind in part.tensors]
        for other in found[1:]:
            if not equal(Plain(found[0]), Plain(other), self._files):
                raise Misfit(f"{found[0].name!r} and {other.name!r} differ", AGAIN)
            self.dropped[other.name] = f"equal to {found[0].name}"
        return found[0] if found else None

    def _replace(self, name: str, tensor: TensorInfo) -> None:
        base, new = self.sources.get(name), Plain(tensor)
        if base is None:
            raise Misfit(f"the model has no {name!r}, of which there is {tensor.name!r}")
        if base.shape != new.shape:
            found, wanted = list(new.shape), list(base.shape)
            raise Misfit(f"{tensor.name!r} is {found}, and the model's {name!r} {wanted}")
        self.sources[name] = self._newer(name, new, base)

    def _newer(self, name: str, new: Plain, base: Source) -> Source:
        """*new*, unless it is a copy of *base*. They may differ in their numbers of rows."""
        if self._is_saved(name) or new.shape != base.shape:
            return new
        if equal(new, base, self._files):
            self.dropped[new.tensor.name] = SAME
            return base
        self.warnings.append(
            f"the adapter has a copy of {name} that differs from the model's: the adapter's is "
            "taken, as PEFT does"
        )
        return new

    def _replace_ends(self, embedding: str, head: str, given: dict[str, TensorInfo]) -> None:
        """Replace the embedding and the lm_head, whose rows are the vocabulary's tokens."""
        new = {name: Plain(given[name]) for name in (embedding, head) if name in given}
        for source in new.values():
            columns = self.sources[embedding].shape[1:]
            if source.shape[1:] != columns:
                found = f"{source.tensor.name!r} is {list(source.shape)}"
                raise Misfit(f"{found}; the model's hidden states have {columns[0]} elements")
        if self._model.tied and self._are_apart(embedding, head, new):
            if not any(map(self._is_saved, new)):
                raise self.needs_untied("holds an embedding and an lm_head that differ")
            self.sources[head] = self.sources[embedding]
            self.warnings.append(UNTIED)
        elif self._model.tied and new:
            new = {embedding: new.get(embedding) or new[head]}
        for name, source in new.items():
            self.sources[name] = self._newer(name, source, self.sources[name])
        rows = {
            name: self.sources[name].shape[0] for name in (embedding, head) if name in self.sources
        }
        if len(set(rows.values())) > 1:
            sizes = " and ".join(f"{name} {count}" for name, count in rows.items())
            raise Misfit(f"with it, the vocabulary has two sizes: {sizes} rows", BOTH)

    def _are_apart(self, embedding: str, head: str, new: dict[str, Plain]) -> bool:
        """Whether the adapter makes two weights of those that are tied."""
        if len(new) == 2:
            return not equal(new[embedding], new[head], self._files)
        alone = any(map(self._is_saved, new)) and not self._config.ensure_weight_tying
        return alone and not equal(next(iter(new.values())), self.sources[embedding], self._files)

    def _replace_rows(self, part: Parts, values: TensorInfo) -> None:
        if part.weight not in self.sources:
            raise self.needs_untied("replaces rows of the lm_head alone")
        base = self.sources[part.weight]
        chosen = self._config.trainable_token_indices or {}
        rows = next((r for name, r in chosen.items() if part.module.endswith(name)), None)
        if rows is None:
            raise Misfit(f"adapter_config.json does not say which rows {values.name!r} replaces")
        part.need("trainable_tokens_delta", (len(rows), *base.shape[1:]))
        if beyond := [row for row in rows if row >= base.shape[0]]:
            raise Misfit(
                f"it replaces row {beyond[0]} of {part.weight!r}, which has {base.shape[0]}"
            )
        self.sources[part.weight] = RowsReplaced(base, tuple(rows), values)

    def _is_saved(self, name: str) -> bool:
        """Whether the weight *name* is of a module that the config lists."""
        module = name.rpartition(".")[0]
        return any(is_saved(entry, module) for entry in self._config.modules_to_save or ())

    def _check_complete(self, parts: Iterable[Parts]) -> None:
        """Check that all is there that the config says is saved, as PEFT does on loading."""
        parts = list(parts)
        names = (*self._model.sources, *([self._model.head] if self._model.tied else ()))
        modules = {name.rpartition(".")[0] for name in names}
        whole = {p.module for p in parts if {*KINDS, "bias"} & p.tensors.keys()}
        rows = {p.module for p in parts if "trainable_tokens_delta" in p.tensors}
        for entry in self._config.modules_to_save or ():
            listed = {module for module in modules if is_saved(entry, module)}
            if listed and not listed & whole:
                raise Misfit(f"modules_to_save has {entry!r}, and no tensor is of it", AGAIN)
        for entry in self._config.trainable_token_indices or ():
            if not any(module.endswith(entry) for module in rows) and not self._is_followed(entry):
                raise Misfit(
                    f"trainable_token_indices has {entry!r}, and no tensor is of it", AGAIN
                )

    def _is_followed(self, entry: str) -> bool:
        """Whether rows of *entry* are those of the embedding, which PEFT saves once."""
        return self._model.tied and self._model.head.rpartition(".")[0].endswith(entry)

    def needs_untied(self, problem: str) -> InputError:
        """The error for an adapter that a model with a tied lm_head cannot take."""
        model, adapter = self._files.model, self._files.adapter
        return InputError(
            f"the adapter {problem}, which config.json ties: PEFT's merge would change both",
            where=adapter,
            fix=recipes.untie(model, adapter),
        )
