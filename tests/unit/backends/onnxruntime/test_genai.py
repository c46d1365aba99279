"""onnxruntime-genai's loop, for real, on an embedded model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from qdeploy import models
from qdeploy.backends.onnxruntime import OnnxRuntimeBackend, genai
from qdeploy.backends.onnxruntime.genai import GenaiLoop
from qdeploy.backends.onnxruntime.providers import of
from qdeploy.backends.onnxruntime.settings import Settings, resolve_settings
from qdeploy.bundle import open_bundle
from qdeploy.deploy.export import export, prepare
from qdeploy.interface import LoadOptions, Progress, Request, Sampling
from qdeploy.system.threads import usable_threads
from qdeploy.targets import CPU
from qdeploy.tokenization.tokenizer import END_THINK, Tokenizer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not find_spec("onnxruntime_genai"), reason="needs qdeploy[onnx]"),
]
SUM = "What is 17 + 25?"


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported("qwen3-nano", tmp_path_factory.mktemp("nano") / "bundle")


def exported(model: str, folder: Path) -> Path:
    resolved, exporter = prepare(model, "cpu")
    export(resolved, exporter, folder, Progress(), force=False)
    return folder


@pytest.fixture
def chosen(nano: Path) -> Settings:
    (device,) = OnnxRuntimeBackend().devices(CPU)
    return resolve_settings(open_bundle(nano).manifest, of(device), device, LoadOptions())


@pytest.fixture
def prompt(nano: Path) -> tuple[int, ...]:
    tokenizer = Tokenizer(nano)
    messages = [{"role": "user", "content": SUM}]
    return tuple(tokenizer.encode(tokenizer.render(messages, thinking=True)))


def made(loop: GenaiLoop, prompt: tuple[int, ...], count: int, **drawn: float) -> list[int]:
    sampling = Sampling(temperature=0.8, top_p=0.95, top_k=20, **drawn)  # type: ignore[arg-type]
    return [token.id for token in loop.generate(Request(prompt, count, sampling))]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_token_that_ends_for_the_runtime_ends_nothing(
    nano: Path, chosen: Settings, prompt: tuple[int, ...], seed: int
) -> None:
    """It is the end of thinking in an embedded model, and nothing that is drawn in the other."""
    last = chosen.vocabulary - 1
    assert Tokenizer(nano).id_of(END_THINK) == last
    ids = made(GenaiLoop(nano, chosen), prompt, 120, seed=seed)
    assert last in ids[:-1]
    unused = max(set(range(last)) - set(ids))
    undisturbed = GenaiLoop(nano, replace(chosen, vocabulary=unused + 1))
    assert made(undisturbed, prompt, 120, seed=seed) == ids


def test_a_cache_that_is_full_is_followed_by_a_larger(
    nano: Path, chosen: Settings, prompt: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = GenaiLoop(nano, chosen)
    requests = [Request(prompt, 80), Request(prompt, 80, Sampling(presence_penalty=2.0))]
    expected = [[token.id for token in loop.generate(request)] for request in requests]
    assert expected[0] != expected[1]
    monkeypatch.setattr(genai, "ROOM", 16)
    assert [[token.id for token in loop.generate(request)] for request in requests] == expected
    drawn = made(loop, prompt, 80, seed=5)
    assert drawn == made(loop, prompt, 80, seed=5)
    assert len(drawn) == 80


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in KiB there")
def test_memory_follows_the_answer_and_not_the_context(nano: Path, tmp_path: Path) -> None:
    """The cache of 40960 tokens of this model would take 320 MiB."""
    longer = tmp_path / "longer"
    shutil.copytree(models.path("qwen3-nano"), longer)
    config = json.loads((longer / "config.json").read_text())
    (longer / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 40960}))
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from qdeploy import bundle; from qdeploy.deploy import run\n"
        "from qdeploy.interface import Request\n"
        "opened = bundle.open_bundle(Path(sys.argv[1]))\n"
        "session = run.load(opened, run.choose(opened))\n"
        "assert session.context == int(sys.argv[2])\n"
        "next(session.generate(Request((1, 2, 3), session.context - 3)))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )

    def peak(folder: Path, context: int) -> int:
        command = [sys.executable, "-c", code, str(folder), str(context)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert peak(exported(str(longer), tmp_path / "bundle"), 40960) < peak(nano, 2048) + 60


COUNTS = """\
import os, sys
from pathlib import Path
from qdeploy.backends.onnxruntime import OnnxRuntimeBackend
from qdeploy.bundle import open_bundle
from qdeploy.interface import LoadOptions, Request
from qdeploy.targets import CPU
backend = OnnxRuntimeBackend()
(device,) = backend.devices(CPU)
properties = {"loop": sys.argv[2]}
options = LoadOptions(properties=properties, threads=int(sys.argv[3]) or None)
with backend.load(open_bundle(Path(sys.argv[1])), device, options) as session:
    list(session.generate(Request((1, 2, 3), 2)))
    print(len(os.listdir("/proc/self/task")), session.placement().threads)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads by /proc")
@pytest.mark.parametrize("loop", ["genai", "own"])
def test_the_runtime_has_as_many_threads_as_it_is_given(nano: Path, loop: str) -> None:
    """One of them is the caller's own, so that each more is one more of the process."""

    def counted(threads: int) -> tuple[int, int]:
        command = [sys.executable, "-c", COUNTS, str(nano), loop, str(threads)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        of_process, told = map(int, done.stdout.split())
        return of_process, told

    one, three, usual = counted(1), counted(3), counted(0)
    assert (one[1], three[1], usual[1]) == (1, 3, usable_threads())
    sessions, rest = divmod(three[0] - one[0], 2)
    assert rest == 0
    assert sessions >= 1
    assert usual[0] - one[0] == sessions * (usable_threads() - 1)
