"""Profiles: one TOML file for each target and quantization scheme.

Profiles are read strictly: an unknown key is an error that names the file, the key and the nearest
known key, so a typo never silently selects a default.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from qdeploy.errors import ProfileError, did_you_mean
from qdeploy.planning.calibration import CalibrationSettings
from qdeploy.quantization.precision import Precision
from qdeploy.storage.toml_file import Strict, build_strict, parse_toml

FLOAT_BYTES = {"fp16": 2, "bf16": 2, "fp32": 4}


class Weights(Strict):
    """Precision by the role of a weight.

    Attributes:
        linear: projections of attention and MLP, experts included.
        group_fallback: for rows that the group size does not divide. `smaller` uses the largest
            power of two from 32 up that divides them, or else int8 per channel; `error` refuses the
            plan.
    """

    linear: Precision
    embedding: Precision = Precision(dtype="int8")
    lm_head: Precision = Precision(dtype="int8")
    router: Precision = Precision(dtype="fp16")
    group_fallback: Literal["smaller", "error"] = "smaller"


class Rule(Strict):
    """Another precision for the linear weights of some models.

    Attributes:
        above_parameters: applies to models with more parameters than this.
        moe: applies to mixture-of-experts models only (true) or to dense models only (false).
    """

    above_parameters: float | None = Field(default=None, gt=0)
    moe: bool | None = None
    linear: Precision
    why: str

    @model_validator(mode="after")
    def _conditional(self) -> Rule:
        if self.above_parameters is None and self.moe is None:
            raise ValueError("a rule needs above_parameters or moe")
        return self

    def applies(self, parameters: int, *, moe: bool) -> bool:
        return parameters > (self.above_parameters or 0) and self.moe in (None, moe)


class KVCache(Strict):
    """Element type of the key-value cache at run time."""

    dtype: Literal["u8", "fp16", "bf16", "fp32"]

    @property
    def bytes_per_element(self) -> int:
        return {"u8": 1, **FLOAT_BYTES}[self.dtype]


class Runtime(Strict):
    """Settings passed to the runtime unchanged, under the runtime's own names."""

    properties: dict[str, str | int | float | bool] = Field(default_factory=dict)


class Graph(Strict):
    """Options of a bundle's graph. `Format.graph_options` lists those that a format has.

    Attributes:
        activations: element type of activations, and of what else the format stores in it.
        input_activations: what linear layers round their inputs to: token by token, or by one
            scale for each layer, which calibration finds (`int8-static`).
        accuracy_level: the type that matrix products may round activations to: 4 is int8 block by
            block, 0 is no rounding (ONNX Runtime's `MatMulNBits`).
        attention: `gqa` is ONNX Runtime's one operator for all of it; `plain` says it in ONNX's
            own, for engines that do not take that one.
        experts: `fused` is ONNX Runtime's one operator for a mixture; `unrolled` multiplies with
            every expert in turn, for engines that do not take that one, or get it wrong.
        prefill: tokens of one pass over a prompt, where shapes are fixed.
        context: tokens exported for unless --context says otherwise; None is the model's own limit.
            Where shapes are fixed, every step costs as much as this long a context.
    """

    activations: Literal["fp32", "fp16", "bf16"] = "fp32"
    input_activations: Literal["none", "int8", "int8-static", "fp8"] = "none"
    accuracy_level: Literal[0, 1, 2, 3, 4] = 0
    attention: Literal["gqa", "plain"] = "gqa"
    experts: Literal["fused", "unrolled"] = "fused"
    prefill: int = Field(default=128, ge=1, le=4096)
    context: int | None = Field(default=None, gt=1)

    @property
    def inputs_dtype(self) -> Literal["none", "int8", "fp8"]:
        """Element type of rounded inputs, however their scales are found."""
        found = self.input_activations
        return "int8" if found == "int8-static" else found


class Quality(Strict):
    """Limits on the difference from the float checkpoint, which `qdeploy eval` checks.

    Attributes:
        max_kl_mean: largest mean KL divergence, in nats a token.
        min_top1: smallest share of positions where both have the same most probable token.
        max_perplexity_ratio: largest perplexity relative to the float checkpoint's.
        min_cosine: of embedding models: smallest cosine of any text's vector to the float one.
        max_score_difference: of reranking models: largest difference of any pair's score.
    """

    max_kl_mean: float | None = Field(default=None, gt=0)
    min_top1: float | None = Field(default=None, gt=0, le=1)
    max_perplexity_ratio: float | None = Field(default=None, ge=1)
    min_cosine: float | None = Field(default=None, gt=0, le=1)
    max_score_difference: float | None = Field(default=None, gt=0, le=1)


