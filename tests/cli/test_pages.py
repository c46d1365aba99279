"""What the pages on adding something of one's own say is what works."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from qdeploy import registry
from qdeploy.bench import energy, peer
from qdeploy.interface import Device
from qdeploy.targets import Target
from tests.support.command import ROOT, Command
from tests.support.pages import Page, read_page
from tests.support.plugins import only
from tests.support.real import NEEDS_RUNTIME

pytest.importorskip("qdeploy_toy", reason="tests/toy_backend is not installed")

ANSWER = "5561"


@pytest.fixture
def qdeploy(tmp_path: Path) -> Command:
    for name in ("site", "here"):
        (tmp_path / name).mkdir()
    return Command(tmp_path / "here", tmp_path / "site")


def installed(name: str, qdeploy: Command) -> Page:
    page = read_page(name)
    page.install(qdeploy.plugins, qdeploy.folder)
    return page


def stated_lines(page: Page) -> int:
    """How many lines the page says that its example took."""
    found = re.search(r"took (\d+)\s+lines", page.text)
    assert found
    return int(found[1])


@pytest.mark.slow
@NEEDS_RUNTIME
def test_the_page_on_profiles(qdeploy: Command) -> None:
    page = installed("adding-a-profile.md", qdeploy)
    listing, shown, dry, _, answer = page.run(qdeploy)
    assert "cpu-int4" in listing.stdout
    assert 'target = "cpu"' in shown.stdout
    assert "int4 sym g32" in dry.stdout
    assert answer.stdout.strip() == ANSWER
    assert page.lines("my.toml") == stated_lines(page)


@pytest.mark.slow
def test_the_page_on_formats(qdeploy: Command) -> None:
    page = installed("adding-a-format.md", qdeploy)
    _, _, answer = page.run(qdeploy)
    assert answer.stdout.strip() == ANSWER
    assert "acme" in answer.stderr
    manifest = json.loads((qdeploy.folder / "nano" / "qdeploy.json").read_text(encoding="utf-8"))
    assert (manifest["format"], manifest["exporter"]) == ("acme-npz", "acme")
    shards = [name for name in manifest["files"] if name.endswith(".npz")]
    assert len(shards) > 2
    assert page.lines("acme.py") == stated_lines(page)
    profile = qdeploy.folder / "acme.toml"
    text = profile.read_text(encoding="utf-8")
    profile.write_text(text.replace("acme-npz", "acme-npy"), encoding="utf-8")
    refused = qdeploy("plan", "qwen3-nano", "--target", "cpu", "--profile", "acme.toml")
    refused.fails(2, "unknown format 'acme-npy'", "did you mean 'acme-npz'?")
    profile.write_text(text + '\n[graph]\nattention = "plain"\n', encoding="utf-8")
    refused = qdeploy("plan", "qwen3-nano", "--target", "cpu", "--profile", "acme.toml")
    refused.fails(2, "sets graph.attention, which the format acme-npz does not have")


@pytest.mark.slow
def test_the_page_on_targets(qdeploy: Command) -> None:
    page = installed("adding-a-target.md", qdeploy)
    targets, plan, _, answer, job = page.run(qdeploy)
    assert ["numpy", "numpy", "numpy:"] in [
        line.split()[:3] for line in targets.stdout.splitlines()
    ]
    assert "Raspberry Pi 5" in plan.stdout
    assert answer.stdout.strip() == ANSWER
    assert json.loads(job.stdout)["include"] == [
        {"target": "numpy", "runner": ["self-hosted", "raspberry-pi"], "self_hosted": True,
         "extras": "", "torch_index": ""}
    ]  # fmt: skip
    assert page.lines("numpy_target.py") == stated_lines(page)
    forecast = qdeploy("plan", "qwen3-nano", "--target", "numpy", "--profile", "numpy-fp16.toml")
    assert "this CPU" in forecast.stdout
    hidden = qdeploy("run", "nano", "hi", NUMPY_VISIBLE_DEVICES="7")
    hidden.fails(3, "NUMPY_VISIBLE_DEVICES is '7'", "unset NUMPY_VISIBLE_DEVICES")
    assert qdeploy("run", "nano", "hi", NUMPY_VISIBLE_DEVICES="cpu").code == 0
    profile = qdeploy.folder / "numpy-fp16.toml"
    text = profile.read_text(encoding="utf-8").replace('"fp16" }', '"int8" }', 1)
    profile.write_text(text, encoding="utf-8")
    refused = qdeploy("plan", "qwen3-nano", "--target", "numpy", "--profile", profile.name)
    refused.fails(2, "cannot run on numpy: NumPy multiplies no quantized", "fix: use fp16 weights")


TORCH_ACME = """
from qdeploy.backends.torch.simulated import device

