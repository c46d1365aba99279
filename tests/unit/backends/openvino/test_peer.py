"""openvino-genai as a peer: it computes with the number of threads that it is given."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from qdeploy.backends.openvino.peer import PEER
from qdeploy.backends.openvino.placement import loading_log, threads
from qdeploy.deploy.export import export, prepare
from qdeploy.interface import Progress

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not find_spec("openvino_genai"), reason="needs qdeploy[openvino]"),
]


def test_it_computes_with_the_given_number_of_threads(tmp_path: Path) -> None:
    resolved, exporter = prepare("qwen3-nano", "cpu", profile_name="cpu-int4-openvino")
    export(resolved, exporter, tmp_path / "nano", Progress(), force=False)
    with loading_log() as log:
        run = PEER.load(tmp_path / "nano", "CPU", 1)
    assert threads("".join(log)) == 1
    start, stamps = run([1, 2, 3], 4)
    assert start < stamps[0]
    assert len(stamps) == 4
