"""`Architecture`: what qdeploy needs to know about a model family; each is one subclass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import ClassVar

from qdeploy.architectures.config import DecoderConfig
from qdeploy.architectures.graph import Builder, GraphConfig, V
from qdeploy.architectures.recommended import Recommended
from qdeploy.architectures.tensors import Tensor, TensorLister


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
        """Name of the head that a tied model's checkpoint may store although nothing reads it."""
        untied = self.head(replace(config, tied=False))
        return None if untied == self.head(config) else untied

    def build(self, build: Builder[V], config: GraphConfig) -> None:
        """Build the whole model, from the tokens to the logits."""
        build.logits(self.hidden(build, config), self.head(config))

    def tensors(self, config: GraphConfig) -> dict[str, Tensor]:
        """Name, shape and role of every tensor that the graph uses, in the order of the layers."""
        lister = TensorLister(config)
        self.build(lister, config)
        return lister.found
