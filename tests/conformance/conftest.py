"""Fixtures of the suite: one export for each profile and model, one session for each flow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from qdeploy.bundle import Bundle
from qdeploy.deploy import run
from qdeploy.deploy.export import export
from qdeploy.deploy.run import Choice
from qdeploy.errors import TargetUnavailable
from qdeploy.generation.generate import Generation
from qdeploy.generation.settings import Settings
from qdeploy.interface import Device, Progress, Request, Sampling, Session, Token
from qdeploy.tokenization.tokenizer import Tokenizer
from tests.conformance.flows import REQUIRED, Flow, all_flows, device_of, exporter_of, plan_of

GREEDY = Sampling()


@dataclass(frozen=True)
class Loaded:
    """A flow's bundle, open on its device."""

    flow: Flow
    bundle: Bundle
    device: Device
    session: Session
    tokenizer: Tokenizer

    def ask(
        self, question: str, *, history: Sequence[dict[str, str]] = (), **settings: object
    ) -> Generation:
        """Answer a question to the end; greedy unless the settings say otherwise."""
        chosen = Settings(**{"sampling": GREEDY, "max_new_tokens": 400} | settings)  # type: ignore[arg-type]
        messages = [*history, {"role": "user", "content": question}]
        generation = Generation(self.session, self.tokenizer, messages, chosen)
        for _ in generation:
            pass
        return generation

    def at_most(self, temperature: float) -> float:
        """A temperature, or the highest that the runtime takes."""
        return min(temperature, self.session.limits.temperature or temperature)

    def continue_(
        self,
        text: str,
        new_tokens: int,
        *,
        sampling: Sampling = GREEDY,
        stop_ids: frozenset[int] = frozenset(),
    ) -> list[Token]:
        """Return the tokens that continue *text*, without a chat template."""
        prompt = tuple(self.tokenizer.encode(text))
        return list(self.session.generate(Request(prompt, new_tokens, sampling, stop_ids)))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect cases that take minutes and test nothing new: see `Flow`."""
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        flow = item.callspec.params.get("flow") if hasattr(item, "callspec") else None
        (left_out if isinstance(flow, Flow) and _is_spared(flow, item) else kept).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


def _is_spared(flow: Flow, item: pytest.Item) -> bool:
    if (flow.is_slow or flow.is_variant) and item.get_closest_marker("essential") is None:
        return True
    if flow.starts_slowly and "loaded" not in getattr(item, "fixturenames", ()):
        return True  # it loads a session of its own
    return item.get_closest_marker("slow") is not None and flow.is_alternative


@pytest.fixture(scope="session")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Flow], Bundle]:
    """Export a flow's model once for each profile."""
    made: dict[tuple[str, str], Bundle] = {}
    root = tmp_path_factory.mktemp("bundles")

    def get(flow: Flow) -> Bundle:
        key = (flow.model, flow.profile)
        if key not in made:
            resolved = plan_of(flow)
            folder = root / f"{flow.model}-{Path(flow.profile).stem}"
            made[key] = export(resolved, exporter_of(resolved), folder, Progress(), force=False)
        return made[key]

    return get


@pytest.fixture(scope="session")
def open_flow(
    bundle_of: Callable[[Flow], Bundle], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Loaded]:
    """Open a flow, or skip the test with the reason why its target is absent.

    The function takes a `concurrency` as well, of 1 by default.
    """
    cache = tmp_path_factory.mktemp("cache")

    def get(flow: Flow, concurrency: int = 1) -> Loaded:
        try:
            device = device_of(flow)
            bundle = bundle_of(flow)
        except TargetUnavailable as error:
            if flow.target in REQUIRED:
                raise
            pytest.skip(f"{flow.target}: {error.reason}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("QDEPLOY_CACHE_DIR", str(cache))
            choice = run.choose(
                bundle, target=flow.target, backend=flow.backend, simulate=flow.simulate
            )
            session = run.load(bundle, choice, concurrency=concurrency)
        return Loaded(flow, bundle, device, session, Tokenizer(bundle.path))

    return get


@pytest.fixture(scope="session", params=all_flows(), ids=lambda flow: flow.id)
def flow(request: pytest.FixtureRequest) -> Flow:
    chosen: Flow = request.param
    return chosen


@pytest.fixture(scope="session")
def loaded(flow: Flow, open_flow: Callable[..., Loaded]) -> Iterator[Loaded]:
    """The flow's session, shared by all of its tests."""
    opened = open_flow(flow)
    with opened.session:
        yield opened


@pytest.fixture(scope="session")
def choice(loaded: Loaded) -> Choice:
    return run.choose(
        loaded.bundle,
        target=loaded.flow.target,
        backend=loaded.flow.backend,
        simulate=loaded.flow.simulate,
    )
