"""How the workers of `pytest -n` share the tests and the processors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info


def test_the_tests_of_a_file_share_a_worker(request: pytest.FixtureRequest) -> None:
    """pytest-xdist, in its mode `loadgroup`, adds the group to the id of a test."""
    if not request.config.getoption("loadgroup", False):
        pytest.skip("tests are not dealt out by groups: needs --dist loadgroup")
    assert request.node.nodeid.endswith(f"@{Path(__file__).as_posix()}")


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs processor affinity")
@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="needs pytest -n")
def test_numpy_has_one_thread_for_the_one_processor_of_a_worker() -> None:
    """Threads that wait for each other on one processor made some tests 30 times as slow."""
    import numpy

    assert len(os.sched_getaffinity(0)) == 1
    libraries = [one for one in threadpool_info() if one["user_api"] == "blas"]
    assert libraries, numpy.__version__
    assert {one["num_threads"] for one in libraries} == {1}
