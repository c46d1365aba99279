"""transformers and compressed-tensors read a bundle of the format safetensors as it is meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qdeploy import models
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import open_weights
from qdeploy.deploy.export import export
from qdeploy.exporters.native import NativeExporter
from qdeploy.interface import Progress
from qdeploy.planning.plan import Plan
from tests.support import quantized as q
from tests.support.native import resolve
from tests.support.tiny import SPARSE

torch = pytest.importorskip("torch", reason="needs qdeploy[parity]")
transformers = pytest.importorskip("transformers", reason="needs qdeploy[parity]")
pytest.importorskip("compressed_tensors", reason="needs qdeploy[parity]")

INT4 = '{ dtype = "int4", group_size = 128, symmetric = true }'
INT8 = '{ dtype = "int8", symmetric = true }'
FP8 = '{ dtype = "fp8" }'
BYTES = {"linear": INT8, "head": INT4, "graph": 'input_activations = "int8"'}
EXACT, ROUNDED, IN_BYTES = 1e-4, 0.25, 0.7
"""Of logits up to 10: in float32; with weights, scales and activations in bfloat16, where those of
floats differ by 0.10; and with inputs in bytes, 0.34."""
SCHEMES: dict[str, tuple[dict[str, str], float]] = {
    "int4 sym g128, and the head": ({"linear": INT4, "head": INT4}, EXACT),
    "int4 asym g32, the head int8": (
        {"linear": '{ dtype = "int4", group_size = 32 }', "head": INT8}, EXACT,
    ),
    "int4 sym channel": ({"linear": '{ dtype = "int4", symmetric = true }'}, EXACT),
    "int8 asym g64": ({"linear": '{ dtype = "int8", group_size = 64 }'}, EXACT),
    "int8 by row": ({"linear": INT8}, EXACT),
    "bytes by bytes": (BYTES, IN_BYTES),
    "fp8 by row": ({"linear": FP8, "head": FP8}, EXACT),
    "fp8 by fp8": ({"linear": FP8, "graph": 'input_activations = "fp8"'}, IN_BYTES),
    "floats": ({}, EXACT),
    "bfloat16": ({"linear": INT4, "head": INT4, "graph": 'activations = "bf16"'}, ROUNDED),
}  # fmt: skip


def bundle_of(plan: Plan, folder: Path) -> Path:
    assert NativeExporter().why_not(plan) is None
    return export(plan, NativeExporter(), folder, Progress(), force=False).path


@pytest.mark.parametrize("scheme", SCHEMES)
def test_transformers_loads_all_of_it_and_computes_with_the_same_weights(
    scheme: str, tmp_path: Path
) -> None:
    """Weights that it does not find are random, and are told in its report only."""
    options, close = SCHEMES[scheme]
    plan = resolve(models.path("qwen3-nano"), format="safetensors", **options)  # type: ignore[arg-type]
    folder = bundle_of(plan, tmp_path / "bundle")
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(report.values()), report
    found = read_checkpoint(folder)
    with open_weights(found) as source:
        values = {name: torch.from_numpy(source.rows(name)) for name in source.names}
    floats = transformers.AutoConfig.from_pretrained(models.path("qwen3-nano"))
    floats.tie_word_embeddings = plan.is_tied
    wanted = transformers.Qwen3ForCausalLM(floats).float()
    strayed = wanted.load_state_dict(values, strict=False)
    assert strayed.unexpected_keys == []
    assert strayed.missing_keys == (["lm_head.weight"] if plan.is_tied else [])
    ids = torch.tensor([[1, 5, 300, 20, 7, 9, 1000, 44]])
    with torch.inference_mode():
        difference = model(ids).logits.float() - wanted(ids).logits
    assert difference.abs().max() < close


def test_each_module_is_of_one_group_and_of_its_own_form(tmp_path: Path) -> None:
    """Queries in eight bits, down projections and one layer's keys as floats, the rest in four."""
    from compressed_tensors.quantization import QuantizationConfig
    from compressed_tensors.utils.match import match_targets

    dynamic = {r"+:.*\.q_proj$": {"bits": 8, "group_size": -1}}

    def by_name(name: str) -> dict[str, Any]:
        return {"bits": 8, "group": -1} if ".q_proj." in name else {}

    q.write_quantized(
        tmp_path / "model", q.gptq, q.gptq_settings(dynamic=dynamic, sym=True), SPARSE,
        by_name=by_name, floats=("layers.0.self_attn.k_proj", "down_proj"),
        symmetric=True,
    )  # fmt: skip
    plan = resolve(tmp_path / "model", head=INT8, format="safetensors")
    folder = bundle_of(plan, tmp_path / "bundle")
    settings = read_checkpoint(folder).config.quantization_config
    config = QuantizationConfig.model_validate(settings)
    layer = torch.nn.Linear(1, 1)
    modules = {t.name.removesuffix(".weight"): t for t in plan.tensors if len(t.shape) == 2}
    del modules["model.embed_tokens"]
    for module, tensor in modules.items():
        groups = [
            g for g in config.config_groups.values() if match_targets(module, layer, g.targets)
        ]
        ignored = bool(match_targets(module, layer, config.ignore))
        assert ignored == (tensor.precision.dtype == "fp16"), module
        assert len(groups) == 1 - ignored, module
        for group in groups:
            assert group.weights.num_bits == tensor.precision.bits
            assert (group.weights.group_size or -1) == tensor.precision.group_size


def test_small_floats_are_rounded_as_by_torch() -> None:
    import numpy as np

    from qdeploy.quantization import e4m3

    bits = np.random.default_rng(0).integers(0, 2**32, 10**6, np.uint32)
    numbers = np.concatenate([bits.view(np.float32), np.linspace(-2, 2, 10**5, dtype=np.float32)])
    numbers = numbers[np.isfinite(numbers)].clip(-448, 448)  # torch makes more than that NaN
    wanted = torch.from_numpy(numbers).to(torch.float8_e4m3fn).view(torch.uint8)
    np.testing.assert_array_equal(e4m3.encode(numbers), wanted.numpy())


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("rows", [8, 19])
def test_words_are_those_of_the_library(bits: int, rows: int) -> None:
    import numpy as np
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32

    from qdeploy.exporters.native.safetensors.packing import Words
    from qdeploy.quantization.matrix import quantize
    from qdeploy.quantization.precision import Precision

    values = np.random.default_rng(0).standard_normal((rows, 96), np.float32)
    made = quantize(values, Precision(dtype=f"int{bits}", group_size=32))  # type: ignore[arg-type]
    assert made.zero_points is not None
    packed, middle = Words("float32").encode(made), 2 ** (bits - 1)
    for numbers, found, axis in (
        (made.codes, packed.codes, 1),
        (made.zero_points, packed.zero_points, 0),
    ):
        signed = torch.from_numpy((numbers.astype(np.int16) - middle).astype(np.int8))
        np.testing.assert_array_equal(found, pack_to_int32(signed, bits, axis).numpy())
