"""Qwen2 and Llama end to end: exported to int4 by shipped profiles, and run in both runtimes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer as Library

from qdeploy.bundle import Bundle
from qdeploy.deploy import run
from qdeploy.deploy.export import export, prepare
from qdeploy.errors import TargetUnavailable
from qdeploy.generation.generate import Generation
from qdeploy.generation.settings import Settings
from qdeploy.interface import Progress, Request, Sampling, Session
from qdeploy.tokenization.tokenizer import Tokenizer
from tests.exporters.variants import dequantized
from tests.support import forward, llama, tiny
from tests.support.tiny import LLAMA, QWEN2

WRITERS: dict[str, Callable[[Path, Mapping[str, Any]], Path]] = {
    "qwen2": tiny.write,
    "llama": llama.write,
}
CONFIGS = {"qwen2": QWEN2, "llama": LLAMA}
RUNTIMES = {"openvino": "intel-cpu-int4", "onnxruntime": "cpu-int4"}
TARGETS = {"intel-cpu-int4": "intel-cpu", "cpu-int4": "cpu"}
NEW = 12
FORMED = 0.02
"""Largest mean divergence, in nats, that int8 activations make of random weights in int4."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=list(CONFIGS))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=list(RUNTIMES))
def runtime(request: pytest.FixtureRequest) -> str:
    if not find_spec(request.param):
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


@pytest.fixture(scope="module")
def bundle(family: str, runtime: str, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    place = tmp_path_factory.mktemp(family)
    source, profile = WRITERS[family](place / "checkpoint", CONFIGS[family]), RUNTIMES[runtime]
    plan, exporter = prepare(str(source), TARGETS[profile], profile_name=profile)
    assert exporter.name == "native"
    assert str(plan.linear).startswith("int4")
    assert {t.role for t in plan.tensors if t.name.endswith(".bias")} <= {"bias"}
    assert {str(t.precision) for t in plan.tensors if t.role == "bias"} <= {"fp16"}
    return export(plan, exporter, place / "bundle", Progress(), force=False)


@pytest.fixture(scope="module")
def session(bundle: Bundle, runtime: str) -> Iterator[Session]:
    try:
        choice = run.choose(bundle, backend=runtime)
    except TargetUnavailable as absent:
        pytest.skip(absent.reason)
    with run.load(bundle, choice) as opened:
        yield opened


def divergence(of: NDArray[np.float32], by: NDArray[np.float32]) -> float:
    """Mean Kullback-Leibler divergence of two sets of logits, [T, V], in nats."""
    p, q = (x - np.logaddexp.reduce(x, axis=-1, keepdims=True) for x in (of, by))
    return float((np.exp(p) * (p - q)).sum(axis=-1).mean())


def test_greedy_tokens_are_the_most_likely_ones(session: Session) -> None:
    prompt = tuple(np.random.default_rng(0).integers(0, 2000, 20).tolist())
    made = [t.id for t in session.generate(Request(prompt, NEW, Sampling(), frozenset()))]
    logits = session.score((*prompt, *made))[len(prompt) - 1 : -1]
    short = logits.max(axis=-1) - logits[np.arange(NEW), made]
    assert len(made) == NEW
    assert short.max() < 0.05, "decoding and scoring may round differently, and no more"


def test_logits_are_those_of_the_same_codes(family: str, session: Session, bundle: Bundle) -> None:
    profile = bundle.manifest.profile.name
    source = str(bundle.path.parent / "checkpoint")
    plan, _ = prepare(source, bundle.manifest.target, profile_name=profile)
    weights = dequantized(plan, tiny.draw(CONFIGS[family]))
    ids = np.random.default_rng(1).integers(0, 2000, 40).tolist()
    wanted = forward.logits(CONFIGS[family], weights.__getitem__, ids)
    other = forward.logits(CONFIGS[family], tiny.draw(CONFIGS[family], 1).__getitem__, ids)
    assert divergence(wanted, session.score(ids)) < FORMED < divergence(wanted, other) / 10


def test_a_chat_is_answered(family: str, session: Session, bundle: Bundle) -> None:
    tokenizer = Tokenizer(bundle.path)
    messages = [{"role": "user", "content": "Hello 12345"}]
    answer = Generation(
        session, tokenizer, messages, Settings(sampling=Sampling(), max_new_tokens=NEW)
    )
    assert "".join(piece.text for piece in answer) == answer.text
    assert answer.finish_reason in ("length", "stop")
    ids = tokenizer.encode(tokenizer.render(messages))
    assert answer.prompt_tokens == len(ids)
    if family == "llama":
        begin = tokenizer.id_of(llama.BEGIN)
        assert ids[0] == begin
        assert ids.count(begin) == 1


def test_its_tokenizer_gives_the_ids_of_the_library(family: str, bundle: Bundle) -> None:
    tokenizer = Tokenizer(bundle.path)
    library = Library.from_file(str(bundle.path / "tokenizer.json"))
    for text in ("Hello 12345", "", " two  words\n", "你好", "a<|eot_id|>b"):
        assert [*tokenizer.prefix, *tokenizer.encode(text)] == library.encode(text).ids
    assert bool(tokenizer.prefix) == (family == "llama")
