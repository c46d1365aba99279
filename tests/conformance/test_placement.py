"""Where the work runs, and closing a session."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qdeploy.errors import GenerationFailed
from qdeploy.interface import Request
from qdeploy.system.threads import usable_threads
from qdeploy.targets import Evidence
from tests.conformance.conftest import Loaded
from tests.conformance.flows import Flow


@pytest.mark.essential
def test_the_placement_is_what_was_asked_for(loaded: Loaded) -> None:
    placement = loaded.session.placement()
    expected = Evidence.SIMULATED if loaded.flow.simulate else Evidence.DEVICE
    assert placement.evidence is expected
    assert placement.devices
    assert placement.proof
    if expected is Evidence.DEVICE:
        assert placement.devices == (loaded.device.id,)
        if loaded.flow.is_cpu:  # a backend without threads of its own names none
            assert placement.threads in (None, usable_threads())


@pytest.mark.essential
def test_a_simulated_device_says_so_in_its_name(loaded: Loaded) -> None:
    says = "simulated" in loaded.device.name.lower()
    assert says == loaded.flow.simulate


def test_a_closed_session_says_so_and_closing_twice_is_harmless(
    flow: Flow, open_flow: Callable[[Flow], Loaded]
) -> None:
    session = open_flow(flow).session
    waiting = session.generate(Request((5, 6), 1))
    session.close()
    session.close()
    calls: tuple[Callable[[], object], ...] = (
        lambda: session.generate(Request((5, 6), 1)),
        lambda: next(waiting),
        lambda: session.score([5, 6]),
    )
    for call in calls:
        with pytest.raises(GenerationFailed) as caught:
            call()
        assert caught.value.what == "the session is closed"
