"""The JSON of answers in token ids, whole and in chunks, and of a text's log-probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qdeploy.generation.pieces import Piece
from qdeploy.interface import Token
from qdeploy.serving.errors import invalid
from qdeploy.serving.events import DONE, event
from qdeploy.serving.text.frame import Frame, usage
from qdeploy.serving.text.token_logprobs import LEAST
from qdeploy.serving.text.token_request import TokenCompletion

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_NUMBERS = 2**20
"""Log-probabilities of one answer: places times vocabulary."""


class TokenReply:
    """Writes the answer to one request by token ids.

    Args:
        frame: what all parts have in common.
        with_logprobs: whether log-probabilities are told.
        with_usage: whether a stream ends with the usage.
    """

    def __init__(self, frame: Frame, *, with_logprobs: bool, with_usage: bool) -> None:
        self._frame, self._with_logprobs, self._with_usage = frame, with_logprobs, with_usage

    def whole(
        self, answers: Sequence[TokenCompletion], _: Mapping[int, Sequence[Piece]]
    ) -> dict[str, Any]:
        """The answer in one piece."""
        (answer,) = answers
        told = self._choice(answer.tokens, answer.finish_reason)
        told["prompt_token_ids"] = list(answer.prompt)
        counted = usage([answer.prompt_tokens], answers)
        return self._frame.whole("text_completion", choices=[told], usage=counted)

    def begin(self, index: int) -> bytes:
        """Nothing: the first token begins the answer."""
        return b""

    def pieces(self, index: int, pieces: Sequence[Piece]) -> bytes:
        """A chunk of what was generated since the last one."""
        tokens = [token for piece in pieces for token in piece.tokens]
        return self._chunk(self._choice(tokens, None)) if tokens else b""

    def end(self, index: int, answer: TokenCompletion) -> bytes:
        """The last chunk. It has the prompt, so that a client sees that it was taken as it is."""
        told = self._choice((), answer.finish_reason)
        return self._chunk(told | {"prompt_token_ids": list(answer.prompt)})

    def last(self, answers: Sequence[TokenCompletion]) -> bytes:
        """What follows the answer: the usage, where the client asked for it, and the end."""
        if not self._with_usage:
            return DONE
        counted = usage([a.prompt_tokens for a in answers], answers)
        return event(self._frame.whole("text_completion", choices=[], usage=counted)) + DONE

    def _choice(self, tokens: Sequence[Token], finish_reason: str | None) -> dict[str, Any]:
        return {
            "index": 0,
            "text": "",
            "token_ids": [token.id for token in tokens],
            "logprobs": _logprobs(tokens) if self._with_logprobs and tokens else None,
            "finish_reason": finish_reason,
        }

    def _chunk(self, choice: dict[str, Any]) -> bytes:
        return event(self._frame.whole("text_completion", choices=[choice]))


def _logprobs(tokens: Sequence[Token]) -> dict[str, Any]:
    """Of each token and its rivals, by ids: the drawn one first, as vLLM does."""
    chosen = [LEAST if t.logprob is None else max(t.logprob, LEAST) for t in tokens]
    rivals = [
        {_name(i): max(value, LEAST) for i, value in ((t.id, own), *t.most_probable)}
        for t, own in zip(tokens, chosen, strict=True)
    ]
    names = [_name(token.id) for token in tokens]
    return {"tokens": names, "token_logprobs": chosen, "top_logprobs": rivals}


def _name(token: int) -> str:
    return f"token_id:{token}"


def check_size(places: int, vocabulary: int) -> None:
    """Check that the log-probabilities of so many places fit one answer.

    Raises:
        ApiError: they do not.
    """
    if places * vocabulary > MOST_NUMBERS:
        raise invalid(
            "prompt_logprobs",
            f"{places} places of {vocabulary} tokens are more than {MOST_NUMBERS} numbers; ask for "
            "the last place of one prompt after the other",
            code="unsupported",
        )


def scored(
    frame: Frame, prompt: Sequence[int], logits: NDArray[np.float32], *, whole: bool
) -> dict[str, Any]:
    """The log-probabilities of the token after a prompt and, if *whole*, of those in it.

    Args:
        frame: of the answer.
        prompt: T token ids.
        logits: as `Session.score` gives them, float32 [T, V].
        whole: whether those of all places are told.
    """
    rows = _normalized(logits if whole else logits[-1:])
    last = list(map(float, rows[-1]))
    best = int(rows[-1].argmax())
    told: dict[str, Any] = {
        "index": 0,
        "text": "",
        "token_ids": [best],
        "prompt_token_ids": list(prompt),
        "logprobs": {
            "tokens": [_name(best)],
            "token_logprobs": [last[best]],
            "top_logprobs": [{_name(i): value for i, value in enumerate(last)}],
        },
        "finish_reason": "length",
    }
    if whole:
        told["prompt_logprobs"] = [None, *_places(rows[:-1])]
    count = len(prompt)
    counted = {"prompt_tokens": count, "completion_tokens": 1, "total_tokens": count + 1}
    return frame.whole("text_completion", choices=[told], usage=counted)


def _places(rows: NDArray[np.float32]) -> Iterator[dict[str, dict[str, float]]]:
    for row in rows:
        yield {str(i): {"logprob": float(value)} for i, value in enumerate(row)}


def _normalized(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits as log-probabilities, in float64 until they are rounded to float32."""
    import numpy as np

    wide = logits.astype(np.float64)
    wide -= wide.max(-1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(-1, keepdims=True))
    return np.maximum(wide, LEAST).astype(np.float32)
