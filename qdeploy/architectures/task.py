"""What a model is for, which decides what its graph makes of the hidden states."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from qdeploy.storage.toml_file import Strict

TaskName = Literal["generate", "embed", "rerank"]


class Task(Strict):
    """The task of a model, and the numbers that its graph needs for it.

    Attributes:
        name: `generate` continues a prompt; `embed` makes a vector of a text; `rerank` scores how
            well a document answers a query.
        normalize: of `embed`: vectors are scaled to length one.
        labels: of `rerank`: token ids of the answers no and yes, whose rows of the vocabulary head
            give the score; empty for a model with a score weight of its own, of one row.
    """

    name: TaskName = "generate"
    normalize: bool = False
    labels: tuple[int, ...] = Field(default=(), max_length=2)

    def __str__(self) -> str:
        """In words, for a person."""
        if self.name == "embed":
            return "embed: the last token's state" + (", normalized" if self.normalize else "")
        if self.name == "rerank":
            how = "token of yes against no" if len(self.labels) > 1 else "one logit"
            return f"rerank: {how}"
        return "generate"

    @property
    def generates(self) -> bool:
        return self.name == "generate"

    @property
    def scores(self) -> int:
        """Rows of the score weight: the logits that a pair of query and document gets."""
        return len(self.labels) or 1


GENERATE = Task()
