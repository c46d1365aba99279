"""Writes the files of an OpenVINO bundle except the weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qdeploy.architectures.graph import GraphConfig
from qdeploy.errors import Refusal
from qdeploy.exporters.native.format import ExportLayout, GraphWriter
from qdeploy.exporters.native.openvino import tokenizer
from qdeploy.exporters.native.openvino.builder import OpenVINOBuilder
from qdeploy.exporters.native.openvino.ir import Graph
from qdeploy.exporters.native.openvino.packing import Dense
from qdeploy.exporters.native.tokenizer import bpe
from qdeploy.exporters.native.tokenizer.runtime_tokens import runtime_tokens
from qdeploy.exporters.native.weights_file.layout import WeightsLayout
from qdeploy.exporters.native.weights_file.packing import Encoding
from qdeploy.planning.formats import OPENVINO
from qdeploy.planning.plan import Plan
from qdeploy.tokenization.chat_template import find_chat_template
from qdeploy.tokenization.text_files import TOKENIZER_FILE
from qdeploy.tokenization.tokenizer_file import read_tokenizer

ACTIVATIONS_SCALE = "8.0"
"""The GPU plugin divides activations by this to keep them within float16; optimum-intel's value."""


class OpenVINOFormat(GraphWriter):
    """Stateful IR with the tokenizer and detokenizer files that openvino-genai loads."""

    format = OPENVINO
    mixes_experts = False

    def encoding(self, plan: Plan) -> Encoding:
        return Dense(wide=plan.target.kind == "cpu")

    def why_not(self, plan: Plan) -> Refusal | None:
        if plan.checkpoint.is_here and plan.task.generates:
            described = read_tokenizer(plan.checkpoint.text_files)
            if reason := bpe.why_not(described.content):
                return Refusal(reason)
        return super().why_not(plan)

    def write_graph(self, plan: Plan, config: GraphConfig, folder: Path) -> ExportLayout:
        layout = WeightsLayout({t.name: t for t in plan.tensors}, self.encoding(plan))
        build = OpenVINOBuilder(config, layout)
        plan.checkpoint.architecture.build(build, config)
        options = {"ACTIVATIONS_SCALE_FACTOR": ACTIVATIONS_SCALE}
        if (dtype := plan.profile.kv_cache.dtype) != "u8":  # every plugin's default
            options["KV_CACHE_PRECISION"] = OPENVINO.cache_types[dtype]
        graph = folder / OPENVINO.files["model"]
        graph.write_text(build.graph.to_xml({"runtime_options": options}), encoding="utf-8")
        return ExportLayout((graph,), {folder / OPENVINO.files["weights"]: layout})

    def write_tokenizer(self, plan: Plan, folder: Path) -> None:
        """Write tokenizer and detokenizer, which only the pipeline that generates loads.

        Raises:
            ExportFailed: the checkpoint's kind of tokenizer is not supported.
            CheckpointError: a file of the tokenizer is malformed.
        """
        if not plan.task.generates:
            return
        files = plan.checkpoint.text_files
        described = read_tokenizer(files)
        stored = bpe.read_bpe(described.content, files.where(TOKENIZER_FILE))
        known = replace(stored, splits_special=described.settings.splits_special)
        tokens = runtime_tokens(files, described)
        info = tokenizer.runtime_info(tokens, find_chat_template(files))
        layout = WeightsLayout({}, Dense())
        padding = next((i for i in (tokens.padding, *tokens.ends) if i is not None), 0)
        graph = tokenizer.tokenizer(known, layout, padding=padding, longest=plan.context)
        _write(graph, layout, info, folder / OPENVINO.files["tokenizer"])
        layout = WeightsLayout({}, Dense())
        graph = tokenizer.detokenizer(known, layout)
        _write(graph, layout, info, folder / OPENVINO.files["detokenizer"])


def _write(graph: Graph, layout: WeightsLayout, info: dict[str, object], file: Path) -> None:
    file.write_text(graph.to_xml(info), encoding="utf-8")
    with file.with_suffix(".bin").open("wb") as out:
        for offset, content in layout.inlined:
            out.seek(offset)
            out.write(content)
