"""A loaded model that scores how well documents answer a query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qdeploy.deploy.loaded_models.answers import Ranked, RerankOptions, check_options
from qdeploy.deploy.loaded_models.encoder import BATCH, EncoderModel
from qdeploy.errors import InputError
from qdeploy.tokenization.pair_prompt import pair_ids

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from qdeploy.deploy.loaded_models.encoder import Vectors


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
        check_options(options, RerankOptions)
        top_n = options.get("top_n")
        if top_n is not None and top_n < 1:
            raise InputError(f"the best {top_n} documents", fix="give 1 or more")
        instruction, truncate = options.get("instruction"), options.get("truncate", False)
        ids = self.token_ids(query, documents, instruction=instruction, truncate=truncate)
        scores = probabilities(self.encode(ids, options.get("batch_size", BATCH)))
        ranked = [
            Ranked(i, score, len(tokens))
            for i, (score, tokens) in enumerate(zip(scores.tolist(), ids, strict=True))
        ]
        if top_n is None:
            return ranked
        return sorted(ranked, key=lambda r: -r.score)[:top_n]

    def token_ids(
        self,
        query: str,
        documents: Sequence[str],
        *,
        instruction: str | None = None,
        truncate: bool = False,
    ) -> list[list[int]]:
        """Token ids of the query with each document; arguments and errors are those of `rerank`."""
        return [self._ids(query, d, instruction, truncate=truncate) for d in documents]

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
