"""What the native exporter accepts and refuses before it writes a byte."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdeploy.architectures.graph import GraphConfig
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.errors import ExportFailed, QdeployError
from qdeploy.exporters.native import NativeExporter, exporter
from qdeploy.exporters.native.format import ExportLayout
from qdeploy.exporters.native.openvino.format import OpenVINOFormat
from qdeploy.exporters.native.weights_file.layout import WeightsLayout
from qdeploy.interface import SCRATCH, Progress
from qdeploy.planning.plan import Plan, make_plan
from qdeploy.planning.profile import load_profile, parse_profile, profile_source
from qdeploy.targets import INTEL_CPU
from tests.support import native, tiny
from tests.support.tiny import DENSE, LLAMA, LLAMA3, QWEN2, SPARSE

Usage = namedtuple("Usage", "total used free")


def resolve(folder: Path, raw: dict[str, Any], name: str = "intel-cpu-int8") -> Plan:
    tiny.write(folder, raw)
    return make_plan(read_checkpoint(folder), load_profile(name), INTEL_CPU)


@pytest.mark.parametrize(
    "raw", [DENSE, SPARSE, QWEN2, LLAMA], ids=["dense", "experts", "qwen2", "llama"]
)
@pytest.mark.parametrize("name", ["intel-cpu-int8", "intel-cpu-int4"])
def test_known_families_are_taken(raw: dict[str, Any], name: str, tmp_path: Path) -> None:
    assert NativeExporter().why_not(resolve(tmp_path / "it", raw, name)) is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"architectures": ["GemmaForCausalLM"], "model_type": "gemma"}, "GemmaForCausalLM"),
        ({"attention_bias": True}, "attention_bias"),
        ({"use_sliding_window": True, "max_window_layers": 1}, "use_sliding_window"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "llama3"),
    ],
)
def test_other_models_are_refused(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    reason = NativeExporter().why_not(resolve(tmp_path / "it", DENSE | change))
    assert reason is not None
    assert named in reason.reason


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (QWEN2 | {"use_sliding_window": True, "max_window_layers": 1}, "use_sliding_window"),
        (QWEN2 | {"rope_scaling": LLAMA3}, "'llama3'; supported: 'default', 'yarn'"),
        (LLAMA | {"attention_bias": True}, "attention_bias"),
        (LLAMA | {"mlp_bias": True}, "mlp_bias"),
        (LLAMA | {"hidden_act": "gelu"}, "hidden_act"),
        (LLAMA | {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "'linear'"),
    ],
)
def test_what_a_family_does_not_support_is_refused(
    config: dict[str, Any], named: str, tmp_path: Path
) -> None:
    reason = NativeExporter().why_not(resolve(tmp_path / "it", config))
    assert reason is not None
    assert named in reason.reason
    assert reason.fix is None  # another exporter is looked for


def test_nf4_is_refused(tmp_path: Path) -> None:
    made = resolve(tmp_path / "it", DENSE)
    text = profile_source("intel-cpu-int8").replace('dtype = "int8" ', 'dtype = "nf4" ', 1)
    chosen = parse_profile(text, "nf4", where="a test")
    assert chosen.weights.linear.dtype == "nf4"
    refused = make_plan(made.checkpoint, chosen, INTEL_CPU)
    assert "nf4" in str(NativeExporter().why_not(refused))


@pytest.mark.parametrize(
    ("width", "precision", "taken"),
    [
        (65, '{ dtype = "int4" }', False),
        (65, '{ dtype = "int4", symmetric = true }', True),
        (65, '{ dtype = "int8" }', True),
        (66, '{ dtype = "int4" }', True),
    ],
)
def test_experts_that_end_within_a_byte_are_refused(
    width: int, precision: str, taken: bool, tmp_path: Path
) -> None:
    reason = NativeExporter().why_not(
        native.resolve(
            tiny.write(tmp_path / "it", SPARSE | {"moe_intermediate_size": width}),
            linear=precision,
        )
    )
    assert (reason is None) == taken


def test_want_of_disk_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = resolve(tmp_path / "it", DENSE)
    needed = made.bundle_bytes + max(t.nbytes for t in made.tensors)
    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, needed - 1))
    with pytest.raises(ExportFailed, match="of disk"):
        NativeExporter().export(made, folder, Progress())
    assert list(folder.iterdir()) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, needed))
    NativeExporter().export(made, folder, Progress())


def test_what_is_there_already_needs_no_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = resolve(tmp_path / "it", DENSE)
    folder = tmp_path / "out"
    folder.mkdir()
    NativeExporter().export(made, folder, Progress())
    room = max(t.nbytes for t in made.tensors) + made.bundle_bytes - made.weight_bytes
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, room))
    NativeExporter().export(made, folder, Progress())


def test_a_bad_weight_leaves_nothing_to_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tiny.draw(DENSE)
    weights["model.layers.1.mlp.up_proj.weight"][3, 4] = np.nan
    monkeypatch.setattr(tiny, "draw", lambda *_: weights)
    made = resolve(tmp_path / "it", DENSE)
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(QdeployError) as caught:
        NativeExporter().export(made, folder, Progress())
    assert caught.value.where == "model.layers.1.mlp.up_proj.weight"
    assert not (folder / SCRATCH).exists()


def test_progress_grows_to_the_size_of_the_weights(tmp_path: Path) -> None:
    class Noting(Progress):
        def __init__(self) -> None:
            self.bytes: list[int] = []

        def written(self, total_bytes: int) -> None:
            self.bytes.append(total_bytes)

    folder, progress = tmp_path / "out", Noting()
    folder.mkdir()
    NativeExporter().export(resolve(tmp_path / "it", DENSE), folder, progress)
    assert progress.bytes == sorted(progress.bytes)
    assert progress.bytes[-1] == (folder / "openvino_model.bin").stat().st_size


@pytest.mark.parametrize("raw", [DENSE, SPARSE], ids=["dense", "experts"])
def test_the_plan_predicts_the_size_of_the_weights(raw: dict[str, Any], tmp_path: Path) -> None:
    made = resolve(tmp_path / "it", raw, "intel-cpu-int4")
    folder = tmp_path / "out"
    folder.mkdir()
    NativeExporter().export(made, folder, Progress())
    size = (folder / "openvino_model.bin").stat().st_size
    spare = 64 * 3 * (len(made.tensors) + 100)  # every constant begins at a cache line
    assert made.weight_bytes <= size < made.weight_bytes + spare


def test_the_chat_template_travels_with_the_tokenizer(tmp_path: Path) -> None:
    made = resolve(tmp_path / "it", DENSE)
    (tmp_path / "it" / "chat_template.jinja").write_text('{{ "<é & ü>" }}', "utf-8")
    folder = tmp_path / "out"
    folder.mkdir()
    NativeExporter().export(made, folder, Progress())
    import xml.etree.ElementTree as ET

    settings = json.loads((tmp_path / "it" / "tokenizer_config.json").read_bytes())
    added = settings["added_tokens_decoder"]
    for name in ("openvino_tokenizer", "openvino_detokenizer"):
        root = ET.parse(folder / f"{name}.xml").getroot()  # noqa: S314
        info = {i.tag: i.attrib["value"] for i in root.findall("rt_info/*")}
        assert info["chat_template"] == '{{ "<é & ü>" }}'
        assert added[info["eos_token_id"]]["content"] == settings["eos_token"]


class Sharded(OpenVINOFormat):
    """The tensors of each layer in a file of their own, and all others in one."""

    def write_graph(self, plan: Plan, config: GraphConfig, folder: Path) -> ExportLayout:
        shards: dict[Path, WeightsLayout] = {}
        for tensor in plan.tensors:
            part = tensor.name.split(".")[2] if ".layers." in tensor.name else "rest"
            layout = shards.setdefault(
                folder / f"weights-{part}.bin",
                WeightsLayout({t.name: t for t in plan.tensors}, self.encoding(plan)),
            )
            layout.weight(tensor.name)
        graph = folder / "graph.txt"
        graph.write_text(str([w for s in shards.values() for w in s.weights]), encoding="utf-8")
        return ExportLayout((graph,), shards)


class Stopped(Exception):
    pass


class StopsAfter(Progress):
    """Ends the export, as a kill would, once so many bytes are written."""

    def __init__(self, most: float) -> None:
        self.bytes: list[int] = []
        self._most = most

    def written(self, total_bytes: int) -> None:
        self.bytes.append(total_bytes)
        if total_bytes > self._most:
            raise Stopped


def test_weights_in_several_files_are_written_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(exporter.WRITERS, "openvino", Sharded())
    made = resolve(tmp_path / "it", DENSE)
    whole, resumed, progress = tmp_path / "whole", tmp_path / "resumed", StopsAfter(np.inf)
    whole.mkdir()
    resumed.mkdir()
    NativeExporter().export(made, whole, progress)
    sizes = {p.name: p.stat().st_size for p in whole.glob("weights-*.bin")}
    assert set(sizes) == {f"weights-{part}.bin" for part in ("rest", 0, 1, 2)}
    assert progress.bytes == sorted(progress.bytes)
    assert progress.bytes[-1] == sum(sizes.values()) >= made.weight_bytes
    with pytest.raises(Stopped):
        NativeExporter().export(made, resumed, StopsAfter(sum(sizes.values()) / 2))
    assert (resumed / SCRATCH).is_dir()
    NativeExporter().export(made, resumed, Progress())
    for name in sizes:
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()
