"""A head that is tied to the embedding, and what a checkpoint stores of the two.

The rules are those of `tie_weights` in transformers 5: where both are stored and differ, they are
not tied; where only the head is, it is the embedding as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from qdeploy.checkpoint.headers import TensorInfo
from qdeploy.checkpoint.naming.find import Named, Same


class Tie(NamedTuple):
    """Names of the modules that share one weight."""

    embedding: str
    head: str


def is_apart(tie: Tie, named: Named, same: Same) -> bool:
    """Whether the head is stored with other values than the embedding."""
    embedding, head = _weight(tie.embedding, named), named.modules.get(tie.head)
    if embedding is None or not head:
        return False
    return "weight" not in head or not same(embedding, head["weight"])


def tied(tie: Tie, named: Named) -> Named:
    """The tensors of a model whose head and embedding are equal, each value once."""
    embedding, head = _weight(tie.embedding, named), _weight(tie.head, named)
    if head is None:
        return named
    modules = dict(named.modules)
    del modules[tie.head]
    if embedding is None:
        modules[tie.embedding] = {"weight": head}
        return Named(modules, named.dropped, named.warnings)
    reason = f"the same as {embedding.name}, which it is tied to"
    return Named(modules, {**named.dropped, head.name: reason}, named.warnings)


def tie_warning(tie: Tie) -> str:
    """What the user must know where `is_apart`."""
    return (
        f"config.json ties {tie.head} to {tie.embedding}, but both are stored and differ: they are "
        "not tied, as in transformers (tie_word_embeddings)"
    )


def _weight(module: str, named: Named) -> TensorInfo | None:
    parts: Mapping[str, TensorInfo] = named.modules.get(module, {})
    return parts.get("weight")
