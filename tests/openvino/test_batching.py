"""Many requests at once in openvino-genai: a cache for one context only, schemas, a killed engine.

What every backend does with several requests is in `tests/conformance/test_concurrency.py`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qdeploy
from qdeploy.deploy import run
from qdeploy.errors import GenerationFailed, InputError, OutOfMemory
from qdeploy.interface import Request, Sampling, Session
from qdeploy.tokenization.tokenizer import Tokenizer

pytest.importorskip("openvino_genai")

CONTEXT, BLOCK = 256, 32
STREAMS = 4
SECONDS = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "nano"
    return qdeploy.export("qwen3-nano", target="cpu", profile="cpu-int4-openvino", output=path).path


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer(folder)


@pytest.fixture(scope="module")
def session(folder: Path) -> Iterator[Session]:
    """A session whose cache holds one context. The last test kills its engine."""
    bundle = qdeploy.open(folder)
    choice = run.choose(bundle, target="cpu", backend="openvino")
    blocks = {"num_kv_blocks": CONTEXT // BLOCK}
    with run.load(
        bundle, choice, concurrency=STREAMS, context=CONTEXT, properties=blocks
    ) as opened:
        yield opened


def chat(tokenizer: Tokenizer, question: str) -> tuple[int, ...]:
    text = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    return tuple(tokenizer.encode(text))


def ids(session: Session, request: Request) -> list[int]:
    return [token.id for token in session.generate(request)]


def confident(tokenizer: Tokenizer, answer: Sequence[int]) -> list[int]:
    """The answer up to its stop token. What comes after is so unsure that it depends on rounding,
    and that on which tokens were computed together.
    """
    ends = [place for place, token in enumerate(answer) if token in tokenizer.stop_ids]
    return list(answer[: ends[0] + 1])


def at_once(session: Session, requests: Sequence[Request]) -> list[list[int]]:
    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(lambda request: ids(session, request), requests, timeout=SECONDS))


def test_requests_that_do_not_fit_together_wait_for_each_other(
    session: Session, tokenizer: Tokenizer
) -> None:
    """The later ones are put back and computed again, and their answers are the same."""
    requests = [Request(chat(tokenizer, f"What is 1{n} + 25?"), CONTEXT) for n in range(STREAMS)]
    alone = [ids(session, request) for request in requests]
    together = at_once(session, requests)
    assert {len(r.prompt_ids) + len(a) for r, a in zip(requests, together, strict=True)} == {
        CONTEXT
    }
    assert [confident(tokenizer, a) for a in together] == [confident(tokenizer, a) for a in alone]


def test_cancelled_requests_leave_no_blocks_behind(session: Session, tokenizer: Tokenizer) -> None:
    """Two blocks are used each time; what they left would soon fill the eight."""
    whole = Request(chat(tokenizer, "What is 17 + 25?"), CONTEXT)
    expected = ids(session, whole)
    for number in range(12):
        request = Request(chat(tokenizer, f"Count {number} times."), CONTEXT)
        with closing(session.generate(request)) as stream:
            assert len(list(islice(stream, 24))) == 24
    again = ids(session, whole)
    assert len(again) == len(expected)
    assert confident(tokenizer, again) == confident(tokenizer, expected)


def test_scores_and_log_probabilities_agree_while_another_request_runs(
    session: Session, tokenizer: Tokenizer
) -> None:
    """Neither the penalty nor the temperature changes them."""
    prompt = tuple(tokenizer.encode("The sky is"))
    sampling = Sampling(1.5, seed=7, top_k=50, repetition_penalty=1.5)
    with closing(session.generate(Request(prompt, CONTEXT))) as other:
        next(other)
        tokens = list(session.generate(Request(prompt, 12, sampling, logprobs=0)))
        logits = session.score([*prompt, *(token.id for token in tokens)])
        next(other)
    rows = logits[len(prompt) - 1 : -1].astype(np.float64)
    expected = rows - np.log(np.exp(rows - rows.max(-1, keepdims=True)).sum(-1, keepdims=True))
    expected -= rows.max(-1, keepdims=True)
    for row, token in zip(expected, tokens, strict=True):
        assert token.logprob == pytest.approx(row[token.id], abs=0.5)
        assert token.most_probable == ()


def test_schemas_are_followed_beside_other_requests(session: Session, tokenizer: Tokenizer) -> None:
    prompt = chat(tokenizer, "Which colour?")
    schemas: list[tuple[dict[str, Any], list[Any]]] = [
        ({"enum": ["red", "blue"]}, ["red", "blue"]),
        ({"type": "integer", "minimum": 3, "maximum": 5}, [3, 4, 5]),
        ({"type": "boolean"}, [True, False]),
    ]
    free = Request(prompt, 24)
    expected = ids(session, free)
    asked = [
        Request(prompt, 48, Sampling(1.0, seed=seed), tokenizer.stop_ids, None, json.dumps(schema))
        for seed, (schema, _) in enumerate(schemas)
    ]
    found = at_once(session, [free, *asked])
    assert found[0] == expected
    for answer, (_, allowed) in zip(found[1:], schemas, strict=True):
        assert answer[-1] in tokenizer.stop_ids
        assert json.loads(tokenizer.decode(answer)) in allowed


def test_a_schema_that_the_runtime_refuses_fails_alone(
    session: Session, tokenizer: Tokenizer
) -> None:
    """In a step, such a schema would end all requests."""
    prompt = chat(tokenizer, "What is 17 + 25?")
    expected = ids(session, Request(prompt, 24))
    none = json.dumps({"type": "array", "minItems": 5, "maxItems": 2})
    with closing(session.generate(Request(prompt, 24))) as stream:
        made = [next(stream).id]
        for _ in range(2):  # the second time it is known
            with pytest.raises(InputError, match=r"cannot be kept to this JSON schema: .*maxItems"):
                next(session.generate(Request(prompt, 64, json_schema=none)))
        made += [token.id for token in stream]
    assert made == expected


def test_a_request_with_a_schema_can_be_cancelled(session: Session, tokenizer: Tokenizer) -> None:
    prompt, schema = chat(tokenizer, "What?"), json.dumps({"type": "array", "maxItems": 300})
    with closing(session.generate(Request(prompt, 64, json_schema=schema))) as stream:
        next(stream)
    assert len(ids(session, Request(prompt, 3))) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="signals are of POSIX")
def test_a_killed_engine_ends_every_request_with_what_happened(
    session: Session, tokenizer: Tokenizer
) -> None:
    """The last test: the session stays useless, and says so."""
    requests = [Request(chat(tokenizer, f"What is 1{n} + 25?"), CONTEXT) for n in range(STREAMS)]
    with ExitStack() as stack:
        streams = [stack.enter_context(closing(session.generate(r))) for r in requests]
        for stream in streams:
            next(stream)
        os.kill(session._connection.process_id, signal.SIGKILL)  # type: ignore[attr-defined]
        for stream in streams:
            with pytest.raises(OutOfMemory, match="was killed by SIGKILL; memory may have run out"):
                list(stream)
    with pytest.raises(GenerationFailed, match="the process that generates was killed"):
        next(session.generate(requests[0]))
