"""`Architecture`: what qdeploy needs to know about a model family; each is one subclass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import ClassVar

from qdeploy.architectures.config import DecoderConfig
from qdeploy.architectures.graph import Builder, GraphConfig, Linear, V
from qdeploy.architectures.recommended import Recommended
from qdeploy.architectures.tensors import Tensor, TensorLister

SCORE = "score.weight"
"""The weight [scores, H] of a reranking model, by transformers' name in sequence classifiers."""


class Architecture(ABC):
    """One model family.

    Attributes:
        name: the family's `model_type` in `config.json`.
        classes: its names in `architectures` of `config.json`, which are transformers' classes.
        config: the class of its `config.json`, which also lists unsupported options.
        genai_type: onnxruntime-genai's `model.type` for it. `decoder` is the type of any decoder
            with a key-value cache.
        recommended: the makers' recommendations for chat; None leaves sampling to the checkpoint's
            `generation_config.json`, with transformers' defaults.
    """

    name: ClassVar[str]
    classes: ClassVar[tuple[str, ...]]
    config: ClassVar[type[DecoderConfig]]
    genai_type: ClassVar[str] = "decoder"
    recommended: ClassVar[Recommended | None] = None

    @abstractmethod
    def hidden(self, build: Builder[V], config: GraphConfig) -> V:
        """Build everything from the tokens to the hidden states after the last norm."""

    @abstractmethod
    def head(self, config: GraphConfig) -> str:
        """Name of the weight that makes logits of hidden states."""

    def unused_head(self, config: GraphConfig) -> str | None:
        """Name of the head that a checkpoint may store although the graph does not read it.

        It is that of a tied model, and of any model that does not generate.
        """
        untied = self.head(replace(config, tied=False))
        read = config.task.generates and untied == self.head(config)
        return None if read else untied

    def derived(self, config: GraphConfig) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Weights of the graph that are rows of a stored one: its name and the rows, by name."""
        labels = config.task.labels
        return {SCORE: (self.head(config), labels)} if labels else {}

    def build(self, build: Builder[V], config: GraphConfig) -> None:
        """Build the whole model, from the tokens to what its task gives."""
        hidden, task = self.hidden(build, config), config.task
        if task.name == "embed":
            build.embeddings(hidden, normalize=task.normalize)
        elif task.name == "rerank":
            build.scores(hidden, Linear(SCORE, task.scores))
        else:
            build.logits(hidden, self.head(config))

    def tensors(self, config: GraphConfig) -> dict[str, Tensor]:
        """Name, shape and role of every tensor that the graph uses, in the order of the layers."""
        lister = TensorLister(config)
        self.build(lister, config)
        return lister.found
