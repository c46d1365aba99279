"""What the chat template writes around turns, where a model writes whole chats by itself.

A chat model that is given the opening of a user's turn alone continues it with a question such as
it was trained on, and then answers it (Magpie, arXiv:2406.08464).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from qdeploy.errors import PromptError
from qdeploy.tokenization.chat_template import find_chat_template
from qdeploy.tokenization.tokenizer import Tokenizer

ASKED, ANSWERED, AGAIN = "x7question7x", "x7answer7x", "x7again7x"
"""Contents that no template changes."""

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Turns:
    """Tokens that the template writes.

    Attributes:
        opening: what begins a sequence, up to the user's text; at least one token.
        answer: from the token that ends the user's turn to where the answer begins; empty where no
            single token ends it, so that the model writes all of this by itself.
        question: the same from the end of the answer to the next user's text.
        ends: tokens that end an answer or a text.
    """

    opening: Ids
    answer: Ids
    question: Ids
    ends: frozenset[int]


def find_turns(tokenizer: Tokenizer) -> Turns:
    """Find what the template writes around turns.

    Without a template, or where it fails for such a chat, a text begins with what the tokenizer
    puts before texts, or with a line break where that is nothing.

    Raises:
        CheckpointError: a file of the tokenizer is malformed.
    """
    eos = tokenizer.eos_id
    ends = tokenizer.stop_ids | (frozenset() if eos is None else {eos})
    if find_chat_template(tokenizer.files) and (found := _rendered(tokenizer)):
        opening, answer, question = (tuple(tokenizer.encode(text)) for text in found)
        if opening:
            answer, question = (
                ids if ids[:1] and ids[0] in ends else () for ids in (answer, question)
            )
            return Turns(opening, answer, question, ends)
    start = tokenizer.prefix or tuple(tokenizer.encode("\n")[-1:])
    return Turns(start or tuple(sorted(ends))[:1] or (0,), (), (), ends)


def _rendered(tokenizer: Tokenizer) -> tuple[str, str, str] | None:
    """What is before a question, between it and its answer, and between that and the next one."""
    first = {"role": "user", "content": ASKED}
    further = ({"role": "assistant", "content": ANSWERED}, {"role": "user", "content": AGAIN})
    try:
        asked = tokenizer.render([first])
        chat = tokenizer.render([first, *further])
    except PromptError:
        return None
    opening, found, answer = asked.partition(ASKED)
    question = chat.partition(ANSWERED)[2].partition(AGAIN)[0]
    return (opening, answer, question) if found else None


class Script:
    """One sequence as it grows: which token the template writes next, if it is its turn.

    The whole state follows from the tokens so far.
    """

    def __init__(self, turns: Turns, ids: Iterable[int] = ()) -> None:
        """*ids*: the tokens so far."""
        self._turns, self._asking = turns, True
        self._due = deque(turns.opening)
        for token in ids:
            self.add(token)

    @property
    def due(self) -> int | None:
        """The next token where the template writes it; None where the model does."""
        return self._due[0] if self._due else None

    def add(self, token: int) -> None:
        """Go on behind *token*.

        The end of a turn is followed by the start of the other one's. After a token that ends a
        text as a whole, the sequence begins anew.
        """
        if self._due:
            self._due.popleft()
            return
        if token not in self._turns.ends:
            return
        follows = self._turns.answer if self._asking else self._turns.question
        if follows[:1] == (token,):
            self._due.extend(follows[1:])
            self._asking = not self._asking
        else:
            self._due.extend(self._turns.opening)
            self._asking = True
