"""Contenders whose linear weights have several precisions, each chosen by its method."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from qdeploy.deploy.export import export, prepare
from qdeploy.interface import Progress
from qdeploy.planning.mixed import with_precisions

METRICS: Mapping[str, str] = {
    "error": "weight_quantization_error",
    "hessian": "hessian_input_activation",
    "mean-variance": "mean_activation_variance",
    "max-variance": "max_activation_variance",
    "magnitude": "mean_activation_magnitude",
}
"""NNCF's sensitivity metrics, by which it chooses what gets eight bits. The first reads weights
only, the others the tokens for calibration, too."""


def export_alike(model: Path, bundle: Path, profile: Path, output: Path) -> None:
    """Export *model* without data, each linear weight in the precision that it has in *bundle*.

    Args:
        model: folder of the float checkpoint.
        bundle: folder of a bundle in the format safetensors.
        profile: a profile's file, for all other weights.
        output: folder of the new bundle.

    Raises:
        CheckpointError: the model or the bundle cannot be read.
        PlanError: its weights are not those of the model.
    """
    known, _ = prepare(str(bundle), "cpu", profile_name=str(profile))
    plan, exporter = prepare(str(model), "cpu", profile_name=str(profile))
    alike = with_precisions(plan, {t.name: t.precision for t in known.linears})
    export(alike, exporter, output, Progress(), force=True)
