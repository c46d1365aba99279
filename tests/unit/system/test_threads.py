"""Threads by affinity, physical cores and CPU quota, from made-up trees of /sys and /proc."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdeploy.system import threads
from qdeploy.system.threads import usable_threads


def tree(root: Path, *, siblings: dict[int, str], **files: str) -> Path:
    """Write a topology, and files whose names have `__` for a slash."""
    for number, text in siblings.items():
        folder = root / f"sys/devices/system/cpu/cpu{number}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(text + "\n")
    for name, text in files.items():
        file = root / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    return root


def group(root: Path, path: str, **files: str) -> None:
    folder = root / "sys/fs/cgroup" / path
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process run on processors 0 to 7."""
    monkeypatch.setattr(threads, "_affinity", lambda: frozenset(range(8)))


SMT = {number: f"{number % 4},{number % 4 + 4}" for number in range(8)}
"""Four cores of two threads."""


@pytest.mark.usefixtures("eight")
class TestEightProcessors:
    def test_are_eight_threads_where_nothing_else_is_told(self, tmp_path: Path) -> None:
        assert usable_threads(tmp_path) == 8

    def test_are_four_threads_on_four_cores_of_two(self, tmp_path: Path) -> None:
        assert usable_threads(tree(tmp_path, siblings=SMT)) == 4

    def test_of_which_one_sibling_each_is_allowed_are_four(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(threads, "_affinity", lambda: frozenset({1, 2, 5}))
        assert usable_threads(tree(tmp_path, siblings=SMT)) == 2

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("20000 100000", 1),
            ("1600000 100000", 8), ("nonsense", 8), ("", 8),
        ],
    )  # fmt: skip
    def test_have_the_quota_of_a_container(self, text: str, expected: int, tmp_path: Path) -> None:
        group(tmp_path, "", cpu__max=text)
        assert usable_threads(tmp_path) == expected

    def test_have_the_least_quota_of_the_groups_above(self, tmp_path: Path) -> None:
        tree(tmp_path, siblings={}, proc__self__cgroup="0::/user.slice/job")
        group(tmp_path, "user.slice", cpu__max="300000 100000")
        group(tmp_path, "user.slice/job", cpu__max="max 100000")
        assert usable_threads(tmp_path) == 3
        group(tmp_path, "user.slice/job", cpu__max="100000 100000")
        assert usable_threads(tmp_path) == 1

    def test_of_version_1_have_its_quota_wherever_the_mount_shows_it(self, tmp_path: Path) -> None:
        lines = "12:memory:/docker/a\n4:cpu,cpuacct:/docker/a\n1:name=systemd:/docker/a"
        tree(tmp_path, siblings={}, proc__self__cgroup=lines)
        group(tmp_path, "memory", cpu__max="100000 100000")  # not where the CPU is limited
        group(tmp_path, "cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
        assert usable_threads(tmp_path) == 8
        group(tmp_path, "cpu", cpu__cfs_quota_us="250000", cpu__cfs_period_us="100000")
        assert usable_threads(tmp_path) == 3


@given(
    st.sets(st.integers(0, 63), min_size=1),
    st.integers(1, 4),
    st.none() | st.floats(0.01, 100),
)
def test_no_limit_is_exceeded_and_one_is_met(
    tmp_path_factory: pytest.TempPathFactory,
    processors: set[int],
    per_core: int,
    quota: float | None,
) -> None:
    root = tree(
        tmp_path_factory.mktemp("root"),
        siblings={n: f"core {n // per_core}" for n in processors},
    )
    if quota is not None:
        group(root, "", cpu__max=f"{math.ceil(quota * 1e5)} 100000")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "_affinity", lambda: frozenset(processors))
        found = usable_threads(root)
    cores = len({n // per_core for n in processors})
    allowed = math.ceil(math.ceil((quota or 100) * 1e5) / 1e5)
    assert found == min(cores, allowed)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux")
def test_this_process_keeps_to_its_affinity() -> None:
    before = os.sched_getaffinity(0)
    assert 1 <= usable_threads() <= len(before)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_threads() == 1
    finally:
        os.sched_setaffinity(0, before)
