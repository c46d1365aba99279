"""The model card of a bundle: `README.md`, with the front matter that the hub reads.

It says what is in the manifest, in words. Names come from checkpoints of others, so they are
escaped. A card holds neither a time nor a path, so equal exports have equal cards.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qdeploy.architectures.task import TaskName
from qdeploy.bundle import MANIFEST, Manifest
from qdeploy.checkpoint.hub_cache import HUB_ID
from qdeploy.checkpoint.license import read_license
from qdeploy.planning.plan import Plan
from qdeploy.storage.markdown import code, escaped, table
from qdeploy.storage.sizes import size

PIPELINE_TAGS: Mapping[TaskName, str] = {
    "generate": "text-generation", "embed": "feature-extraction", "rerank": "text-ranking",
}  # fmt: skip
"""The hub's names of tasks."""
COMMANDS: Mapping[TaskName, str] = {
    "generate": 'qdeploy run . "Hello"',
    "embed": 'qdeploy embed . "Hello"',
    "rerank": 'qdeploy rerank . "Who?" "A document."',
}
TEXTS = {"own": "what the model wrote itself", "general": "general texts that qdeploy brings"}
"""Texts of calibration that are no user's file, by the names in its record."""
MOST_ROWS = 20
"""Dropped tensors that a card lists."""


def model_card(plan: Plan, manifest: Manifest) -> str:
    """Return the card of the bundle that *plan* became."""
    parts = [
        _front_matter(plan), *_introduction(plan, manifest), *_running(plan), *_storage(plan),
        *_calibration(manifest), *_evidence(plan), *_remarks(plan),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _front_matter(plan: Plan) -> str:
    """YAML whose values are JSON, which is YAML, too."""
    checkpoint, linear = plan.checkpoint, plan.linear
    values: dict[str, Any] = {**read_license(checkpoint.folder)}
    if HUB_ID.fullmatch(checkpoint.name):
        values["base_model"] = checkpoint.name
        if checkpoint.adapter:
            values["base_model_relation"] = "finetune"
        elif linear.dtype != "fp16":
            values["base_model_relation"] = "quantized"
    values["pipeline_tag"] = PIPELINE_TAGS[plan.task.name]
    values["tags"] = ["qdeploy", plan.format, plan.target.name, linear.dtype]
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    return "\n".join(["---", *lines, "---"])


def _introduction(plan: Plan, manifest: Manifest) -> Iterator[str]:
    checkpoint, profile = plan.checkpoint, plan.profile
    name = escaped(checkpoint.name)
    yield f"# {name}, {escaped(plan.linear_label)}, for {escaped(plan.target.title)}"
    adapter = f" with the adapter {escaped(checkpoint.adapter.name)}" if checkpoint.adapter else ""
    version = code(manifest.tools.get("qdeploy", "?"))
    yield (
        f"{name}{adapter} ({escaped(checkpoint.config.name)}, "
        f"{checkpoint.parameters:,} parameters), exported by qdeploy {version} with the profile "
        f"`{code(profile.name)}` to the format `{code(plan.format)}`."
    )
    yield escaped(profile.why)


def _running(plan: Plan) -> Iterator[str]:
    steps = {
        "pip install qdeploy": "",
        "qdeploy targets": f"whether this machine has {code(plan.target.name)}, what to install",
        COMMANDS[plan.task.name]: "in the folder of this bundle",
        "qdeploy verify .": "compares every file with its checksum",
    }
    width = max(map(len, steps))
    lines = [f"{step:{width}}  # {what}" if what else step for step, what in steps.items()]
    yield "## Run"
    yield "\n".join(["```", *lines, "```"])
    if plan.task.generates and plan.format_row.loaded_by:
        yield plan.format_row.loaded_by


def _storage(plan: Plan) -> Iterator[str]:
    rows: dict[tuple[str, str], Counter[str]] = {}
    for tensor in plan.tensors:
        row = rows.setdefault((tensor.role, tensor.label), Counter())
        row.update(tensors=1, parameters=tensor.parameters, bytes=tensor.nbytes)
    yield "## Stored as"
    yield table(
        ["role", "precision", "tensors", "parameters", "size"],
        [
            [escaped(role), escaped(precision), f"{row['tensors']}", f"{row['parameters']:,}",
             size(row["bytes"])]
            for (role, precision), row in rows.items()
        ],
        [False, False, True, True, True],
    )  # fmt: skip
    whole = "prompt and answer together" if plan.task.generates else "one text"
    cache = (
        f", the key-value cache {size(plan.kv_bytes_per_token)} a token "
        f"({escaped(plan.profile.kv_cache.dtype)})"
    )
    yield (
        f"Weights take {size(plan.weight_bytes)}{cache if plan.kv_bytes_per_token else ''}. The "
        f"longest context, {whole}, is {plan.context:,} tokens."
    )


def _calibration(manifest: Manifest) -> Iterator[str]:
    record = manifest.calibration
    if record is None:
        return
    counted = (
        "by their importance for the model's own predictions"
        if record.importance == "gradient"
        else "all the same"
    )
    names = [(text.tokens, TEXTS.get(text.name, escaped(text.name))) for text in record.texts]
    texts = " and ".join(f"{tokens:,} tokens of {name}" for tokens, name in names)
    yield "## Calibration"
    yield (
        "The codes of calibrated weights were chosen by what the layers read on "
        f"{record.tokens:,} tokens of text ({escaped(record.method)}; seed {record.seed}). Tokens "
        f"count {counted}. The errors of a layer's outputs have {record.loss:.2g} of the outputs' "
        f"energy, in the mean of {len(record.losses)} weights; `{code(MANIFEST)}` has each."
    )
    yield f"The text: {texts}."


def _evidence(plan: Plan) -> Iterator[str]:
    name = plan.checkpoint.name
    reference = name if HUB_ID.fullmatch(name) else code(name)
    speed = ", and `qdeploy bench .` how fast it is on a machine" if plan.task.generates else ""
    yield "## Evidence"
    yield (
        "None: an export runs nothing, and this card was written by it. "
        f"`qdeploy eval . --reference {reference}` measures how far the bundle is from its float "
        f"model{speed}."
    )


def _remarks(plan: Plan) -> Iterator[str]:
    if plan.warnings:
        yield "## Warnings"
        yield "\n".join(f"- {escaped(warning)}" for warning in plan.warnings)
    dropped: Sequence[tuple[str, str]] = sorted(plan.checkpoint.dropped.items())
    if dropped:
        yield "## Tensors left out"
        rows = [[escaped(name), escaped(reason)] for name, reason in dropped[:MOST_ROWS]]
        yield table(["tensor", "reason"], rows, [False, False])
    if len(dropped) > MOST_ROWS:
        yield f"And {len(dropped) - MOST_ROWS} more, which `qdeploy.json` lists."
