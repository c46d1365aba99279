"""A bundle's folder in every interface of onnxruntime-genai, without qdeploy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdeploy import bundle
from qdeploy.deploy import run
from qdeploy.deploy.export import export, prepare
from qdeploy.interface import Progress, Request
from qdeploy.planning.formats import ONNX

genai = pytest.importorskip("onnxruntime_genai")
NEW = 6
LENGTHS = (20, 7, 33, 1)
"""Of prompts in one batch: padded at their ends to the longest."""


@pytest.fixture(scope="module", params=["qwen3-nano", "qwen3-nano-moe"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("genai") / "bundle"
    resolved, exporter = prepare(request.param, "cpu")
    return export(resolved, exporter, place, Progress(), force=False).path


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return genai.Model(str(folder))


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    random = np.random.default_rng(0)
    return [random.integers(10, 2000, length).tolist() for length in LENGTHS]


def generator(model: Any, length: int, rows: int = 1) -> Any:
    parameters = genai.GeneratorParams(model)
    parameters.set_search_options(
        do_sample=False, batch_size=rows, min_length=length, max_length=length
    )
    return genai.Generator(model, parameters)


def continued(model: Any, *pieces: Sequence[int]) -> list[int]:
    """Return the tokens after a prompt that is fed in *pieces*."""
    made = generator(model, sum(map(len, pieces)) + NEW)
    for piece in pieces:
        made.append_tokens(np.array(piece, np.int32))
    found = []
    for _ in range(NEW):
        made.generate_next_token()
        found.append(int(made.get_next_tokens()[0]))
    return found


@pytest.fixture(scope="module")
def alone(model: Any, prompts: list[list[int]]) -> list[list[int]]:
    return [continued(model, prompt) for prompt in prompts]


def test_generator_gives_the_tokens_of_a_session(
    folder: Path, prompts: list[list[int]], alone: list[list[int]]
) -> None:
    opened = bundle.open_bundle(folder)
    with run.load(opened, run.choose(opened)) as session:
        for prompt, tokens in zip(prompts, alone, strict=True):
            made = session.generate(Request(tuple(prompt), NEW))
            assert [token.id for token in made] == tokens


def test_generator_takes_a_prompt_in_pieces(
    model: Any, prompts: list[list[int]], alone: list[list[int]]
) -> None:
    assert continued(model, prompts[0][:9], prompts[0][9:]) == alone[0]


def test_generator_takes_a_batch_of_several_lengths(
    folder: Path, model: Any, prompts: list[list[int]], alone: list[list[int]]
) -> None:
    pad = genai.Tokenizer(model).pad_token_id
    longest = max(LENGTHS)
    made = generator(model, longest + NEW, len(prompts))
    made.append_tokens(np.array([[*p, *[pad] * (longest - len(p))] for p in prompts], np.int32))
    for _ in range(NEW):
        made.generate_next_token()
    rows = [made.get_sequence(row)[longest:].tolist() for row in range(len(prompts))]
    assert rows == alone


def test_engine_serves_several_requests(
    model: Any, prompts: list[list[int]], alone: list[list[int]]
) -> None:
    engine = genai.Engine(model)
    events = engine.create_event_buffer(64)
    requests = [begun(engine, prompt) for prompt in prompts]
    made: list[list[int]] = [[] for _ in requests]
    try:
        while engine.has_pending_requests():
            for event in engine.run(events):
                if event.flags.value & genai.EngineEventFlags.TOKEN.value:
                    made[requests.index(event.request)].append(event.token)
    finally:
        for request in requests:  # one that is open at the interpreter's end aborts the process
            request.close()
    assert made == alone


def begun(engine: Any, prompt: Sequence[int]) -> Any:
    options = genai.RequestOptions()
    options.set_max_session_tokens(len(prompt) + NEW)
    request = engine.create_request(options=options)
    turn = genai.TurnOptions(request)
    turn.set_max_generated_tokens(NEW)
    turn.set_min_generated_tokens(NEW)
    turn.set_do_sample(False)
    request.begin_turn(np.array(prompt, np.int32), turn)
    return request


def test_a_session_loads_a_bundle_that_has_two_graphs(
    folder: Path, tmp_path: Path, prompts: list[list[int]], alone: list[list[int]]
) -> None:
    """As exports once were: `model.onnx` has the logits of the last token alone."""
    older = tmp_path / "older"
    shutil.copytree(folder, older)
    generate, model = ONNX.files["generate"], ONNX.files["model"]
    (older / generate).rename(older / model)
    manifest = json.loads((older / bundle.MANIFEST).read_text("utf-8"))
    manifest["files"][model] = manifest["files"].pop(generate)
    (older / bundle.MANIFEST).write_text(json.dumps(manifest), "utf-8")
    opened = bundle.open_bundle(older)
    with run.load(opened, run.choose(opened)) as session:
        made = session.generate(Request(tuple(prompts[0]), NEW))
        assert [token.id for token in made] == alone[0]