class Profile(Strict):
    """The quantization and runtime settings for a target.

    Attributes:
        name: the file's stem; not written in the file.
        format: name of the bundle format; `registry.format_of` gives its row.
        why: one line for a person choosing between profiles.
        calibration: how linear weights are calibrated; None where they are rounded alone.
    """

    name: str
    schema_version: Literal[1] = Field(alias="schema")
    target: str
    format: str
    why: str = Field(min_length=1, max_length=300, pattern=r"^[^\n]+$")
    weights: Weights
    rules: tuple[Rule, ...] = ()
    kv_cache: KVCache
    graph: Graph = Graph()
    runtime: Runtime = Runtime()
    quality: Quality = Quality()
    calibration: CalibrationSettings | None = None

    @model_serializer(mode="wrap")
    def _as_before_calibration(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave the table out where it is not set: digests and keys hold for older bundles."""
        dumped: dict[str, Any] = handler(self)
        return {k: v for k, v in dumped.items() if k != "calibration" or v is not None}

    def linear_for(self, parameters: int, *, moe: bool) -> Precision:
        """Precision of the linear weights of a model: the last rule that applies decides."""
        applying = [r.linear for r in self.rules if r.applies(parameters, moe=moe)]
        return applying[-1] if applying else self.weights.linear


UNSHIPPED = "give the path of a TOML file, or a name that qdeploy profiles lists"


@cache
def profile_names() -> tuple[str, ...]:
    """Names of the profiles that ship with qdeploy, sorted."""
    files = (Path(f.name) for f in resources.files("qdeploy.profiles").iterdir())
    return tuple(sorted(file.stem for file in files if file.suffix == ".toml"))


def profile_source(name: str) -> str:
    """TOML text of a profile, by its shipped name or from a path that ends in `.toml`.

    Raises:
        ProfileError: no such profile, or a file that cannot be read.
    """
    if name.endswith(".toml"):
        try:
            return Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            known = [path.name for path in Path(name).parent.glob("*.toml")]
            fix = did_you_mean(Path(name).name, known) if known else UNSHIPPED
            raise ProfileError(f"cannot read the profile ({error})", where=name, fix=fix) from None
    if name not in profile_names():
        fix = did_you_mean(name, profile_names())
        if Path(f"{name}.toml").is_file():
            fix = f"for the file, {name}.toml"
        raise ProfileError(f"unknown profile {name!r}", fix=fix)
    file = resources.files("qdeploy.profiles") / f"{name}.toml"
    return file.read_text(encoding="utf-8")


def load_profile(name: str) -> Profile:
    """Read a profile by its shipped name, or from a path that ends in `.toml`.

    Raises:
        ProfileError: no such profile, or an invalid file.
    """
    if not name.endswith(".toml"):
        return _shipped(name)
    return parse_profile(profile_source(name), Path(name).name.removesuffix(".toml"), where=name)


@cache
def _shipped(name: str) -> Profile:
    return parse_profile(profile_source(name), name, where=f"{name}.toml")


def profiles_of(target: str) -> list[Profile]:
    """Return the shipped profiles of *target*: int4 first, then by name."""
    found = [p for p in map(load_profile, profile_names()) if p.target == target]
    return sorted(found, key=lambda p: (p.weights.linear.dtype != "int4", p.name))


def default_profile(target: str, formats: Collection[str] = ()) -> Profile:
    """Return the first of the profiles of *target*, int4 first.

    The first one of *formats*, the bundle formats that can run here, comes before all others.

    Raises:
        ProfileError: no profile is written for this target.
    """
    candidates = profiles_of(target)
    if not candidates:
        raise ProfileError(
            f"no profile ships for target {target!r}", fix="give one with --profile FILE.toml"
        )
    return next((p for p in candidates if p.format in formats), candidates[0])


def parse_profile(text: str, name: str, *, where: object) -> Profile:
    """Build a profile from TOML text; *where* names the file in errors."""
    table = parse_toml(text, where=where, error=ProfileError)
    if "name" in table:
        raise ProfileError(
            "key 'name' is not allowed", where=where, fix="a profile is named by its file"
        )
    return build_strict(Profile, {**table, "name": name}, where=where, error=ProfileError)
