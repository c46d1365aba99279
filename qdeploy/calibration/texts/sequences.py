"""Token sequences that calibration runs on, and how texts are cut into them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

LENGTH = 256
"""Tokens of a sequence."""
SHORTEST = 8
"""Shorter sequences are left out: most of their tokens see next to no context."""
EACH = 4
"""Sequences that one text gives before all others have given theirs, so that a long one does not
stand for the whole file."""

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Origin:
    """Where sequences are from.

    Attributes:
        name: `own`, `general`, or the name of a file.
        sha256: of the file, in hex; of the token ids where the model wrote them itself.
        sequences: how many.
        tokens: of all of them.
    """

    name: str
    sha256: str
    sequences: int
    tokens: int


@dataclass(frozen=True)
class Sequences:
    """Sequences of token ids, each read with an empty cache, in the order of their origins."""

    ids: tuple[Ids, ...]
    origins: tuple[Origin, ...]

    @property
    def tokens(self) -> int:
        """Tokens of all sequences."""
        return sum(map(len, self.ids))

    @classmethod
    def of(cls, name: str, sha256: str, ids: Iterable[Sequence[int]]) -> Sequences:
        """Make sequences of one origin."""
        found = tuple(tuple(one) for one in ids)
        return cls(found, (Origin(name, sha256, len(found), sum(map(len, found))),))

    @classmethod
    def joined(cls, parts: Iterable[Sequences]) -> Sequences:
        """All sequences of *parts*, in their order."""
        every = list(parts)
        return cls(
            tuple(chain.from_iterable(part.ids for part in every)),
            tuple(chain.from_iterable(part.origins for part in every)),
        )


def windows(ids: Sequence[int], prefix: Sequence[int] = (), length: int = LENGTH) -> list[Ids]:
    """Cut the tokens of one text into sequences of *length*; the last one may be shorter.

    Args:
        ids: the text's tokens with whatever begins it.
        prefix: what each sequence after the first begins with: tokens that the model has always
            seen first, such as Llama 3's `<|begin_of_text|>`. States at that token are unlike all
            others (attention sinks, arXiv:2309.17453).
        length: more than those of *prefix*.
    """
    first, rest, step = tuple(ids[:length]), ids[length:], length - len(prefix)
    cut = [first, *((*prefix, *rest[at : at + step]) for at in range(0, len(rest), step))]
    return [window for window in cut if len(window) >= SHORTEST]


def take(texts: Iterable[Sequence[Ids]], tokens: int, each: int = EACH) -> list[Ids]:
    """Take sequences of *texts*, each given as its windows, up to *tokens* in total.

    At first every text gives up to *each* windows; only if that is too little, all others follow.
    A window that was taken is not taken again, e.g. of a system prompt that all chats begin with.
    The last sequence is cut to the total, and left out if fewer than `SHORTEST` of its tokens fit.
    No text is asked for once there is enough.
    """
    taken: dict[Ids, int] = {}
    spare: list[Ids] = []
    left, kept = tokens, 0
    for text in texts:
        fresh = [window for window in dict.fromkeys(text) if window not in taken]
        for window in fresh[:each]:
            if left >= SHORTEST:
                taken[window] = min(left, len(window))
                left -= taken[window]
        if left < SHORTEST:
            break
        for window in fresh[each:]:
            if kept < tokens:  # more could not be of use
                spare.append(window)
                kept += len(window)
    for window in spare:
        if left >= SHORTEST and window not in taken:
            taken[window] = min(left, len(window))
            left -= taken[window]
    return [window[:length] for window, length in taken.items()]
