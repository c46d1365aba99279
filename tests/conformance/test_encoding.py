"""Encoders: every backend, on every target that it serves, with every profile that fits."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from qdeploy import registry
from qdeploy.bundle import Bundle
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import open_weights
from qdeploy.deploy import run
from qdeploy.deploy.export import export
from qdeploy.errors import GenerationFailed, InputError, PromptError, TargetUnavailable
from qdeploy.forward.forward import Forward
from qdeploy.interface import Encoder, Progress
from qdeploy.planning import constraints
from qdeploy.planning.plan import Plan, make_plan
from qdeploy.planning.profile import profile_names
from qdeploy.targets import Evidence
from tests.conformance.flows import FLOAT_PROFILES, REQUIRED, Flow, device_of, exporter_of
from tests.support.encoding import write_embedding

COSINE = {"fp16": 0.999, "int8": 0.99, "int4": 0.9}
"""Least cosine to the float reference, by the linear weights; those of the model are random."""
SAME = 0.9999
"""Least cosine of a vector to itself, in another batch."""
MODEL = "tiny-embedding"


def all_flows() -> list[Flow]:
    names = [*profile_names(), *map(str, sorted(FLOAT_PROFILES.glob("*.toml")))]
    return [
        Flow(MODEL, backend.name, target.name, name, simulate)
        for simulate in (False, True)
        for backend in registry.backends().values()
        for target in backend.targets
        if not simulate or target.name in backend.simulates
        for name in names
        if _fits(Flow(MODEL, backend.name, target.name, name, simulate))
    ]


def _fits(flow: Flow) -> bool:
    profile, backend = flow.load_profile(), registry.backend(flow.backend)
    row, target = registry.format_of(profile), registry.target(flow.target)
    return (
        profile.target == flow.target
        and bool(row.encoder)
        and profile.format in backend.formats
        and not constraints.broken_by(profile, target, profile.weights.linear, "embed")
        and "own" not in Path(flow.profile).stem  # a loop is for models that generate
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return read_checkpoint(write_embedding(tmp_path_factory.mktemp("checkpoint") / MODEL))


@pytest.fixture(scope="module", params=all_flows(), ids=lambda flow: flow.id)
def flow(request: pytest.FixtureRequest) -> Flow:
    chosen: Flow = request.param
    return chosen


@pytest.fixture(scope="module")
def plan(flow: Flow, checkpoint: Checkpoint) -> Plan:
    profile = flow.load_profile()
    row = registry.format_of(profile)
    return make_plan(checkpoint, profile, registry.target(flow.target), format_row=row, context=64)


@pytest.fixture(scope="module")
def bundle(flow: Flow, plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    if reason := registry.backend(flow.backend).why_not(plan):
        pytest.skip(reason)
    try:
        device_of(flow)
    except TargetUnavailable as error:
        if flow.target in REQUIRED:
            raise
        pytest.skip(f"{flow.target}: {error.reason}")
    place = tmp_path_factory.mktemp("bundle") / "it"
    return export(plan, exporter_of(plan), place, Progress(), force=False)


@pytest.fixture(scope="module")
def encoder(flow: Flow, bundle: Bundle) -> Iterator[Encoder]:
    with load(flow, bundle) as loaded:
        yield loaded


def load(flow: Flow, bundle: Bundle) -> Encoder:
    choice = run.choose(bundle, target=flow.target, backend=flow.backend, simulate=flow.simulate)
    return run.load_encoder(bundle, choice)


def sequences() -> list[list[int]]:
    random = np.random.default_rng(1)
    return [random.integers(0, 2000, length).tolist() for length in (9, 1, 33, 64)]


def fitting(encoder: Encoder) -> list[list[int]]:
    """Those that the session holds: on a simulated device, shorter ones."""
    found = [ids for ids in sequences() if len(ids) <= encoder.context]
    assert len(found) > 1
    return found


@cache
def reference(folder: Path) -> NDArray[np.float32]:
    found = read_checkpoint(folder)
    with open_weights(found) as weights:
        forward = Forward(weights, found.architecture, found.graph(None))
        return forward.encode(sequences(), lambda done, total: None)


@pytest.mark.essential
def test_vectors_are_close_to_the_float_model(
    plan: Plan, encoder: Encoder, checkpoint: Checkpoint
) -> None:
    texts = fitting(encoder)
    got = encoder.encode(texts)
    assert got.dtype == np.float32
    assert np.allclose(np.linalg.norm(got, axis=1), 1, atol=1e-3)
    exact = reference(checkpoint.folder)[[sequences().index(ids) for ids in texts]]
    cosines = (got * exact).sum(axis=1)
    assert cosines.min() > COSINE[plan.linear.dtype]


@pytest.mark.essential
def test_a_vector_does_not_depend_on_its_batch(encoder: Encoder) -> None:
    texts = fitting(encoder)
    together = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([ids]) for ids in texts])
    assert (together * alone).sum(axis=1).min() > SAME


def test_what_does_not_fit_is_refused(encoder: Encoder) -> None:
    with pytest.raises(PromptError, match="a text has 65 tokens; the session holds 64"):
        encoder.encode([[1] * 65])
    with pytest.raises(PromptError, match="is outside the model's vocabulary of 2048"):
        encoder.encode([[1], [2048]])


@pytest.mark.essential
def test_the_placement_is_what_was_asked_for(flow: Flow, encoder: Encoder) -> None:
    placement = encoder.placement()
    expected = Evidence.SIMULATED if flow.simulate else Evidence.DEVICE
    assert placement.evidence is expected
    assert placement.proof
    if expected is Evidence.DEVICE:
        assert placement.devices == (device_of(flow).id,)


def test_a_session_that_generates_is_refused(flow: Flow, bundle: Bundle) -> None:
    choice = run.choose(bundle, target=flow.target, backend=flow.backend, simulate=flow.simulate)
    with pytest.raises(InputError, match="the model is to embed, not to generate") as caught:
        run.load(bundle, choice)
    assert caught.value.fix == f"qdeploy embed {bundle.path}"


def test_a_closed_encoder_says_so(flow: Flow, bundle: Bundle) -> None:
    encoder = load(flow, bundle)
    encoder.close()
    encoder.close()
    with pytest.raises(GenerationFailed, match="the session is closed"):
        encoder.encode([[1]])
