"""Every backend loads each of its formats from a folder of links, as the hub's cache has them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qdeploy.bundle import Bundle, open_bundle
from qdeploy.deploy import run
from qdeploy.errors import TargetUnavailable
from qdeploy.interface import Request
from tests.conformance.flows import Flow, all_flows, device_of
from tests.support.hub_cache import snapshot

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="symlinks need a privilege")
FLOWS = {
    (flow.backend, flow.load_profile().format): flow
    for flow in reversed(all_flows())
    if flow.model == "qwen3-nano" and not flow.is_slow
}
"""A flow for each format of each backend: the first one, so without simulation where possible."""


@pytest.mark.parametrize("flow", FLOWS.values(), ids=lambda flow: flow.id)
def test_a_bundle_in_the_hubs_cache_runs(
    flow: Flow, bundle_of: Callable[[Flow], Bundle], tmp_path: Path
) -> None:
    try:
        device_of(flow)
        made = bundle_of(flow)
    except TargetUnavailable as error:
        pytest.skip(error.reason)
    bundle = open_bundle(snapshot(made.path, tmp_path, "acme/nano"), full=True)
    choice = run.choose(bundle, target=flow.target, backend=flow.backend, simulate=flow.simulate)
    with run.load(bundle, choice) as session:
        assert len(list(session.generate(Request((5, 6, 7), 3)))) == 3
        assert session.score([5, 6, 7]).shape[0] == 3
