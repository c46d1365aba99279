"""A device that a bundle's profile is not for names a profile that is."""

from __future__ import annotations

from pathlib import Path

import pytest

import qdeploy

pytest.importorskip("torch")

SMALL_CHIP = "simulated:4"
"""An Ascend 310P, which has no bfloat16."""


def test_a_chip_without_bfloat16_names_the_profile_for_it(tmp_path: Path) -> None:
    bundle = qdeploy.export("qwen3-nano", target="ascend", output=tmp_path / "usual")
    assert bundle.manifest.profile.graph.activations == "bf16"
    with pytest.raises(qdeploy.QdeployError, match=r"310P\) computes in float16") as caught:
        qdeploy.load(bundle, device=SMALL_CHIP, simulate=True)
    words = (caught.value.fix or "").split()
    assert words[-2:] == ["--profile", "ascend-int8-310p"]
    small = qdeploy.export(
        "qwen3-nano", target="ascend", output=tmp_path / "small", profile=words[-1]
    )
    with qdeploy.load(small, device=SMALL_CHIP, simulate=True) as model:
        assert len(model.score(model.tokenizer.encode("1 + 1"))) > 0
        assert model.placement.nodes


def test_inputs_are_rounded_for_linear_layers_alone(tmp_path: Path) -> None:
    """A head in four bits goes with linear layers that round their inputs to eight."""
    profile = tmp_path / "mixed.toml"
    profile.write_text(
        'schema = 1\ntarget = "cpu"\nformat = "safetensors"\nwhy = "A test."\n'
        '[weights]\nlinear = { dtype = "int8", symmetric = true }\nembedding = { dtype = "fp16" }\n'
        'lm_head = { dtype = "int4", symmetric = true, group_size = 128 }\n'
        '[graph]\nactivations = "bf16"\ninput_activations = "int8"\n[kv_cache]\ndtype = "bf16"\n',
        encoding="utf-8",
    )
    bundle = qdeploy.export("qwen3-nano", target="cpu", output=tmp_path / "bundle", profile=profile)
    with qdeploy.load(bundle) as model:
        assert "aten::_int_mm" in model.placement.proof
        assert "1 x aten::_weight_int4pack_mm_for_cpu" in model.placement.proof
