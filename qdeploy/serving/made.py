"""What the server needs of an answer that is being made, of a chat or of a plain text."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Protocol

from qdeploy.generation.latency import Timing
from qdeploy.generation.pieces import FinishReason, Piece
from qdeploy.interface import Token


class Made(Protocol):
    """`Generation` and `Completion`: iterated over once, then read."""

    finish_reason: FinishReason

    @property
    def tokens(self) -> Sequence[Token]: ...
    @property
    def prompt_tokens(self) -> int: ...
    @property
    def timing(self) -> Timing: ...
    def __iter__(self) -> Generator[Piece, None, None]: ...
