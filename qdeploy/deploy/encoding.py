"""Loaded models that embed texts, or rerank documents.

The batches of a call hold texts of similar lengths, longest first, so that little is padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypedDict

from qdeploy.architectures.graph import SHORTEST
from qdeploy.bundle import Bundle
from qdeploy.deploy.loaded import Model
from qdeploy.deploy.run import Choice
from qdeploy.errors import InputError, PromptError, did_you_mean
from qdeploy.interface import Encoder
from qdeploy.tokenization.pair_prompt import pair_ids
from qdeploy.tokenization.prompts import Prompts, read_prompts
from qdeploy.tokenization.text_files import PROMPTS_FILE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Unpack

    Vectors = NDArray[np.float32]

BATCH = 8
"""Texts of a pass, by default."""


class EmbedOptions(TypedDict, total=False):
    """What `embed` takes besides the texts.

    Attributes:
        prompt_name: one of the model's own prompts, e.g. `query`; None is its default.
        prompt: a prompt of your own in place of that. It is put before every text.
        dimensions: keep so many elements of a vector, as models trained for that allow
            (Matryoshka); None keeps all.
        batch_size: texts of a pass.
        truncate: cut texts that do not fit, instead of refusing them.
    """

    prompt_name: str | None
    prompt: str | None
    dimensions: int | None
    batch_size: int
    truncate: bool


class RerankOptions(TypedDict, total=False):
    """What `rerank` takes besides query and documents.

    Attributes:
        instruction: what makes a document relevant; None is Qwen3-Reranker's default.
        top_n: return so many of the best documents, best first; None returns all in their order.
        batch_size: documents of a pass.
        truncate: cut documents that do not fit, instead of refusing them.
    """

    instruction: str | None
    top_n: int | None
    batch_size: int
    truncate: bool


@dataclass(frozen=True)
class Ranked:
    """A document and its score.

    Attributes:
        index: its place among the documents.
        score: how likely it answers the query, from 0 to 1.
        tokens: tokens of query and document together, prompt included.
    """

    index: int
    score: float
    tokens: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class EncoderModel(Model):
    """What embedding and reranking have in common."""

    def __init__(self, bundle: Bundle, choice: Choice, encoder: Encoder) -> None:
        super().__init__(bundle, choice, encoder)
        self._encoder = encoder

    def encode(self, sequences: Sequence[Sequence[int]], batch_size: int = BATCH) -> Vectors:
        """Return what the model makes of each sequence of token ids, float32 [N, width].

        Raises:
            PromptError: a sequence is empty or too long, or has ids outside the vocabulary.
            InputError: *batch_size* is not 1 or more.
            GenerationFailed: the runtime broke, or the model is closed.
        """
        import numpy as np

        if batch_size < 1:
            raise InputError(f"a batch of {batch_size}", fix="give 1 or more")
        made = np.empty((len(sequences), self._encoder.width), np.float32)
        by_length = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
        for start in range(0, len(by_length), batch_size):
            batch = by_length[start : start + batch_size]
            made[batch] = self._encoder.encode([sequences[i] for i in batch])
        return made

    def _room(self, tokens: int, taken: int, *, truncate: bool) -> int:
        """How many of a text's *tokens* fit beside *taken* others.

        Raises:
            PromptError: not all, and it may not be cut.
        """
        room = self.context - taken
        if tokens <= room or (truncate and room > 0):
            return min(tokens, room)
        raise PromptError(
            f"a text has {tokens + taken} tokens, {taken} of them around it; the model takes "
            f"{self.context}",
            fix="shorten it, allow truncation (--truncate), or export with a longer --context",
        )


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
        _check_options(options, EmbedOptions)
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
        whole = self.tokenizer.encode_whole(text)
        around = self.tokenizer.encode_whole("")
        prefix = len(self.tokenizer.prefix)
        kept = self._room(len(whole) - len(around), len(around), truncate=truncate)
        tail = len(around) - prefix
        return whole[: prefix + kept] + whole[len(whole) - tail :]


class Reranker(EncoderModel):
    """A model that scores how well documents answer a query, loaded on a device."""

    def rerank(
        self, query: str, documents: Sequence[str], **options: Unpack[RerankOptions]
    ) -> list[Ranked]:
        """Score documents against a query.

        Args:
            query: the question or search terms.
            documents: what may answer it.
            options: `instruction`, `top_n`, `batch_size` and `truncate`; see `RerankOptions`.

        Returns:
            Each document's score, in the order of *documents*; with `top_n` the best, best first.

        Raises:
            PromptError: a document does not fit with its query.
            InputError: a number out of its range.
            GenerationFailed: the runtime broke, or the model is closed.
            TypeError: an option with another name.
        """
        _check_options(options, RerankOptions)
        top_n = options.get("top_n")
        if top_n is not None and top_n < 1:
            raise InputError(f"the best {top_n} documents", fix="give 1 or more")
        instruction, truncate = options.get("instruction"), options.get("truncate", False)
        ids = [self._ids(query, d, instruction, truncate=truncate) for d in documents]
        scores = probabilities(self.encode(ids, options.get("batch_size", BATCH)))
        ranked = [
            Ranked(i, score, len(tokens))
            for i, (score, tokens) in enumerate(zip(scores.tolist(), ids, strict=True))
        ]
        if top_n is None:
            return ranked
        return sorted(ranked, key=lambda r: -r.score)[:top_n]

    def _ids(
        self, query: str, document: str, instruction: str | None, *, truncate: bool
    ) -> list[int]:
        prefix, pair, suffix = pair_ids(self.tokenizer, query, document, instruction)
        kept = self._room(len(pair), len(prefix) + len(suffix), truncate=truncate)
        return [*prefix, *pair[:kept], *suffix]


def probabilities(logits: Vectors) -> Vectors:
    """Scores from 0 to 1, float32 [N], of *logits* of no and yes [N, 2], or of yes alone [N, 1].

    Two are compared by softmax, which is the logistic function of their difference.
    """
    import numpy as np

    odds = logits[:, -1] - (logits[:, 0] if logits.shape[1] > 1 else 0)
    return np.asarray(np.exp(-np.logaddexp(0, -odds.astype(np.float64))), np.float32)


def _check_options(options: Any, known: type) -> None:
    if unknown := options.keys() - known.__annotations__.keys():
        raise TypeError(f"unexpected options: {', '.join(sorted(unknown))}")
