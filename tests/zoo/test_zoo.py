"""Every checkpoint of the zoo is the same as in transformers, or it is refused with cause and fix.

Nothing in the zoo is silently different: what is exported is compared by `qdeploy verify`.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from qdeploy.planning.profile import profile_source
from tests.support.command import QuickCommand
from tests.support.zoo import CASES
from tests.support.zoo.case import ADAPTER, MODEL, Case

pytest.importorskip("torch", reason="needs qdeploy[verify]")
pytest.importorskip("transformers", reason="needs qdeploy[verify]")
pytest.importorskip("peft", reason="needs qdeploy[verify]")
pytest.importorskip("compressed_tensors", reason="needs qdeploy[verify]")
pytest.importorskip("onnxruntime", reason="needs qdeploy[onnx]")

PROFILE = (
    profile_source("cpu-int8").partition("[quality]")[0]
    + """
[quality]
max_kl_mean = 0.05
min_top1 = 0.8
"""
)
"""The predictions of random weights are close to each other, so rounding changes more of them."""
EVERY = [
    pytest.param(case, id=f"{kind}: {case.name}", marks=pytest.mark.xdist_group(f"zoo: {kind}"))
    for kind, cases in CASES.items()
    for case in cases
]


def adapter(folder: Path) -> tuple[str, ...]:
    return ("--adapter", ADAPTER) if (folder / ADAPTER).is_dir() else ()


def export(qdeploy: QuickCommand, *options: str) -> dict[str, object]:
    """Export the case's model, and return what the command prints."""
    where = ("--target", "cpu", "--profile", "zoo.toml", "-o", "bundle")
    done = qdeploy("export", MODEL, *adapter(qdeploy.folder), *where, *options, "--json")
    assert done.code == 0, done.stderr
    return done.json


def check_the_same(qdeploy: QuickCommand) -> None:
    done = qdeploy("verify", "bundle", "--against", MODEL, *adapter(qdeploy.folder))
    assert done.code == 0, done.stdout + done.stderr


@pytest.fixture(scope="module", autouse=True)
def _light_collections() -> Iterator[None]:
    """A verification collects garbage; what the libraries hold need not be searched each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("case", EVERY)
def test_case(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "zoo"
    folder.mkdir()
    case.make(folder)
    (folder / "zoo.toml").write_text(PROFILE, encoding="utf-8")
    qdeploy = QuickCommand(folder, folder / "no plugins")
    options: Sequence[str] = ()
    if case.refusal:
        refused = qdeploy("export", MODEL, *adapter(folder), "--target", "cpu", "-o", "refused")
        refused.fails(2, *case.refusal)
        if not case.fix:
            return
        options = case.fix(folder)
    said = export(qdeploy, *options).get("warnings", [])
    assert isinstance(said, list)
    assert len(said) == len(case.warns), said
    for warning, words in zip(said, case.warns, strict=True):
        assert words in warning
    check_the_same(qdeploy)
