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
