"""MindIE's server configuration for a model on Huawei's Ascend NPUs.

It passes the documented schema; no MindIE has read it. MindIE loads float checkpoints, and
quantized ones of its own tools, so the configuration names the checkpoint, not a bundle's codes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from qdeploy.engines.mindie_schema import (
    BackendConfig,
    Config,
    ModelConfig,
    ModelDeployConfig,
    ScheduleConfig,
    ServerConfig,
)
from qdeploy.errors import InputError, OutputError, PlanError
from qdeploy.storage.atomic import write_file
from qdeploy.storage.sizes import size

if TYPE_CHECKING:
    from qdeploy.planning.plan import Plan

TARGET = "ascend"
GIB = 2**30
DEVICE_BYTES = 64 * GIB
"""Of an NPU of Atlas 800I A2 and A3, where none is here to be asked."""
USED = 0.8
"""Share of it that MindIE takes: its default of NPU_MEMORY_FRACTION."""
FLOAT_BYTES = 2
"""Bytes of a weight in bfloat16 or float16."""
MOST_NPUS = 16
"""Of one machine."""
PREFILL_TOKENS = 8192
"""MindIE's default of `maxPrefillTokens`."""


def configure(plan: Plan, *, npus: int | None = None, device_bytes: int | None = None) -> Config:
    """Return the configuration for a plan's checkpoint, with the plan's context.

    Args:
        plan: one for the target `ascend`.
        npus: how many NPUs share the model; None is the fewest that hold its weights in float and
            the cache of one whole context.
        device_bytes: memory of each; None is 64 GiB.

    Raises:
        InputError: the plan is for another target, or its model does not generate.
        PlanError: the NPUs of a machine do not hold it.
    """
    if plan.target.name != TARGET or not plan.task.generates:
        raise InputError(
            "MindIE runs models that generate, on Ascend NPUs",
            where=plan.checkpoint.name,
            fix=f"--target {TARGET}, with a model that generates",
        )
    usable = int((device_bytes or DEVICE_BYTES) * USED)
    weights = plan.checkpoint.parameters * FLOAT_BYTES
    world = npus or _fewest(plan, weights, usable)
    free = world * usable - weights
    at_once = free // (plan.context * plan.kv_bytes_per_token) if free > 0 else 0
    if at_once < 1 or plan.checkpoint.config.num_attention_heads % world:
        raise PlanError(
            f"{world} NPUs of {size(usable / USED)} do not hold {size(weights)} of float weights "
            f"and a cache of {plan.context} tokens, or do not divide its "
            f"{plan.checkpoint.config.num_attention_heads} heads",
            where=plan.checkpoint.name,
            fix="give a shorter --context, or another --split",
        )
    longest, batch = plan.context - 1, min(200, at_once)
    return Config(
        ServerConfig=ServerConfig(),
        BackendConfig=BackendConfig(
            npuDeviceIds=[list(range(world))],
            ModelDeployConfig=ModelDeployConfig(
                maxSeqLen=plan.context,
                maxInputTokenLen=longest,
                ModelConfig=[
                    ModelConfig(
                        modelName=_name(plan.checkpoint.name),
                        modelWeightPath=weight_path(plan),
                        worldSize=world,
                    )
                ],
            ),
            ScheduleConfig=ScheduleConfig(
                maxPrefillBatchSize=min(50, batch),
                maxPrefillTokens=max(PREFILL_TOKENS, longest),
                maxBatchSize=batch,
                maxIterTimes=plan.context,
            ),
        ),
    )


def _fewest(plan: Plan, weights: int, usable: int) -> int:
    """The fewest NPUs, of powers of two that divide the heads; the most of them where none do."""
    needed = weights + plan.context * plan.kv_bytes_per_token
    heads = plan.checkpoint.config.num_attention_heads
    able = [n for n in (1, 2, 4, 8, MOST_NPUS) if heads % n == 0]
    return next((n for n in able if n * usable >= needed), able[-1])


def _name(name: str) -> str:
    """The model's name, in the letters that MindIE takes."""
    last = re.sub(r"[^A-Za-z0-9._-]", "-", name.rpartition("/")[2])
    return last.strip("._-") or "model"


def weight_path(plan: Plan) -> str:
    """Where the checkpoint is; for one that is not here, where a container would have it."""
    here = plan.checkpoint.folder
    is_here = (here / "config.json").is_file()
    return str(here.resolve()) if is_here else f"/models/{_name(plan.checkpoint.name)}"


def write(config: Config, path: Path) -> None:
    """Write the file, whole or not at all, with the permissions that MindIE wants: 640.

    Raises:
        OutputError: there is a file already, or it cannot be written.
    """
    if path.exists():
        raise OutputError("the file exists", where=path, fix="remove it, or give another name")
    try:
        write_file(path, (config.model_dump_json(indent=4) + "\n").encode())
        path.chmod(0o640)
    except OSError as error:
        raise OutputError(
            f"cannot be written ({error.strerror})", where=path, fix="give another place"
        ) from None
