"""`config.json`: defaults, accepted values and impossible ones."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from qdeploy.architectures.config import DecoderConfig, ModelConfig
from qdeploy.architectures.qwen3_moe import Qwen3MoeConfig
from qdeploy.architectures.table import parse_config
from qdeploy.storage.toml_file import fault
from tests.support.checkpoints import MOE, SMALL

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
OTHER = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 32768}
PLAIN = {"rope_type": "default", "rope_theta": 5e6}
OTHER_FAMILY = {"architectures": ["GemmaForCausalLM"], "model_type": "gemma"}


def parse(**changes: Any) -> ModelConfig:
    return parse_config(SMALL | changes)


def test_what_is_left_out_is_as_in_transformers() -> None:
    bare = {key: value for key, value in (SMALL | MOE).items() if key != "rope_theta"}
    bare |= {"num_experts": 16}
    del bare["num_experts_per_tok"]
    config = parse_config(bare)
    assert isinstance(config, Qwen3MoeConfig)
    assert (config.rms_norm_eps, config.rope_theta) == (1e-6, 1e4)
    assert (config.num_experts_per_tok, config.norm_topk_prob) == (8, False)


def test_a_dense_config_may_say_null_of_experts() -> None:
    config = parse(num_experts=None, num_experts_per_tok=None, mlp_only_layers=None)
    assert not config.is_moe


@pytest.mark.parametrize(
    ("changes", "theta", "scaling"),
    [
        # as the hub has it, and as transformers 5 writes it
        ({"rope_scaling": None}, 1e6, None),
        ({"rope_scaling": YARN}, 1e6, YARN),
        ({"rope_theta": None, "rope_parameters": PLAIN}, 5e6, None),
        ({"rope_theta": None, "rope_scaling": None, "rope_parameters": YARN | {"rope_theta": 5e6}},
         5e6, YARN | {"rope_theta": 5e6}),
        # both: what Qwen3Config of transformers 5.5.4 makes of them
        ({"rope_parameters": PLAIN}, 5e6, None),
        ({"rope_parameters": YARN}, 1e6, YARN),
        ({"rope_scaling": OTHER, "rope_parameters": YARN | {"rope_theta": 5e6}}, 1e6, OTHER),
        ({"rope_scaling": OTHER, "rope_parameters": PLAIN}, 1e6, OTHER),
        ({"rope_scaling": OTHER | {"rope_theta": 3e5}}, 3e5, OTHER | {"rope_theta": 3e5}),
        ({"rope_scaling": {"type": "default"}}, 1e6, None),
        ({"rope_theta": None}, 1e4, None),
    ],
    ids=str,
)  # fmt: skip
def test_positions_may_be_described_under_the_old_keys_and_the_new(
    changes: dict[str, Any], theta: float, scaling: dict[str, Any] | None
) -> None:
    config = parse(**changes)
    assert (config.rope_theta, config.rope_scaling) == (theta, scaling)


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("rms_norm_eps", [None, 0, -1, "x", "1e-6", NAN, INFINITE, 2]),
        ("rope_theta", [0, -1e6, 1, "x", NAN, INFINITE, 1e300, True, [1e6]]),
        ("norm_topk_prob", ["false", None, 1]),
        ("tie_word_embeddings", ["false", None, 1]),
        ("attention_bias", ["false"]),
        ("num_experts_per_tok", [-2, 0, 5, 1.5, "two"]),
        ("num_experts", [-1, 2**31, "four"]),
        ("num_key_value_heads", [3, 8, 0]),
        ("head_dim", [33, 1, 0]),
        ("num_hidden_layers", [2**31]),
        ("max_position_embeddings", [2**31]),
        ("rope_scaling", ["x", 1, ["a"]]),
        ("rope_parameters", ["x", ["a"], [], 0]),
        ("rope_scaling.factor", ["4", 0, -4, NAN, INFINITE, 1e300, True]),
        ("rope_scaling.original_max_position_embeddings", ["x", -5, 0, 1.5, 2**31]),
        ("rope_scaling.beta_fast", ["a", 0, -1, INFINITE, 1e300, 5e-324]),
        ("rope_scaling.beta_slow", ["a", 0, -1, NAN, 5e-324]),
        ("rope_scaling.attention_factor", ["a", -1, NAN]),
        ("rope_scaling.mscale", ["a", -1, NAN]),
        ("rope_scaling.truncate", ["no"]),
        ("rope_scaling.rope_type", [5, ["yarn"]]),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_key(key: str, values: list[Any]) -> None:
    for value in values:
        table, _, inner = key.partition(".")
        changes = {table: YARN | {inner: value}} if inner else {key: value}
        with pytest.raises(ValidationError) as caught:
            parse(**MOE | changes)
        assert fault(caught.value)[0] == key, value


def test_scaled_positions_can_be_counted_too() -> None:
    with pytest.raises(ValidationError) as caught:
        parse(rope_scaling=YARN | {"factor": 65536.0})
    assert fault(caught.value) == (
        "rope_scaling", "it makes 2147483648 positions, more than can be counted"
    )  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"num_key_value_heads": 3},
        {"head_dim": 33},
        {"rms_norm_eps": None},
        {"hidden_act": None},
        {"num_experts": 4, "num_experts_per_tok": None},
        {"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0, 1.1]}},
        {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e6}}},
    ],
    ids=str,
)
def test_another_architecture_need_not_keep_qwen3s_rules(changes: dict[str, Any]) -> None:
    assert not isinstance(parse(**OTHER_FAMILY | changes), DecoderConfig)


LLAMA = SMALL | {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
LLAMA3 = {
    "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}  # fmt: skip


def test_llama3s_positions_are_scaled_already() -> None:
    config = parse_config(LLAMA | {"max_position_embeddings": 131072, "rope_scaling": LLAMA3})
    assert config.longest_context == 131072
    assert config.scaling_for(1000) == config.scaling_for(131072) == LLAMA3


@pytest.mark.parametrize(
    ("scaling", "says"),
    [
        (LLAMA3 | {"low_freq_factor": None}, "'low_freq_factor' is missing"),
        (LLAMA3 | {"high_freq_factor": 1.0}, "'low_freq_factor' is not below"),
        ({"rope_type": "llama3", "factor": 8.0}, "is missing, which 'llama3' needs"),
        ({"type": "llama3", "factor": 8.0}, "is missing, which 'llama3' needs"),
    ],
)
def test_llama3_scaling_must_be_whole(scaling: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        parse_config(LLAMA | {"rope_scaling": scaling})


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_only_qwen3s_context_grows_beyond_its_config(name: str) -> None:
    config = parse_config(LLAMA | {"model_type": name, "max_position_embeddings": 40960})
    assert config.longest_context == 40960
    assert config.scaling_for(40960) is None
