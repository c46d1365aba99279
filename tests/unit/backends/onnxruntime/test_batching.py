"""Requests in one batch: who fails with whom, and who waits for whom. The graph is scripted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qdeploy.backends.onnxruntime.batching import LONG_PIECE, PIECE, Batch
from qdeploy.backends.onnxruntime.slots import Slot
from qdeploy.errors import GenerationFailed
from qdeploy.interface import Request

VOCABULARY = 64
SECONDS = 60
"""After which something hangs."""


class Counting:
    """Slots whose sequences count: after token n comes n + 1."""

    def __init__(self) -> None:
        self.passes: list[tuple[str, int]] = []
        self.free: list[Slot] = [Slot(row) for row in range(4)]
        self.broken_prompt: int | None = None
        self.broken_steps = 0
        self.meanwhile: Callable[[], None] | None = None

    def take(self, prompt: Sequence[int]) -> Slot:
        slot = self.free.pop()
        slot.tokens.clear()
        return slot

    def release(self, slot: Slot, *, forget: bool = False) -> None:
        self.free.append(slot)

    def feed(self, slot: Slot, ids: Sequence[int]) -> NDArray[np.float32]:
        self.passes.append(("feed", len(ids)))
        if self.meanwhile:
            self.meanwhile()
        if self.broken_prompt in ids:
            raise RuntimeError("the prompt broke it")
        slot.tokens += ids
        return self._next(ids[-1])

    def step(self, tokens: Sequence[tuple[Slot, int]]) -> list[NDArray[np.float32]]:
        self.passes.append(("step", len(tokens)))
        if self.broken_steps:
            self.broken_steps -= 1
            raise RuntimeError("the step broke it")
        for slot, token in tokens:
            slot.tokens.append(token)
        return [self._next(token) for _, token in tokens]

    def _next(self, token: int) -> NDArray[np.float32]:
        logits = np.zeros(VOCABULARY, np.float32)
        logits[(token + 1) % VOCABULARY] = 1
        return logits


@pytest.fixture
def slots() -> Counting:
    return Counting()


@pytest.fixture
def batch(slots: Counting) -> Iterator[Batch]:
    made: Any = slots
    opened = Batch(made, "the device")
    yield opened
    opened.close()
    assert len(slots.free) == 4, "a slot was lost"


def ids(batch: Batch, *prompt: int, new: int = 4, stops: frozenset[int] = frozenset()) -> list[int]:
    request = Request(prompt, new, stop_ids=stops)
    return [token.id for token in batch.generate(request, None)]


def test_an_answer_ends_at_its_length_or_its_stop_token_and_no_step_follows(
    batch: Batch, slots: Counting
) -> None:
    assert ids(batch, 5, new=3) == [6, 7, 8]
    assert ids(batch, 5, stops=frozenset({7})) == [6, 7]
    assert [kind for kind, _ in slots.passes] == ["feed", "step", "step", "feed", "step"]


def test_a_request_joins_those_that_run(batch: Batch, slots: Counting) -> None:
    with closing(batch.generate(Request((5,), 10**6), None)) as long:
        next(long)
        assert ids(batch, 30) == [31, 32, 33, 34]
        assert next(long).id == 7
    assert ("step", 2) in slots.passes


def test_a_prompt_is_read_in_pieces_between_the_steps_of_others(
    batch: Batch, slots: Counting
) -> None:
    with closing(batch.generate(Request((5,), 10**6), None)) as long:
        next(long)
        assert ids(batch, *[9] * (2 * PIECE + 1), new=1) == [10]
    begun = slots.passes.index(("feed", PIECE))
    after = slots.passes[begun + 1 :]
    assert after[0] == ("step", 1)
    assert ("feed", PIECE + 1) in after, "no pass of one token"


def test_short_prompts_are_read_before_the_next_step(batch: Batch, slots: Counting) -> None:
    with ThreadPoolExecutor(2) as pool:

        def others_come() -> None:
            slots.meanwhile = None
            for token in (10, 20):
                pool.submit(ids, batch, token)
            with batch._changed:
                assert batch._changed.wait_for(lambda: len(batch._jobs) == 3, SECONDS)

        slots.meanwhile = others_come
        ids(batch, 5)
    assert slots.passes[:4] == [("feed", 1), ("feed", 1), ("feed", 1), ("step", 3)]


def test_a_prompt_alone_is_read_in_long_pieces(batch: Batch, slots: Counting) -> None:
    assert ids(batch, *[9] * (LONG_PIECE + 20), new=1) == [10]
    assert slots.passes == [("feed", LONG_PIECE), ("feed", 20)]


def test_a_prompt_that_fails_fails_alone(batch: Batch, slots: Counting) -> None:
    slots.broken_prompt = 40
    with closing(batch.generate(Request((5,), 10**6), None)) as long:
        next(long)
        with pytest.raises(GenerationFailed, match="the prompt broke it"):
            ids(batch, 40)
        assert next(long).id == 7


def test_a_step_that_fails_ends_all_of_it_and_the_next_request_is_right(
    batch: Batch, slots: Counting
) -> None:
    streams = [batch.generate(Request((n,), 10**6), None) for n in (5, 20)]
    assert [next(stream).id for stream in streams] == [6, 21]
    slots.broken_steps = 2  # the first of them may have begun without the second request
    for stream in streams:
        with pytest.raises(GenerationFailed, match="the step broke it"):
            for _ in stream:
                pass
    slots.broken_steps = 0
    assert ids(batch, 30) == [31, 32, 33, 34]


def test_a_generator_that_is_closed_on_the_batchs_own_thread_does_not_wait_for_it(
    batch: Batch, slots: Counting
) -> None:
    left = batch.generate(Request((5,), 10**6), None)
    next(left)

    def collect() -> None:
        slots.meanwhile = None
        left.close()

    slots.meanwhile = collect
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(ids, batch, 30).result(SECONDS) == [31, 32, 33, 34]
    with batch._changed:
        assert batch._changed.wait_for(lambda: not batch._jobs, SECONDS)


def test_closing_ends_requests_and_refuses_new_ones(slots: Counting) -> None:
    made: Any = slots
    batch = Batch(made, "the device")
    stream = batch.generate(Request((5,), 10**6), None)
    next(stream)
    batch.close()
    batch.close()
    with pytest.raises(GenerationFailed, match="was closed while it was generating"):
        for _ in stream:
            pass
    with pytest.raises(GenerationFailed, match="was closed"):
        ids(batch, 5)
    assert "qdeploy-batch" not in {thread.name for thread in threading.enumerate()}
