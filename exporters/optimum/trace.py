"""The first step: converts the tokenizer, and traces the PyTorch model to a float graph."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import Any

from qdeploy.architectures.table import find_architecture
from qdeploy.errors import ExportFailed
from qdeploy.exporters.optimum.job import Job
from qdeploy.planning.formats import OPENVINO

TASK = "text-generation-with-past"


def trace(job: Job, stage: Callable[[str], None]) -> None:
    """Write the tokenizer's graphs to the bundle and the float graph to the scratch directory.

    Raises:
        ExportFailed: optimum-intel does not support the architecture.
    """
    from optimum.exporters.openvino import main_export
    from optimum.exporters.tasks import TasksManager
    from optimum.intel import OVConfig

    if job.model_type not in TasksManager.get_supported_model_type_for_task(TASK, "openvino"):
        raise ExportFailed(
            f"optimum-intel {metadata.version('optimum-intel')} cannot export the architecture"
            f" {job.architecture} (model type {job.model_type!r})",
            where=job.checkpoint / "config.json",
            fix="--exporter native"
            if find_architecture(job.architecture)
            else "pip install --upgrade optimum-intel, which may support it by now",
        )
    stage("converting the tokenizer")
    _convert_tokenizer(job)
    stage("tracing the model")
    main_export(
        str(job.checkpoint),
        output=job.scratch,
        task=TASK,
        library_name="transformers",
        local_files_only=True,
        trust_remote_code=False,
        # without a configuration, optimum-intel quantizes large models to int8 by default
        ov_config=OVConfig(),
    )


def _convert_tokenizer(job: Job) -> None:
    """Write the tokenizer and detokenizer that openvino-genai loads beside the model."""
    import openvino as ov
    from openvino_tokenizers import convert_tokenizer
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(
        job.checkpoint, local_files_only=True, trust_remote_code=False
    )
    # prompts of a batch are aligned at their end, and truncation keeps the end
    tokenizer.padding_side = tokenizer.truncation_side = "left"
    graphs = convert_tokenizer(tokenizer, with_detokenizer=True)
    for graph, role in zip(graphs, ("tokenizer", "detokenizer"), strict=True):
        ov.save_model(graph, job.folder / OPENVINO.files[role])
