"""A family outside of the tree, added as docs/adding-an-architecture.md says."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qdeploy import registry
from qdeploy.architectures.table import ARCHITECTURES, architectures
from qdeploy.checkpoint.read import read_checkpoint, with_adapter
from qdeploy.checkpoint.weights import check_weights, open_weights
from qdeploy.deploy import run
from qdeploy.deploy.export import export, prepare
from qdeploy.errors import CheckpointError, InputError, QdeployError, TargetUnavailable
from qdeploy.interface import Progress, Request, Sampling
from tests.exporters.variants import CLOSE, tokens
from tests.support import native, tiny
from tests.support.checkpoints import header, write_header, write_sidecars
from tests.support.evaluating import logits_of
from tests.support.onnx_models import DynamicShapeModel, StaticShapeModel
from tests.support.plugins import registry_of, write_distribution
from tests.support.running import Model
from tests.support.weights import f32, save

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "adding-an-architecture.md"
CONFIG: dict[str, Any] = {
    "architectures": ["ToyForCausalLM"], "model_type": "toy_family", "width": 96,
    "inner_width": 160, "blocks": 2, "heads": 3, "head_dim": 32, "positions": 512,
    "vocab_size": 2048, "rope_theta": 1e4, "tie_word_embeddings": False,
}  # fmt: skip
LINEAR = ("query", "key", "value", "gate", "up")
Weights = dict[str, NDArray[np.float32]]


def shapes() -> dict[str, tuple[int, ...]]:
    width, inner = CONFIG["width"], CONFIG["inner_width"]
    found: dict[str, tuple[int, ...]] = {"tokens.weight": (CONFIG["vocab_size"], width)}
    for number in range(CONFIG["blocks"]):
        prefix = f"blocks.{number}."
        for name in LINEAR:
            rows = inner if name in ("gate", "up") else width
            found[f"{prefix}{name}.weight"] = (rows, width)
        found |= {
            prefix + "norm.weight": (width,), prefix + "out.weight": (width, width),
            prefix + "out.bias": (width,), prefix + "down.weight": (width, inner),
        }  # fmt: skip
    return found | {"norm.weight": (width,), "head.weight": (CONFIG["vocab_size"], width)}


def draw() -> Weights:
    generator = np.random.default_rng(0)
    made = {}
    for name, shape in shapes().items():
        values = generator.standard_normal(shape, dtype=np.float32)
        scaled = 1 + values / 8 if len(shape) == 1 else values / np.sqrt(shape[-1])
        made[name] = tiny.truncate(scaled.astype(np.float32))
    return made


def expected(weights: Weights, ids: list[int]) -> NDArray[np.float32]:
    """Logits, float32 [T, V], by the formula of the family."""
    heads, size = CONFIG["heads"], CONFIG["head_dim"]

    def norm(x: NDArray[Any], name: str) -> NDArray[Any]:
        root = np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + 1e-6)
        return np.asarray(x / root * weights[name])

    def rotated(x: NDArray[Any]) -> NDArray[Any]:
        turns = np.arange(len(x))[:, None, None] * 1e4 ** -(np.arange(size // 2) / (size // 2))
        first, second = np.split(x, 2, axis=-1)
        cos, sin = np.cos(turns), np.sin(turns)
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], -1)

    x = weights["tokens.weight"][ids]
    future = np.triu(np.full((len(ids), len(ids)), -np.inf), 1)
    for number in range(CONFIG["blocks"]):
        prefix = f"blocks.{number}."
        normed = norm(x, prefix + "norm.weight")
        q, k, v, gate, up = (normed @ weights[f"{prefix}{name}.weight"].T for name in LINEAR)
        query, key, value = (part.reshape(len(ids), heads, size) for part in (q, k, v))
        scores = np.einsum("qhd,khd->hqk", rotated(query), rotated(key)) / np.sqrt(size) + future
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        attended = np.einsum("hqk,khd->qhd", shares, value).reshape(len(ids), -1)
        x = (
            x + attended @ weights[prefix + "out.weight"].T + weights[prefix + "out.bias"]
            + (gate / (1 + np.exp(-gate)) * up) @ weights[prefix + "down.weight"].T
        )  # fmt: skip
    return np.asarray(norm(x, "norm.weight") @ weights["head.weight"].T, np.float32)


def entry_points() -> dict[str, dict[str, str]]:
    """The entry points that the page shows."""
    block = re.search(r"```toml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert block
    points: dict[str, dict[str, str]] = tomllib.loads(block[1])["project"]["entry-points"]
    return points


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[None]:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    shutil.copyfile(
        ROOT / "tests/toy_architecture/qdeploy_toy_family.py", folder / "qdeploy_toy_family.py"
    )
    write_distribution(folder, "toy-family", entry_points())
    with registry_of(folder):
        yield
    sys.modules.pop("qdeploy_toy_family", None)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    write_sidecars(folder, CONFIG)
    weights = draw()
    entries, _ = header({name: values.shape for name, values in weights.items()})
    write_header(folder / "model.safetensors", entries, 0)
    with (folder / "model.safetensors").open("ab") as out:
        for values in weights.values():
            out.write((values.view(np.uint32) >> 16).astype(np.uint16).tobytes())
    return folder


def test_the_page_tells_how_many_lines_each_family_took() -> None:
    rows = re.findall(r"\]\(\.\./(\S+\.py)\) \| (\d+) \|", PAGE.read_text("utf-8"))
    assert len(rows) == 3
    for file, lines in rows:
        assert len((ROOT / file).read_text("utf-8").splitlines()) == int(lines), file


def test_without_the_plugin_the_architecture_is_unknown(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError):
        read_checkpoint(checkpoint)


@pytest.mark.usefixtures("installed")
class TestInstalled:
    def test_its_tensors_and_their_roles_are_known(self, checkpoint: Path) -> None:
        made = read_checkpoint(checkpoint)
        check_weights(made)
        roles = {name: tensor.role for name, tensor in made.described.items()}
        assert roles["tokens.weight"] == "embedding"
        assert roles["head.weight"] == "lm_head"
        assert roles["blocks.1.out.bias"] == "bias"
        assert {t.role for t in native.resolve(checkpoint).tensors} == set(roles.values())

    @pytest.mark.parametrize(
        ("layer", "allowed"),
        [("blocks.1.query", True), ("head", True), ("tokens", False), ("norm", False)],
    )
    def test_an_adapter_may_change_its_linear_layers_alone(
        self, layer: str, allowed: bool, checkpoint: Path, tmp_path: Path
    ) -> None:
        rows, columns = (*shapes()[f"{layer}.weight"], 96)[:2]
        generator, half = np.random.default_rng(1), f"base_model.model.{layer}.lora_"
        a, b = (generator.standard_normal(s, np.float32) for s in ((4, columns), (rows, 4)))
        folder = tmp_path / "adapter"
        folder.mkdir()
        settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 4}
        (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
        factors = {f"{half}A.weight": f32(a), f"{half}B.weight": f32(b)}
        save(folder / "adapter_model.safetensors", factors)
        made = read_checkpoint(checkpoint)
        if not allowed:
            with pytest.raises(InputError, match="has no linear layer"):
                open_weights(with_adapter(made, folder))
            return
        with open_weights(with_adapter(made, folder)) as weights:
            merged = weights.rows(f"{layer}.weight")
        assert np.allclose(merged, draw()[f"{layer}.weight"] + b @ a, atol=1e-4)

    def test_a_head_that_is_tied_and_stored_all_the_same_counts_once(
        self, checkpoint: Path
    ) -> None:
        untied = read_checkpoint(checkpoint).parameters
        weights = draw()
        weights["head.weight"] = weights["tokens.weight"]
        save(checkpoint / "model.safetensors", {n: f32(v) for n, v in weights.items()})
        config = CONFIG | {"tie_word_embeddings": True}
        (checkpoint / "config.json").write_text(json.dumps(config), encoding="utf-8")
        tied = read_checkpoint(checkpoint)
        check_weights(tied)
        assert tied.parameters == untied - CONFIG["vocab_size"] * CONFIG["width"]

    def test_the_float_reference_computes_it(self, checkpoint: Path) -> None:
        ids = tokens(20)[0].tolist()
        assert np.abs(logits_of(checkpoint, ids) - expected(draw(), ids)).max() < CLOSE

    @pytest.mark.parametrize("format", ["openvino", "onnx", "onnx-static"])
    def test_every_format_computes_it(self, format: str, checkpoint: Path, tmp_path: Path) -> None:
        pytest.importorskip("openvino" if format == "openvino" else "onnxruntime")
        graph = "prefill = 16\ncontext = 64" if format == "onnx-static" else ""
        plan = native.resolve(checkpoint, format=format, graph=graph)
        folder = native.export(plan, tmp_path / "bundle")
        model = {"openvino": Model, "onnx": DynamicShapeModel, "onnx-static": StaticShapeModel}[
            format
        ](folder)
        ids = tokens(20)
        wanted = expected(draw(), ids[0].tolist())
        assert np.abs(model.feed(ids)[0] - wanted).max() < CLOSE

    @pytest.mark.slow
    @pytest.mark.parametrize("target", ["cpu", "intel-cpu"])
    def test_it_runs_in_int4(self, target: str, checkpoint: Path, tmp_path: Path) -> None:
        plan, exporter = prepare(str(checkpoint), target, profile_name=f"{target}-int4")
        bundle = export(plan, exporter, tmp_path / "bundle", Progress(), force=False)
        try:
            session = run.load(bundle, run.choose(bundle))
        except TargetUnavailable as absent:
            pytest.skip(absent.reason)
        with session:
            made = list(session.generate(Request((5, 6, 7), 8, Sampling(), frozenset())))
        assert len(made) == 8


@pytest.mark.parametrize("name", ["llama", "other"])
def test_a_plugin_that_claims_what_is_taken_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "second_llama.py").write_text(
        "from qdeploy.architectures.llama import Llama\n"
        f"class Second(Llama):\n    name = {name!r}\n"
    )
    write_distribution(tmp_path, "second", {ARCHITECTURES: {name: "second_llama:Second"}})
    with registry_of(tmp_path), pytest.raises(QdeployError, match="which is taken"):
        architectures()
    sys.modules.pop("second_llama", None)
    assert registry.targets()
