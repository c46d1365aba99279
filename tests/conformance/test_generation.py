"""What every session does with tokens, on every device."""

from __future__ import annotations

import time
from contextlib import closing

import pytest

from qdeploy.errors import GenerationFailed, PromptError
from qdeploy.interface import Request, Sampling
from tests.conformance.conftest import Loaded

PROMPT = "<|im_start|>user\nWhat is 17 + 25?<|im_end|>\n<|im_start|>assistant\n"


def ids(loaded: Loaded, count: int, **kw: object) -> list[int]:
    return [t.id for t in loaded.continue_(PROMPT, count, **kw)]  # type: ignore[arg-type]


def test_greedy_is_deterministic(loaded: Loaded) -> None:
    assert ids(loaded, 24) == ids(loaded, 24)


@pytest.mark.parametrize("seed", [0, 7, 2**31, 2**32 - 1])
def test_sampling_is_deterministic_under_a_seed(loaded: Loaded, seed: int) -> None:
    sampling = Sampling(temperature=1.0, top_p=0.95, top_k=20, seed=seed)
    assert ids(loaded, 24, sampling=sampling) == ids(loaded, 24, sampling=sampling)


def test_seeds_matter_where_the_model_is_unsure(loaded: Loaded) -> None:
    hot = [Sampling(loaded.at_most(5.0), seed=seed) for seed in range(4)]
    assert len({tuple(ids(loaded, 12, sampling=s)) for s in hot}) > 1


def test_only_the_nucleus_is_drawn(loaded: Loaded) -> None:
    """The most probable token alone reaches this top_p. A top_k over the vocabulary keeps all."""
    (best,) = ids(loaded, 1)
    for top_k in (0, 10**6):
        heat = loaded.at_most(5.0)
        hot = [Sampling(heat, top_p=0.01, top_k=top_k, seed=seed) for seed in range(8)]
        assert {tuple(ids(loaded, 1, sampling=s)) for s in hot} == {(best,)}


def test_makes_as_many_tokens_as_asked(loaded: Loaded) -> None:
    assert len(ids(loaded, 9)) == 9
    assert len(ids(loaded, 1)) == 1


def test_a_stop_token_ends_the_stream_and_is_its_last(loaded: Loaded) -> None:
    free = ids(loaded, 24)
    stop = free[7]
    expected = free[: free.index(stop) + 1]
    assert ids(loaded, 24, stop_ids=frozenset({stop})) == expected


def test_without_stop_tokens_nothing_ends_early(loaded: Loaded) -> None:
    count = 200
    made = ids(loaded, count)
    assert len(made) == count
    assert loaded.tokenizer.stop_ids & set(made), "the model never ended its answer in 200 tokens"


def test_timestamps_rise_while_tokens_are_made(loaded: Loaded) -> None:
    before = time.perf_counter()
    stamps = [t.timestamp for t in loaded.continue_(PROMPT, 12)]
    assert [before, *stamps] == sorted([before, *stamps])
    assert stamps[-1] > stamps[0], "tokens came all at once, so were not streamed"


def test_closing_early_stops_the_runtime_and_leaves_the_session_usable(loaded: Loaded) -> None:
    expected = ids(loaded, 8)
    prompt = tuple(loaded.tokenizer.encode(PROMPT))
    room = loaded.session.context - len(prompt)
    with closing(loaded.session.generate(Request(prompt, room))) as stream:
        first = [next(stream).id for _ in range(3)]
    assert first == expected[:3]
    assert ids(loaded, 8) == expected


def test_scoring_while_an_answer_is_made_is_refused_and_does_not_change_it(loaded: Loaded) -> None:
    expected = ids(loaded, 8)
    prompt = tuple(loaded.tokenizer.encode(PROMPT))
    with closing(loaded.session.generate(Request(prompt, 8))) as stream:
        made = [next(stream).id for _ in range(3)]
        with pytest.raises(GenerationFailed, match="still generating for another request"):
            loaded.session.score(prompt[:4])
        made += [token.id for token in stream]
    assert made == expected
    assert len(loaded.session.score(prompt)) == len(prompt)


def test_an_unstarted_stream_can_be_closed(loaded: Loaded) -> None:
    loaded.session.generate(Request(tuple(loaded.tokenizer.encode(PROMPT)), 5)).close()
    assert len(ids(loaded, 2)) == 2


def test_the_longest_prompt_is_taken_and_a_longer_one_refused_before_any_work(
    loaded: Loaded,
) -> None:
    longest = tuple([loaded.tokenizer.encode("a")[0]] * loaded.session.prompt_limit)
    assert len(list(loaded.session.generate(Request(longest, 1)))) == 1
    with pytest.raises(PromptError, match=str(len(longest) + 1)):
        next(loaded.session.generate(Request((*longest, longest[0]), 1)))


def test_a_shared_prefix_does_not_change_the_answer(loaded: Loaded) -> None:
    """A session may reuse the cache of earlier prompts, which must not change the answer."""
    other = PROMPT.replace("25", "26")
    expected = ids(loaded, 12)
    loaded.continue_(other, 12)
    assert ids(loaded, 12) == expected


def test_every_backend_refuses_the_same_requests_in_the_same_words(loaded: Loaded) -> None:
    session, size = loaded.session, loaded.bundle.manifest.model.vocab_size
    long = [5] * (session.prompt_limit + 1)
    sentences = {
        "the prompt is empty": [],
        f"token id {size} is outside the model's vocabulary of {size}": [5, size],
        f"token id -1 is outside the model's vocabulary of {size}": [-1, 5],
        f"the prompt has {len(long)} tokens; the session holds {session.context}, answer included, "
        f"and takes a prompt of {session.prompt_limit}": long,
    }
    for sentence, prompt in sentences.items():
        with pytest.raises(PromptError) as caught:
            session.generate(Request(tuple(prompt), 1))
        assert caught.value.what == sentence
    for sentence, text in list(sentences.items())[:3]:
        with pytest.raises(PromptError) as caught:
            session.score(text)
        assert caught.value.what == sentence
    with pytest.raises(PromptError, match=f"{session.context + 1} tokens to score; the session"):
        session.score([5] * (session.context + 1))


def test_a_second_request_is_refused_while_one_runs(loaded: Loaded) -> None:
    prompt = tuple(loaded.tokenizer.encode(PROMPT))
    with closing(loaded.session.generate(Request(prompt, 8))) as first:
        made = [next(first).id]
        with pytest.raises(GenerationFailed) as caught:
            next(loaded.session.generate(Request(prompt, 8)))
        assert caught.value.what == "the session is still generating for another request"
        made += [token.id for token in first]
    assert made == ids(loaded, 8)
