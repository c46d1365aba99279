"""One config under the names of several versions of transformers, and names that disagree."""

from __future__ import annotations

from typing import Any

import pytest

from qdeploy.architectures.config import DecoderConfig
from qdeploy.architectures.table import config_warnings, parse_config
from tests.support.checkpoints import MOE, SMALL

SPARSE = SMALL | MOE
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}
PLAIN = {"rope_type": "default", "rope_theta": 1e6}


def without(config: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in keys}


def test_experts_are_counted_under_the_new_name() -> None:
    raw = without(SPARSE, "num_experts") | {"num_local_experts": 4}
    assert parse_config(raw) == parse_config(SPARSE)
    assert config_warnings(raw) == ()


@pytest.mark.parametrize(
    ("changes", "key", "value"),
    [
        ({"num_local_experts": 8}, "num_experts", 8),
        ({"rope_parameters": PLAIN | {"rope_theta": 5e6}}, "rope_theta", 5e6),
        ({"rope_scaling": YARN, "rope_parameters": PLAIN}, "rope_scaling", YARN),
        ({"rope_scaling": YARN, "rope_parameters": YARN | {"factor": 2.0}}, "rope_scaling", YARN),
        ({"rope_scaling": YARN, "rope_parameters": YARN | {"rope_theta": 3e4}}, "rope_theta", 1e6),
        ({"rope_scaling": YARN, "original_max_position_embeddings": 64}, "rope_scaling",
         YARN | {"original_max_position_embeddings": 64}),
        ({"architectures": ["FSDPQwen3MoeForCausalLM"]}, "name", "Qwen3MoeForCausalLM"),
        ({"rope_scaling": YARN | {"type": "linear"}}, "rope_scaling", YARN | {"type": "linear"}),
        ({"model_type": "qwen3"}, "name", "Qwen3ForCausalLM"),
        ({"architectures": ["LlamaForCausalLM"]}, "name", "Qwen3MoeForCausalLM"),
    ],
    ids=str,
)  # fmt: skip
def test_of_two_that_disagree_the_one_of_transformers_counts(
    changes: dict[str, Any], key: str, value: object
) -> None:
    """The values are those of AutoConfig in transformers 5.5.4."""
    raw = SPARSE | changes
    assert getattr(parse_config(raw), key) == value
    (warning,) = config_warnings(raw)
    assert "counts, as in transformers" in warning


@pytest.mark.parametrize(
    "changes",
    [
        {"num_local_experts": 4},
        {"rope_parameters": PLAIN},
        {"rope_scaling": YARN, "rope_parameters": YARN | {"rope_theta": 1e6}},
        {"rope_scaling": YARN | {"type": "yarn"}},
        {"rope_scaling": {"type": "default"}, "rope_parameters": PLAIN},
        {"dtype": "float16", "torch_dtype": "bfloat16"},
    ],
    ids=str,
)
def test_two_that_agree_are_no_news(changes: dict[str, Any]) -> None:
    assert config_warnings(SPARSE | changes) == ()


@pytest.mark.parametrize(
    ("names", "kind", "expected"),
    [
        (None, "qwen3_moe", "Qwen3MoeForCausalLM"),
        ([], "qwen3", "Qwen3ForCausalLM"),
        (["Unknown", "Qwen3ForCausalLM"], "qwen3", "Qwen3ForCausalLM"),
        (["Qwen3ForCausalLM"], "of_a_plugin", "Qwen3ForCausalLM"),
    ],
    ids=str,
)
def test_the_family_is_found_by_class_or_type(
    names: list[str] | None, kind: str, expected: str
) -> None:
    raw = SPARSE | {"architectures": names, "model_type": kind}
    assert parse_config(raw).name == expected
    assert config_warnings(raw) == ()


def test_a_scaling_may_have_its_first_positions_beside_it() -> None:
    raw = SMALL | {"rope_scaling": without(YARN, "original_max_position_embeddings")}
    beside = raw | {"original_max_position_embeddings": 512}
    assert parse_config(beside) == parse_config(SMALL | {"rope_scaling": YARN})
    assert config_warnings(beside) == ()


def test_an_activation_has_two_names() -> None:
    assert parse_config(SMALL | {"hidden_act": "swish"}) == parse_config(SMALL)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("Qwen3WithMore", {"auto_map": {"AutoModelForCausalLM": "modeling.Qwen3WithMore"}}),
        ("Qwen3ForTokenClassification", {}),
    ],
)
def test_a_class_of_its_own_code_or_for_another_task_is_not_of_the_family(
    name: str, more: dict[str, Any]
) -> None:
    config = parse_config(SMALL | more | {"architectures": [name]})
    assert (config.name, isinstance(config, DecoderConfig)) == (name, False)


def why_not(raw: dict[str, Any], **changes: Any) -> str | None:
    config = parse_config(raw | changes)
    assert isinstance(config, DecoderConfig)
    return config.why_not()


WINDOW = {"use_sliding_window": True, "sliding_window": 8}


@pytest.mark.parametrize(
    "changes",
    [
        {"sliding_window": 8, "max_window_layers": 0},
        {**WINDOW, "max_window_layers": 2},
        {**WINDOW, "sliding_window": None, "max_window_layers": 0},
        {**WINDOW, "max_window_layers": 0, "layer_types": ["full_attention"] * 2},
    ],
    ids=str,
)
def test_a_window_that_no_layer_has_changes_nothing(changes: dict[str, Any]) -> None:
    assert why_not(SMALL, **changes) is None


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({**WINDOW, "max_window_layers": 1}, "use_sliding_window"),
        ({"layer_types": ["sliding_attention", "full_attention"]}, "layer_types"),
        ({"layer_types": ["full_attention"]}, "layer_types"),
        ({"rope_parameters": {"full_attention": PLAIN}}, "rope_parameters"),
        ({"rope_scaling": YARN, "partial_rotary_factor": 0.5}, "partial_rotary_factor"),
    ],
    ids=str,
)
def test_layers_that_no_graph_has_are_refused(changes: dict[str, Any], key: str) -> None:
    assert f"({key})" in (why_not(SMALL, **changes) or "")


def test_all_layers_of_a_qwen3_moe_have_the_window_or_none() -> None:
    types = ["full_attention"] * 2
    assert why_not(SPARSE, **WINDOW, max_window_layers=2, layer_types=types)
    assert why_not(SPARSE, layer_types=["sliding_attention"] * 2) is None
