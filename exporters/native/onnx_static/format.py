"""The files of a static ONNX bundle: two graphs over one file of weights."""

from __future__ import annotations

from pathlib import Path

from qdeploy.architectures.graph import GraphConfig
from qdeploy.errors import Refusal
from qdeploy.exporters.native.format import ExportLayout, GraphWriter
from qdeploy.exporters.native.onnx.graph import FLOATS
from qdeploy.exporters.native.onnx_static.builder import StaticBuilder
from qdeploy.exporters.native.onnx_static.packing import Rows
from qdeploy.exporters.native.weights_file.layout import WeightsLayout
from qdeploy.exporters.native.weights_file.packing import Encoding
from qdeploy.planning.formats import ONNX_STATIC
from qdeploy.planning.plan import Plan


class StaticFormat(GraphWriter):
    """Standard operators and fixed shapes; see `qdeploy.exporters.native.onnx_static`."""

    format = ONNX_STATIC
    tools = ("onnx",)
    tables = True

    def encoding(self, plan: Plan) -> Encoding:
        return Rows(FLOATS[plan.profile.graph.activations])

    def why_not(self, plan: Plan) -> Refusal | None:
        if plan.context < (prefill := plan.profile.graph.prefill):
            return Refusal(
                f"a context of {plan.context} is shorter than a pass over a prompt, {prefill}",
                f"--context {prefill} or more, or a smaller graph.prefill in the profile",
            )
        return super().why_not(plan)

    def write_tokenizer(self, plan: Plan, folder: Path) -> None:
        """Write nothing: no runtime of this format has a tokenizer."""

    def write_graph(self, plan: Plan, config: GraphConfig, folder: Path) -> ExportLayout:
        settings = plan.profile.graph
        layout = WeightsLayout({t.name: t for t in plan.tensors}, self.encoding(plan))
        prefill, decode, weights = (
            folder / ONNX_STATIC.files[role] for role in ("prefill", "decode", "weights")
        )
        for file, tokens in ((prefill, settings.prefill), (decode, 1)):
            build = StaticBuilder(
                config, layout, tokens=tokens, context=plan.context,
                floats=FLOATS[settings.activations], accuracy_level=settings.accuracy_level,
                dequantizes=plan.target.dequantizes,
            )  # fmt: skip
            plan.checkpoint.architecture.build(build, config)
            build.graph.write(file)
        return ExportLayout((prefill, decode), {weights: layout})
