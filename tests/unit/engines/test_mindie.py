"""MindIE's server configuration: it passes the documented schema, and says what is planned."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import qdeploy
from qdeploy.engines.mindie import GIB, configure, write
from qdeploy.engines.mindie_schema import Config
from qdeploy.errors import InputError, OutputError, PlanError
from qdeploy.planning.plan import Plan


@pytest.fixture(scope="module")
def plan() -> Plan:
    return qdeploy.plan("Qwen/Qwen3-32B", target="ascend", context=8192)


def test_a_model_gets_as_few_npus_as_hold_it(plan: Plan) -> None:
    """32 billion weights in float are 65 GB: over 0.8 of an NPU's 64 GiB, under that of two."""
    backend = configure(plan).BackendConfig
    assert backend.npuDeviceIds == [[0, 1]]
    (model,) = backend.ModelDeployConfig.ModelConfig
    assert (model.modelName, model.worldSize) == ("Qwen3-32B", 2)
    assert (model.npuMemSize, model.trustRemoteCode) == (-1, False)
    assert configure(plan, device_bytes=32 * GIB).BackendConfig.npuDeviceIds == [[0, 1, 2, 3]]
    assert len(configure(plan, npus=8).BackendConfig.npuDeviceIds[0]) == 8


def test_lengths_and_batches_are_the_plans(plan: Plan) -> None:
    backend = configure(plan).BackendConfig
    deploy, schedule = backend.ModelDeployConfig, backend.ScheduleConfig
    assert (deploy.maxSeqLen, deploy.maxInputTokenLen) == (8192, 8191)
    assert schedule.maxPrefillTokens >= deploy.maxInputTokenLen
    cache = plan.context * plan.kv_bytes_per_token * schedule.maxBatchSize
    assert cache <= 2 * 64 * GIB * 0.8 - plan.checkpoint.parameters * 2


def test_it_listens_on_loopback_alone(plan: Plan) -> None:
    server = configure(plan).ServerConfig
    assert (server.ipAddress, server.allowAllZeroIpListening) == ("127.0.0.1", False)
    assert server.managementIpAddress == "127.0.0.1"


def test_the_file_is_whole_and_written_once(plan: Plan, tmp_path: Path) -> None:
    file = tmp_path / "conf" / "config.json"
    made = configure(plan)
    write(made, file)
    assert Config.model_validate_json(file.read_text()) == made
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(json.loads(file.read_text())) == ["Version", "ServerConfig", "BackendConfig"]
    with pytest.raises(OutputError, match="exists"):
        write(made, file)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("ServerConfig", "port"), 80, "1024"),
        (("ServerConfig", "allowAllZeroIpListening"), True, "False"),
        (("BackendConfig", "npuDeviceIds"), [[0]], "worldSize is the number of NPUs"),
        (("BackendConfig", "npuDeviceIds"), [[0, 0]], "worldSize is the number of NPUs"),
        (("BackendConfig", "ModelDeployConfig", "maxSeqLen"), 512, "maxInputTokenLen is below"),
        (("BackendConfig", "ScheduleConfig", "maxPrefillTokens"), 100, "maxPrefillTokens holds"),
        (("BackendConfig", "ScheduleConfig", "maxPrefillBatchSize"), 9999, "at most maxBatchSize"),
        (("BackendConfig", "ScheduleConfig", "maxIterTimes"), 9999, "maxIterTimes is at most"),
        (("BackendConfig", "ScheduleConfig", "cacheBlockSize"), 100, "multiple of 16"),
        (("BackendConfig", "unheard"), 1, "Extra inputs"),
    ],
)
def test_the_schema_refuses_what_the_documentation_does(
    plan: Plan, place: tuple[str, ...], value: object, words: str
) -> None:
    content: dict[str, Any] = configure(plan).model_dump()
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with pytest.raises(ValidationError, match=words):
        Config.model_validate(content)


@pytest.mark.parametrize(
    ("name", "taken"), [("a/b c!", "b-c"), ("..", "model"), ("x_", "x"), ("Qwen/A-1.5", "A-1.5")]
)
def test_a_name_is_put_into_the_letters_that_it_takes(plan: Plan, name: str, taken: str) -> None:
    named = replace(plan, checkpoint=replace(plan.checkpoint, name=name))
    (model,) = configure(named).BackendConfig.ModelDeployConfig.ModelConfig
    assert model.modelName == taken


def test_what_does_not_fit_is_refused(plan: Plan) -> None:
    with pytest.raises(PlanError, match="do not hold"):
        configure(plan, npus=1)
    with pytest.raises(PlanError, match="do not divide"):
        configure(plan, npus=3)
    with pytest.raises(PlanError, match="do not hold"):
        configure(plan, device_bytes=GIB)


def test_another_target_is_refused() -> None:
    with pytest.raises(InputError, match="on Ascend NPUs"):
        configure(qdeploy.plan("qwen3-nano", target="cpu", backend="torch"))
