"""The half of the suite that generates, on a session at a server: `qdeploy serve` of a real bundle.

The cases are those of every backend. Only the session is another: a process away.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from qdeploy.bundle import Bundle
from qdeploy.deploy import run
from qdeploy.deploy.run import Choice
from qdeploy.targets import Evidence
from qdeploy.tokenization.tokenizer import Tokenizer
from tests.conformance import test_chat, test_generation, test_sampling
from tests.conformance.conftest import Loaded
from tests.conformance.flows import Flow, all_flows

LEFT_OUT = {
    "test_the_result_names_where_it_ran": "the target is another, see tests/unit/backends/endpoint",
    "test_greedy_tokens_are_the_best_after_the_penalties": "it divides logits, whose zero "
    "log-probabilities do not tell",
    "test_timestamps_rise_while_tokens_are_made": "a busy machine's server tells several tokens in "
    "one chunk, see tests/serving/test_token_ids.py",
}
globals().update(
    (name, case)
    for module in (test_chat, test_generation, test_sampling)
    for name, case in vars(module).items()
    if name.startswith("test_") and name not in LEFT_OUT
)
STARTED = re.compile(r" on (http://127\.0\.0\.1:\d+)")


@pytest.fixture(scope="module")
def flow() -> Flow:
    """What the server runs: one of the fastest."""
    wanted = ("onnxruntime", "cpu", "cpu-int4", "qwen3-nano")
    found = [f for f in all_flows() if (f.backend, f.target, f.profile, f.model) == wanted]
    if not found:
        pytest.skip("ONNX Runtime is not installed")
    return found[0]


@pytest.fixture(scope="module")
def bundle(flow: Flow, bundle_of: Callable[[Flow], Bundle]) -> Bundle:
    return bundle_of(flow)


@pytest.fixture(scope="module")
def address(bundle: Bundle) -> Iterator[str]:
    """Where `qdeploy serve` serves the bundle."""
    pytest.importorskip("fastapi", reason="qdeploy[serve] is not installed")
    line = [sys.executable, "-m", "qdeploy", "serve", str(bundle.path), "--port", "0"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        started = (STARTED.search(told) for told in server.stderr)
        found = next(filter(None, started), None)
        try:
            assert found is not None, "the server did not start"
            yield found[1]
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def choice(bundle: Bundle, address: str) -> Choice:
    return run.choose(bundle, device=address)


@pytest.fixture(scope="module")
def loaded(flow: Flow, bundle: Bundle, choice: Choice) -> Iterator[Loaded]:
    with run.load(bundle, choice) as session:
        yield Loaded(flow, bundle, choice.device, session, Tokenizer(bundle.path))


def test_what_is_left_out_exists() -> None:
    known = vars(test_chat).keys() | vars(test_generation).keys() | vars(test_sampling).keys()
    assert known >= LEFT_OUT.keys()


def test_the_server_passes_its_proof_on(loaded: Loaded) -> None:
    placement = loaded.session.placement()
    assert placement.evidence is Evidence.DEVICE
    assert placement.proof.endswith("/v1/qdeploy")


def test_log_probabilities_are_the_servers_logits(
    loaded: Loaded, flow: Flow, bundle: Bundle
) -> None:
    """Those of the same bundle in this process, up to a constant a row."""
    ids = loaded.tokenizer.encode("What is 12 + 30?")
    with run.load(bundle, run.choose(bundle, backend=flow.backend)) as here:
        expected = here.score(ids)
    found = loaded.session.score(ids)
    shift = expected.max(-1, keepdims=True) - found.max(-1, keepdims=True)
    np.testing.assert_allclose(found + shift, expected, atol=1e-3)
