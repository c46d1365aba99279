"""Writes the files of an ONNX bundle except the weights."""

from __future__ import annotations

import json
from pathlib import Path

from qdeploy.architectures.graph import GraphConfig
from qdeploy.architectures.tensors import layer_of
from qdeploy.errors import Refusal
from qdeploy.exporters.native.format import ExportLayout, GraphWriter
from qdeploy.exporters.native.onnx.builder import ContribBuilder, LogitsOf
from qdeploy.exporters.native.onnx.genai import genai_config
from qdeploy.exporters.native.onnx.graph import FLOATS
from qdeploy.exporters.native.onnx.packing import Blocks, block_size
from qdeploy.exporters.native.tokenizer.runtime_tokens import runtime_tokens
from qdeploy.exporters.native.weights_file.layout import WeightsLayout
from qdeploy.exporters.native.weights_file.packing import Encoding
from qdeploy.planning.formats import ONNX
from qdeploy.planning.plan import Plan
from qdeploy.planning.tensor_spec import TensorPlan
from qdeploy.tokenization.generation_config import read_generation_config
from qdeploy.tokenization.tokenizer_file import read_tokenizer

HEAD_STEP = 16


class OnnxFormat(GraphWriter):
    """ONNX Runtime's own operators, with onnxruntime-genai's configuration beside the model."""

    format = ONNX
    tools = ("onnx",)
    tables = True

    def encoding(self, plan: Plan) -> Encoding:
        return Blocks(FLOATS[plan.profile.graph.activations])

    def why_not(self, plan: Plan) -> Refusal | None:
        forms = {(layer_of(t.name), _form(t)) for t in plan.tensors if t.expert}
        layers = {layer for layer, _ in forms}
        if plan.profile.graph.experts == "fused" and len(forms) > len(layers):
            return Refusal(
                "experts of one layer would have blocks of several sizes or forms, and QMoE takes "
                "one",
                'set graph.experts = "unrolled" in the profile',
            )
        head = plan.checkpoint.config.head_dim
        if plan.profile.graph.attention == "gqa" and head % HEAD_STEP:
            return Refusal(
                f"GroupQueryAttention takes heads of a multiple of {HEAD_STEP}, and these have "
                f"{head}",
                'set graph.attention = "plain" in the profile',
            )
        return super().why_not(plan)

    def write_tokenizer(self, plan: Plan, folder: Path) -> None:
        """Write nothing: onnxruntime-genai reads the checkpoint's own files."""

    def write_graph(self, plan: Plan, config: GraphConfig, folder: Path) -> ExportLayout:
        """Write three models over the same weights; other tasks than generation have one.

        onnxruntime-genai's `Engine` and its batches of prompts of several lengths want logits of
        every token, of which they read one. `model.onnx` is for them: it computes that one. The
        copies take memory, four bytes for each token of a pass and of the vocabulary, so that
        qdeploy itself generates with a model that has the logits of the last token alone. Scoring
        needs those of every token.
        """
        layout = WeightsLayout({t.name: t for t in plan.tensors}, self.encoding(plan))
        weights = {folder / ONNX.files["weights"]: layout}
        graphs: dict[Path, LogitsOf] = {folder / ONNX.files["model"]: "repeated"}
        if plan.task.generates:
            graphs[folder / ONNX.files["generate"]] = "last"
            graphs[folder / ONNX.files["score"]] = "every"
        for file, logits in graphs.items():
            build = ContribBuilder(
                config, layout, plan.profile.graph, context=plan.context, logits=logits
            )
            plan.checkpoint.architecture.build(build, config)
            build.graph.write(file)
        if plan.task.generates:
            self._write_genai_config(plan, config, folder)
        return ExportLayout(tuple(graphs), weights)

    def _write_genai_config(self, plan: Plan, config: GraphConfig, folder: Path) -> None:
        files = plan.checkpoint.text_files
        about = genai_config(
            config,
            plan.checkpoint.architecture.genai_type,
            plan.context,
            read_generation_config(files.folder),
            runtime_tokens(files, read_tokenizer(files)),
        )
        (folder / ONNX.files["genai_config"]).write_text(
            json.dumps(about, indent=2) + "\n", encoding="utf-8"
        )


def _form(tensor: TensorPlan) -> tuple[str, bool, int]:
    """What the weights of all experts of a layer must have in common for one operator."""
    precision = tensor.precision
    size = 0 if precision.dtype == "fp16" else block_size(precision, tensor.shape[-1])
    return precision.dtype, precision.symmetric, size
