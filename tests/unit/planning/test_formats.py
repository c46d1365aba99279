"""Bundle formats: the row lists the files and the graph options of the format."""

from __future__ import annotations

from typing import Any

import pytest

from qdeploy.errors import ProfileError
from qdeploy.planning.formats import (
    BUILT_IN,
    ONNX,
    ONNX_STATIC,
    OPENVINO,
    SAFETENSORS,
    Format,
    format_of,
)
from qdeploy.planning.profile import Graph, Profile, load_profile, profile_names


def profile(format: Format, **graph: Any) -> Profile:
    shipped = load_profile("cpu-int4")
    return shipped.model_copy(update={"format": format.name, "graph": Graph(**graph)})


def test_names_of_formats_are_unique() -> None:
    assert len({row.name for row in BUILT_IN}) == len(BUILT_IN) == len(set(BUILT_IN))


@pytest.mark.parametrize("name", profile_names())
def test_every_shipped_profile_has_a_format_with_its_options(name: str) -> None:
    shipped = load_profile(name)
    format_of(shipped).check(shipped)


@pytest.mark.parametrize(
    ("format", "option", "value", "has"),
    [
        (OPENVINO, "attention", "plain", "none"),
        (OPENVINO, "prefill", 64, "none"),
        (SAFETENSORS, "prefill", 64, "graph.activations, graph.input_activations"),
        (ONNX, "input_activations", "int8", "graph.accuracy_level"),
        (ONNX_STATIC, "input_activations", "int8-static", "graph.accuracy_level"),
        (ONNX, "prefill", 64, "graph.accuracy_level, graph.activations, graph.attention"),
        (ONNX_STATIC, "attention", "plain", "graph.accuracy_level, graph.activations, graph.pre"),
        (ONNX_STATIC, "experts", "unrolled", "graph.prefill"),
    ],
)
def test_an_option_that_the_format_lacks_is_refused(
    format: Format, option: str, value: Any, has: str
) -> None:
    with pytest.raises(ProfileError) as caught:
        format.check(profile(format, **{option: value}))
    assert f"sets graph.{option}, which the format {format.name} does not have" in str(caught.value)
    assert caught.value.fix is not None
    assert has in caught.value.fix


@pytest.mark.parametrize("format", [ONNX, ONNX_STATIC])
def test_a_type_of_activations_that_the_format_lacks_is_refused(format: Format) -> None:
    with pytest.raises(ProfileError, match=f"bf16, which the format {format.name} does") as caught:
        format.check(profile(format, activations="bf16"))
    assert caught.value.fix == "set graph.activations to one of: fp32, fp16"


def test_common_options_and_default_values_are_accepted() -> None:
    OPENVINO.check(profile(OPENVINO, context=512, attention="gqa"))
    ONNX.check(profile(ONNX, attention="plain", experts="unrolled", accuracy_level=4))
    ONNX_STATIC.check(profile(ONNX_STATIC, prefill=64, activations="fp16"))
    for inputs in ("int8", "int8-static"):
        SAFETENSORS.check(profile(SAFETENSORS, activations="bf16", input_activations=inputs))


@pytest.mark.parametrize("inputs", ["none", "int8", "int8-static", "fp8"])
def test_static_scales_are_of_the_same_type(inputs: str) -> None:
    graph = profile(SAFETENSORS, input_activations=inputs).graph
    assert graph.inputs_dtype == inputs.removesuffix("-static")


def test_a_role_may_have_several_files() -> None:
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert SAFETENSORS.missing([*shards, "config.json"]) == []
    assert SAFETENSORS.missing(["config.json"]) == ["*.safetensors"]
    found = ["model.onnx", "generate.onnx", "model.onnx.data"]
    assert ONNX.missing(found) == ["score.onnx", "genai_config.json"]


def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(ProfileError, match="unknown format 'gguf'") as caught:
        format_of(profile(Format("gguf")))
    assert caught.value.fix == "choose one of: onnx, onnx-static, openvino, safetensors"
