"""The config that a plan's graph is built from: the checkpoint's, at the plan's context."""

from __future__ import annotations

from qdeploy.architectures import decoder
from qdeploy.architectures.decoder import Config, why_not
from qdeploy.planning.plan import Plan

__all__ = ["Config", "read", "why_not"]


def read(plan: Plan) -> Config:
    """Read the config of the plan's checkpoint.

    Raises:
        CheckpointError: not a Qwen3.
    """
    return decoder.read(plan.checkpoint.qwen3, plan.rope_scaling)
