"""A loaded model, whatever its task. It is what `qdeploy.load` returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qdeploy.architectures.task import TaskName
from qdeploy.bundle import Bundle
from qdeploy.deploy.loaded_models.answers import (
    Answer,
    AnswerOptions,
    EmbedOptions,
    Ranked,
    RerankOptions,
)
from qdeploy.deploy.run import Choice
from qdeploy.errors import InputError
from qdeploy.interface import Device, Placement
from qdeploy.interface.loaded import Loaded
from qdeploy.tokenization.generation_warnings import generation_warnings
from qdeploy.tokenization.tokenizer import Message, Tokenizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Self, Unpack

    from qdeploy.generation.generate import Generation

METHODS = {"generate": "chat", "embed": "embed", "rerank": "rerank"}


class Model:
    """A bundle loaded on a device. As many threads may use it as its session serves requests.

    Use it as a context manager, or call `close`, to free the device. Which of `chat`, `stream`,
    `score`, `embed` and `rerank` it has depends on its task; the others raise InputError.

    Attributes:
        bundle: what was loaded.
        choice: the target, backend and device that it runs on.
        tokenizer: the bundle's tokenizer and chat template.
    """

    def __init__(self, bundle: Bundle, choice: Choice, loaded: Loaded) -> None:
        self.bundle, self.choice = bundle, choice
        self.tokenizer = Tokenizer(bundle.path, prepared=True)
        self._loaded = loaded

    @property
    def task(self) -> TaskName:
        """What the model is for: `generate`, `embed` or `rerank`."""
        return self.bundle.manifest.task.name

    @property
    def target(self) -> str:
        return self.choice.target.name

    @property
    def backend(self) -> str:
        return self.choice.backend.name

    @property
    def device(self) -> Device:
        return self.choice.device

    @property
    def devices(self) -> tuple[Device, ...]:
        """All devices that the model is spread over; the first is `device`."""
        return self.choice.devices

    @property
    def context(self) -> int:
        """Most tokens: of prompt and answer together, or of a text."""
        return self._loaded.context

    @property
    def placement(self) -> Placement:
        """Where the work runs, asked of the runtime.

        Examples:
            >>> str(model.placement.evidence), model.placement.fallback
            ('device', ())
        """
        return self._loaded.placement()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the export warned of, such as settings of the model that answers do not follow."""
        exported = self.bundle.manifest.plan.get("warnings")
        if not isinstance(exported, list):  # older bundles do not say
            return generation_warnings(self.bundle.path)
        return tuple(map(str, exported))

    def chat(self, messages: str | Sequence[Message], **options: Unpack[AnswerOptions]) -> Answer:
        """Answer a prompt: see `chat.ChatModel`."""
        raise self._refusal("chat")

    def stream(
        self, messages: str | Sequence[Message], **options: Unpack[AnswerOptions]
    ) -> Generation:
        """Answer piece by piece: see `chat.ChatModel`."""
        raise self._refusal("chat")

    def answer(self, stream: Generation) -> Answer:
        """Return what *stream* has generated so far: see `chat.ChatModel`."""
        raise self._refusal("chat")

    def score(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Return teacher-forced logits: see `chat.ChatModel`."""
        raise self._refusal("score texts")

    def embed(
        self, texts: str | Sequence[str], **options: Unpack[EmbedOptions]
    ) -> NDArray[np.float32]:
        """Make a vector of each text: see `embedding.Embedder`."""
        raise self._refusal("embed")

    def rerank(
        self, query: str, documents: Sequence[str], **options: Unpack[RerankOptions]
    ) -> list[Ranked]:
        """Score documents against a query: see `reranking.Reranker`."""
        raise self._refusal("rerank")

    def _refusal(self, asked: str) -> InputError:
        return InputError(
            f"the model is to {self.task}, and does not {asked}",
            where=self.bundle.path,
            fix=f"call {METHODS[self.task]}(...), or load another bundle",
        )

    def close(self) -> None:
        """Free the device. Calling it twice is harmless."""
        self._loaded.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
