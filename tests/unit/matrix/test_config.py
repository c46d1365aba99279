"""The matrix's file, and the combinations that it makes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdeploy import models, registry
from qdeploy.errors import InputError
from qdeploy.matrix import config
from qdeploy.matrix.config import Cell, Config
from qdeploy.planning.profile import profile_names, profile_source
from qdeploy.storage.toml_file import build_strict
from tests.support import plugins

NANO = 'schema = 1\nmodels = ["qwen3-nano"]\n'


def cells(text: str, *only: str, folder: Path) -> list[Cell]:
    file = folder / "mine.toml"
    file.write_text(text, encoding="utf-8")
    return config.cells(config.load(file), only, where=file)


def test_what_ships_is_every_embedded_model_on_every_target_and_profile() -> None:
    shipped = config.cells(config.load())
    assert {cell.model for cell in shipped} == set(models.EMBEDDED)
    assert {cell.target.name for cell in shipped} == set(registry.targets())
    assert {cell.profile for cell in shipped if cell.profile} == set(profile_names())
    for cell in shipped:
        assert (cell.absent is None) == (cell.backend is not None)
    assert not any(cell.simulate for cell in shipped)


def test_each_backend_that_loads_the_format_has_a_cell(tmp_path: Path) -> None:
    [cell] = cells(NANO + 'profiles = ["intel-cpu-int4"]', folder=tmp_path)
    assert cell == Cell(
        registry.target("intel-cpu"), "qwen3-nano", "intel-cpu-int4", "openvino", False
    )


def test_what_nothing_serves_is_absent_with_the_reason(tmp_path: Path) -> None:
    with plugins.only(tmp_path / "none"):
        [cell] = cells(NANO + 'profiles = ["intel-cpu-int4"]', folder=tmp_path)
        assert (cell.scheme, cell.backend) == ("intel-cpu-int4", None)
        assert cell.absent == config.NO_BACKEND
    with plugins.only(tmp_path / "scripted", scripted=plugins.SCRIPTED):
        [cell] = cells(NANO + 'targets = ["scripted"]', folder=tmp_path)
        assert (cell.profile, cell.backend, cell.absent) == (None, None, config.NO_PROFILE)


def test_a_simulated_device_is_used_only_where_the_file_asks_for_it(tmp_path: Path) -> None:
    targets = 'targets = ["intel-cpu", "intel-npu"]\nsimulate = ["intel-npu"]'
    found = cells(NANO + targets, folder=tmp_path)
    assert {(cell.target.name, cell.simulate) for cell in found} == {
        ("intel-cpu", False), ("intel-npu", True),
    }  # fmt: skip


def test_a_profile_whose_backend_simulates_nothing_says_so(tmp_path: Path) -> None:
    found = cells(NANO + 'targets = ["cuda"]\nsimulate = ["cuda"]', folder=tmp_path)
    whys = {cell.scheme: (cell.backend, cell.absent) for cell in found}
    assert whys["cuda-int4"] == ("torch", None)
    assert whys["cuda-int4-onnx"] == (None, config.NO_SIMULATION)


def test_only_the_targets_asked_for(tmp_path: Path) -> None:
    found = cells(NANO, "intel-npu", "intel-gpu", folder=tmp_path)
    assert {cell.target.name for cell in found} == {"intel-gpu", "intel-npu"}


def test_a_profile_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine-int4.toml"
    file.write_text(profile_source("intel-cpu-int4"), encoding="utf-8")
    [cell] = cells(NANO + f'profiles = ["{file.as_posix()}"]', folder=tmp_path)
    assert (cell.scheme, cell.backend) == ("mine-int4", "openvino")


@pytest.mark.parametrize(
    ("text", "says", "fix"),
    [
        ("models = [", "not valid TOML", None),
        ("schema = 1", "key 'models' is missing", "add models"),
        ("schema = 1\nmodels = []", "models", None),
        (NANO.replace("1", "2", 1), "schema", None),
        (NANO + 'target = ["intel-cpu"]', "unknown key 'target'", "'targets'"),
        (NANO + "[arguments]\nbenhc = []", "unknown key 'arguments.benhc'", "'bench'"),
        (NANO + "timeout = 0", "timeout", None),
        (NANO + 'targets = ["intel-cup"]', "unknown target 'intel-cup'", "'intel-cpu'"),
        (NANO + 'profiles = ["intel-cpu-in4"]', "unknown profile", "'intel-cpu-int4'"),
        (NANO.replace("nano", "nono"), "models: no directory", "'qwen3-nano'"),
        (NANO + 'simulate = ["intel-gpu"]', "no backend simulates intel-gpu", None),
        (NANO + 'targets = ["intel-cpu"]\nsimulate = ["intel-npu"]',
         "simulate: the matrix has no target 'intel-npu'", "add 'intel-npu' to targets"),
        ('schema = 1\nmodels = ["a", "b", "a"]', "'a' is given twice", None),
        (NANO + 'targets = ["cpu", "cpu"]', "'cpu' is given twice", None),
        (NANO + 'profiles = ["cpu-int4", "cpu-int4"]', "'cpu-int4' is given twice", None),
        (NANO + 'targets = ["cuda"]\nprofiles = ["intel-cpu-int4"]',
         "profile 'intel-cpu-int4' is for target 'intel-cpu'", "add 'intel-cpu' to targets"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_hold(text: str, says: str, fix: str | None, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mine\.toml") as caught:
        cells(text, folder=tmp_path)
    assert says in str(caught.value)
    assert (fix or "") in (caught.value.fix or "")


def test_a_target_that_the_file_has_not(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the matrix has no target 'intel-gpu'"):
        cells(NANO + 'targets = ["intel-cpu"]', "intel-gpu", folder=tmp_path)


@given(st.text(alphabet="abcdefghij_", min_size=1, max_size=12))
def test_no_unknown_key_is_ignored(key: str) -> None:
    known = Config.model_fields
    if key in known or key == "schema":
        return
    with pytest.raises(InputError, match="unknown key"):
        build_strict(Config, {"schema": 1, "models": ["m"], key: 1}, where="x")
