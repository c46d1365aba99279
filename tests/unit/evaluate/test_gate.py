"""Limits of the quality gate: validation, overrides, and messages for exceeded ones."""

from __future__ import annotations

from typing import Any

import pytest

from qdeploy import registry
from qdeploy.bundle import Manifest
from qdeploy.errors import ProfileError
from qdeploy.evaluate.divergence import Figures
from qdeploy.evaluate.encoding import LIMITS
from qdeploy.evaluate.gate import (
    SAME_CODES,
    SAME_CODES_EXPERTS,
    code_difference,
    gate_failures,
    override_limits,
    pair_limits,
)
from qdeploy.planning.constraints import broken_by
from qdeploy.planning.profile import Quality, load_profile, parse_profile, profile_names
from tests.support.bundles import profile_text, read_manifest, scripted_bundle

FIGURES = Figures(
    kl_mean=0.3, kl_p99=1, kl_max=2, top1_agreement=0.8, perplexity=12, reference_perplexity=10
)


def test_within_the_limits() -> None:
    assert gate_failures(FIGURES, Quality()) == ()
    exact = Quality(max_kl_mean=0.3, min_top1=0.8, max_perplexity_ratio=1.2)
    assert gate_failures(FIGURES, exact) == ()


def test_each_exceeded_limit_is_reported_with_value_and_limit() -> None:
    limits = Quality(max_kl_mean=0.1, min_top1=0.9, max_perplexity_ratio=1.1)
    kl, top1, ratio = gate_failures(FIGURES, limits)
    assert kl == "mean KL divergence 0.3 nats per token; at most 0.1"
    assert top1 == "top-1 agreement 0.8; at least 0.9"
    assert ratio == "perplexity 1.2 times the reference's; at most 1.1"


def test_an_override_keeps_the_other_limits() -> None:
    limits = override_limits(Quality(max_kl_mean=0.1, min_top1=0.9), {"min_top1": 0.5, "x": None})
    assert limits == Quality(max_kl_mean=0.1, min_top1=0.5)


def test_every_shipped_profile_has_the_limits_of_the_models_that_it_can_hold() -> None:
    for profile in map(load_profile, profile_names()):
        linear, target = profile.weights.linear, registry.target(profile.target)
        holds_encoders = registry.format_of(profile).encoder and not broken_by(
            profile, target, linear, "embed"
        )
        unset = {key for key, value in profile.quality.model_dump().items() if value is None}
        assert unset == (set() if holds_encoders else set(LIMITS)), profile.name


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("max_kl = 0.1", "unknown key 'quality.max_kl'.*did you mean 'max_kl_mean'"),
        ("max_kl_mean = 0", "quality.max_kl_mean"),
        ("max_kl_mean = nan", "quality.max_kl_mean"),
        ("min_top1 = 90", "quality.min_top1"),
        ("max_perplexity_ratio = 0.9", "quality.max_perplexity_ratio"),
    ],
)
def test_limits_are_read_strictly(line: str, says: str) -> None:
    with pytest.raises(ProfileError, match=f"(?s){says}"):
        parse_profile(f"{profile_text()}\n[quality]\n{line}\n", "it", where="it.toml")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    bundle = scripted_bundle(tmp_path_factory.mktemp("codes") / "bundle", answer="x")
    return read_manifest(bundle.path)


def compared(a: dict[str, Any], **changes: Any) -> str | None:
    return code_difference(Manifest.model_validate(a), Manifest.model_validate(a | changes))


def test_runtime_settings_do_not_change_the_codes(manifest: dict[str, Any]) -> None:
    settings = manifest["profile"] | {"runtime": {"properties": {"THREADS": 2}}}
    assert compared(manifest, profile=settings, target="cpu", format="onnx") is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"exporter": "optimum"}, "rounded them"),
        ({"tools": {"qdeploy": "9"}}, "rounded them"),
        (
            {"plan": {"by_precision": {"int8 asym channel": {"parameters": 9}}}},
            "different precisions",
        ),
    ],
)
def test_different_codes_are_detected(
    change: dict[str, Any], says: str, manifest: dict[str, Any]
) -> None:
    if "plan" in change:
        change = {"plan": manifest["plan"] | change["plan"]}
    assert says in str(compared(manifest, **change))


def test_calibration_changes_the_codes(manifest: dict[str, Any]) -> None:
    record = {
        "method": "made-up", "tokens": 9, "seed": 0, "texts": [], "importance": "none",
        "losses": {"a.weight": 0.01},
    }  # fmt: skip
    calibrated = manifest | {"calibration": record}
    assert compared(calibrated) is None
    assert compared(manifest, calibration=record) == "one of them is calibrated"
    other = record | {"losses": {"a.weight": 0.02}}
    assert compared(calibrated, calibration=other) == "they were calibrated differently"


def test_another_checkpoint_has_other_codes(manifest: dict[str, Any]) -> None:
    model = manifest["model"] | {"digest": "0" * 64}
    assert "different checkpoints" in str(compared(manifest, model=model))


def test_only_pairs_with_the_same_codes_have_limits() -> None:
    assert pair_limits(None, experts=False) == SAME_CODES
    assert pair_limits(None, experts=True) == SAME_CODES_EXPERTS
    assert pair_limits("they are of different checkpoints", experts=False) == Quality()
