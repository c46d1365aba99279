"""Adding results to a file: other results are kept, and the file is of one machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qdeploy.errors import OutputError
from qdeploy.results import Machine, Result, Results, collect_results, read_results
from qdeploy.targets import Evidence
from tests.support import shown

HERE = shown.SERVER
OTHERS: tuple[Result, ...] = (
    shown.bench(of=shown.artifact("intel-cpu-int8")), shown.bench(prompt=1024),
    shown.bench(protocol_hash="99" * 32), shown.bench(on=shown.environment(device="another")),
    shown.bench(of=shown.artifact(checkpoint_digest="77" * 32)),
    shown.bench(of=shown.artifact(calibrated=True)),
    shown.evaluation(of=shown.artifact(calibrated=True)),
    shown.evaluation(text={"name": "mine", "sha256": "12" * 32, "tokens": 99}),
    shown.evaluation(reference={"name": "another"}), shown.diagnosis("cpu"),
    shown.diagnosis(evidence=Evidence.SIMULATED), shown.absent("cuda", "there is none", "buy it"),
)  # fmt: skip


def saved(path: Path, *rows: Result, machine: Machine = HERE) -> Results:
    collect_results(path, machine).save(machine, rows)
    return read_results(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (shown.bench(seed=1), shown.bench(70.0, of=shown.artifact(bundle_digest="0" * 64))),
        (shown.evaluation(0.5), shown.evaluation(0.1)),
        (shown.diagnosis(status="failed", evidence=Evidence.NONE), shown.diagnosis()),
        (shown.absent("intel-cpu", "there is none", "buy one"), shown.diagnosis()),
    ],
    ids=["bench", "eval", "diagnosis", "no longer absent"],
)
def test_a_repeated_measurement_replaces_the_older_one_only(
    old: Result, new: Result, tmp_path: Path
) -> None:
    file = tmp_path / "new" / "all.json"
    saved(file, old, *OTHERS)
    assert saved(file, new).results == (*OTHERS, new)


def test_without_results_the_file_is_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "all.json"
    collect_results(file, HERE).save(HERE, [])
    assert not file.exists()
    saved(file, *OTHERS)
    before = file.read_bytes()
    saved(file)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cpu": "Other 1"}, "cpu Other 1 there, Made-up 9000 (32 cores) here"),
        ({"cores": 192}, "cores 192 there, 32 here"),
        ({"system": "Linux 7 x86_64"}, "system Linux 7 x86_64 there"),
        ({"power": "battery"}, "power battery there, mains here"),
    ],
)
def test_results_of_another_machine_are_refused(
    changes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    file = tmp_path / "all.json"
    saved(file, *OTHERS, machine=HERE.model_copy(update=changes))
    with pytest.raises(OutputError, match="results of another machine") as error:
        collect_results(file, HERE)
    assert says in error.value.what


def test_the_name_of_the_machine_in_the_file_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "all.json"
    saved(file, *OTHERS)
    by_host = HERE.model_copy(update={"name": "localhost", "bandwidth_bytes_per_s": None})
    found = saved(file, shown.bench(), machine=by_host)
    assert found.machine == HERE
    with pytest.raises(OutputError, match="name server there, localhost here"):
        collect_results(file, by_host, named=True)
