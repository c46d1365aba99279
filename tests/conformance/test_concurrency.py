"""Many requests at once: a session serves as many as it says, each as if it were alone.

A backend that does not batch says 1, and the same cases hold. One session is loaded for each
backend and format, on the first target that the matrix has.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import islice

import pytest

from qdeploy import models
from qdeploy.errors import GenerationFailed
from qdeploy.interface import Request, Sampling
from tests.conformance.conftest import Loaded
from tests.conformance.flows import Flow, all_flows

WANTED = 4
SUMS = [(17, 25), (4, 3), (20, 31), (8, 41)]
TOKENS = 24
SECONDS = 120
"""After which something hangs."""


def one_of_each() -> list[Flow]:
    """The first flow of each backend and format, with the dense model; hardware comes first."""
    first: dict[tuple[str, str], Flow] = {}
    for flow in all_flows():
        if flow.model == models.EMBEDDED[0] and not flow.is_slow and not flow.is_float:
            first.setdefault((flow.backend, flow.load_profile().format), flow)
    return list(first.values())


@pytest.fixture(scope="module", params=one_of_each(), ids=lambda flow: flow.id)
def loaded(request: pytest.FixtureRequest, open_flow: Callable[..., Loaded]) -> Iterator[Loaded]:
    """A session that was asked to serve several at once; the last test closes it."""
    before = set(threading.enumerate())
    opened = open_flow(request.param, concurrency=WANTED)
    with opened.session:
        yield opened
    assert not {thread.name for thread in set(threading.enumerate()) - before}, "threads are left"


def asked(loaded: Loaded, place: int, tokens: int = TOKENS) -> Request:
    a, b = SUMS[place]
    chat = f"<|im_start|>user\nWhat is {a} + {b}?<|im_end|>\n<|im_start|>assistant\n"
    return Request(tuple(loaded.tokenizer.encode(chat)), tokens, Sampling())


def answer(loaded: Loaded, place: int) -> list[int]:
    return [token.id for token in loaded.session.generate(asked(loaded, place))]


def test_it_says_how_many_it_serves(loaded: Loaded) -> None:
    assert 1 <= loaded.session.concurrency <= WANTED
    assert loaded.session.concurrency == loaded.session.limits.concurrency


def test_as_many_at_once_each_get_the_answer_they_get_alone(loaded: Loaded) -> None:
    places = range(loaded.session.concurrency)
    alone = [answer(loaded, place) for place in places]
    assert len(set(map(tuple, alone))) == len(alone), "the answers are too alike to be mixed up"
    start = threading.Barrier(len(places))

    def at_once(place: int) -> list[int]:
        start.wait(SECONDS)
        return answer(loaded, place)

    with ThreadPoolExecutor(len(places)) as pool:
        assert list(pool.map(at_once, places, timeout=SECONDS)) == alone


def test_one_that_is_cancelled_leaves_the_others_alone_and_its_place_free(loaded: Loaded) -> None:
    places = list(range(loaded.session.concurrency))
    alone = [answer(loaded, place) for place in places]
    with ExitStack() as stack:
        streams = [
            stack.enter_context(closing(loaded.session.generate(asked(loaded, place))))
            for place in places
        ]
        made = [[token.id for token in islice(stream, 3)] for stream in streams]
        streams[0].close()
        with closing(loaded.session.generate(asked(loaded, 0))) as again:
            assert [token.id for token in again] == alone[0]
        for place in places[1:]:
            assert made[place] + [token.id for token in streams[place]] == alone[place]


def test_one_more_is_refused_and_changes_nothing(loaded: Loaded) -> None:
    places = range(loaded.session.concurrency)
    with ExitStack() as stack:
        streams = [
            stack.enter_context(closing(loaded.session.generate(asked(loaded, place))))
            for place in places
        ]
        made = [[next(stream).id] for stream in streams]
        with pytest.raises(GenerationFailed, match="still generating for"):
            next(loaded.session.generate(asked(loaded, 0)))
        for before, stream in zip(made, streams, strict=True):
            before += [token.id for token in stream]
    assert made == [answer(loaded, place) for place in places]


def test_closing_ends_all_that_run_with_an_error(loaded: Loaded) -> None:
    """The last test: the session is closed, and the fixture looks for threads that it left."""
    places = range(loaded.session.concurrency)
    begun = threading.Barrier(len(places) + 1)

    def run(place: int) -> str:
        tokens = loaded.session.generate(asked(loaded, place, loaded.session.context))
        with pytest.raises(GenerationFailed) as caught:  # noqa: PT012  (it may be at any token)
            next(tokens)
            begun.wait(SECONDS)
            for _ in tokens:
                pass
        return caught.value.what

    with ThreadPoolExecutor(len(places)) as pool:
        running = [pool.submit(run, place) for place in places]
        begun.wait(SECONDS)
        loaded.session.close()
        said = {future.result(SECONDS) for future in running}
    assert said == {"the session was closed while it was generating"}
    with pytest.raises(GenerationFailed, match="the session is closed"):
        loaded.session.generate(asked(loaded, 0))