def devices():
    return [str(name) for name in device.activate("dcu")]
"""
"""The chip's library in the page on accelerators: a stub, which is one of the simulated chips."""


@pytest.mark.slow
def test_the_page_on_accelerators(qdeploy: Command) -> None:
    pytest.importorskip("torch")
    page = installed("adding-an-accelerator.md", qdeploy)
    assert page.lines("acme_accelerator.py") == stated_lines(page)
    (qdeploy.plugins / "torch_acme.py").write_text(TORCH_ACME, encoding="utf-8")
    listing, _, answer = page.run(qdeploy)
    assert "Acme A1" in listing.stdout
    assert len(answer.json["placement"]["devices"]) == 1
    assert "aten::_weight_int8pack_mm" in answer.json["placement"]["proof"]
    hidden = qdeploy("run", "nano", "hi", ACME_VISIBLE_DEVICES="7")
    hidden.fails(3, "ACME_VISIBLE_DEVICES is '7'", "unset ACME_VISIBLE_DEVICES")
    (qdeploy.plugins / "torch_acme.py").unlink()
    qdeploy("run", "nano", "hi").fails(3, "torch_acme is not installed", "pip install torch-acme")


def test_the_page_on_backends_states_the_toys_lines_and_entry_points() -> None:
    """The conformance suite runs the toy itself."""
    page, toy = read_page("adding-a-backend.md"), ROOT / "tests" / "toy_backend"
    lines = (toy / "qdeploy_toy.py").read_text(encoding="utf-8").splitlines()
    assert f"a complete one in {len(lines)} lines" in page.text
    for line in (toy / "pyproject.toml").read_text(encoding="utf-8").splitlines():
        if "entry-points" in line or "qdeploy_toy:" in line:
            assert line in page.text


MYCHIP = """
class Model:
    def __init__(self, folder, device):
        self.opened = (folder.name, device)

    def generate(self, ids, new):
        assert self.opened == ("bundle", "chip:0")
        return iter(range(len(ids), len(ids) + new))

spent = iter((3.0, 4.5, 11.0))
def joules(device):
    return next(spent)
"""
"""The vendor's library in the page on backends: a stub, which only the tests of this page use."""


def test_the_peer_and_the_meter_of_the_page_on_backends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = read_page("adding-a-backend.md").files["mychip_extras.py"]
    (tmp_path / "mychip_extras.py").write_text(module, encoding="utf-8")
    (tmp_path / "mychip.py").write_text(MYCHIP, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    target = Target("mychip", "a chip", "npu", energy="mychip")
    with only(tmp_path, acme={registry.BACKENDS: {"mychip": "mychip_extras:MyBackend"}}):
        found = registry.peers()["mychip-llm"]
        meter = energy.find(target, [Device("chip:0", "a chip", target.name)])
    timing = peer.load(found, tmp_path / "bundle", "chip:0", None)([5, 6], 3)
    assert len(timing.stamps) == 3
    assert [timing.start, *timing.stamps] == sorted([timing.start, *timing.stamps])
    assert meter.source == "mychip's own counter"
    with meter:
        pass
    assert meter.joules == 6.5


@pytest.mark.skipif(os.name != "posix" or not shutil.which("make"), reason="there is no make")
@pytest.mark.parametrize("name", ["qdeploy_toy.py", "pyproject.toml"])
def test_a_changed_toy_is_installed_again(name: str, tmp_path: Path) -> None:
    for stamp in (".dev", ".demo", ".toy"):
        (tmp_path / stamp).touch()

    def planned(*options: str) -> str:
        command = ["make", "-n", f"VENV={tmp_path}", *options, "test"]
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    assert "pip install" not in planned()
    changed = planned("-W", f"tests/toy_backend/{name}")
    assert "pip install --quiet ./tests/toy_backend" in changed
    assert "--editable" not in changed
