"""A loaded model that makes vectors of texts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from qdeploy.architectures.graph import SHORTEST
from qdeploy.deploy.loaded_models.answers import EmbedOptions, check_options
from qdeploy.deploy.loaded_models.encoder import BATCH, EncoderModel
from qdeploy.errors import InputError, did_you_mean
from qdeploy.tokenization.prompts import Prompts, read_prompts
from qdeploy.tokenization.text_files import PROMPTS_FILE

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from qdeploy.deploy.loaded_models.encoder import Vectors


class Embedder(EncoderModel):
    """A model that makes vectors of texts, loaded on a device.

    Attributes:
        dimensions: elements of a vector.
    """

    @property
    def dimensions(self) -> int:
        return self._encoder.width

    def embed(self, texts: str | Sequence[str], **options: Unpack[EmbedOptions]) -> Vectors:
        """Make a vector of each text.

        Args:
            texts: one text, or several.
            options: `prompt_name`, `prompt`, `dimensions`, `batch_size` and `truncate`; see
                `EmbedOptions`.

        Returns:
            float32 [N, dimensions]. The vectors have length one if the model normalizes them.

        Raises:
            PromptError: a text does not fit, or has no tokens.
            InputError: no such prompt, or a number out of its range.
            GenerationFailed: the runtime broke, or the model is closed.
            TypeError: an option with another name.
        """
        check_options(options, EmbedOptions)
        texts = [texts] if isinstance(texts, str) else texts
        dimensions = options.get("dimensions")
        self.check_dimensions(dimensions)
        ids = self.token_ids(
            texts,
            prompt_name=options.get("prompt_name"),
            prompt=options.get("prompt"),
            truncate=options.get("truncate", False),
        )
        return self.shorten(self.encode(ids, options.get("batch_size", BATCH)), dimensions)

    def token_ids(
        self,
        texts: Sequence[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        truncate: bool = False,
    ) -> list[list[int]]:
        """Token ids of each text with its prompt; the arguments and errors are those of `embed`."""
        if prompt is None:
            prompt = self._prompt(prompt_name)
        elif prompt_name is not None:
            raise InputError("a prompt and a prompt's name", fix="give one of them")
        return [self._ids(prompt + text, truncate=truncate) for text in texts]

    def check_dimensions(self, dimensions: int | None) -> None:
        """Check that vectors can be shortened to *dimensions*.

        Raises:
            InputError: they cannot.
        """
        if dimensions is not None and not 0 < dimensions <= self.dimensions:
            raise InputError(
                f"{dimensions} dimensions of {self.dimensions}",
                fix=f"give 1 to {self.dimensions}",
            )

    def shorten(self, vectors: Vectors, dimensions: int | None) -> Vectors:
        """Keep the first *dimensions* of vectors, scaled to length one again if all are."""
        import numpy as np

        if dimensions is None:
            return vectors
        kept = vectors[:, :dimensions]
        if not self.bundle.manifest.task.normalize:
            return np.ascontiguousarray(kept)
        length = np.linalg.norm(kept, axis=1, keepdims=True)
        return np.asarray(kept / np.maximum(length, SHORTEST), np.float32)

    @cached_property
    def prompts(self) -> Prompts:
        """The model's own prompts by name, and the name of its default."""
        return read_prompts(self.bundle.path)

    def _prompt(self, name: str | None) -> str:
        prompts = self.prompts
        name = prompts.default if name is None else name
        if name is None:
            return ""
        if name not in prompts.texts:
            raise InputError(
                f"the model has no prompt {name!r} (in {PROMPTS_FILE})",
                fix=did_you_mean(name, prompts.texts) if prompts.texts else "--prompt TEXT",
            )
        return prompts.texts[name]

    def _ids(self, text: str, *, truncate: bool) -> list[int]:
        """Ids of a text. Where it is cut, what the tokenizer adds around it stays."""
        whole = self.tokenizer.encode(text, special=True)
        around = self.tokenizer.encode("", special=True)
        prefix = len(self.tokenizer.prefix)
        kept = self._room(len(whole) - len(around), len(around), truncate=truncate)
        tail = len(around) - prefix
        return whole[: prefix + kept] + whole[len(whole) - tail :]
