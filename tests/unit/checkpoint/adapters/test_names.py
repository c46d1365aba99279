"""Names of adapters' tensors, as PEFT, trainers and runtimes write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdeploy.checkpoint.adapters.names import find_module, parse

MODULE = "model.layers.0.self_attn.q_proj"
MODULES = {MODULE, "model.embed_tokens", "lm_head", "model.layers.1.mlp.experts"}


@pytest.mark.parametrize(
    ("name", "module", "part"),
    [
        (f"base_model.model.{MODULE}.lora_A.weight", MODULE, "lora_A"),
        (f"base_model.model.{MODULE}.lora_B.default.weight", MODULE, "lora_B"),
        (f"base_model.model.{MODULE}.lora_B.my-adapter.weight", MODULE, "lora_B"),
        (f"base_model.model.{MODULE}.lora_A", MODULE, "lora_A"),
        (f"{MODULE}.lora_A.weight", MODULE, "lora_A"),
        ("layers.0.self_attn.q_proj.lora_A.weight", MODULE, "lora_A"),
        ("base_model.model.layers.0.self_attn.q_proj.lora_A.weight", MODULE, "lora_A"),
        (f"module.base_model.model.{MODULE}.lora_A.default.weight", MODULE, "lora_A"),
        (f"_orig_mod.base_model.model.{MODULE}.lora_A.weight", MODULE, "lora_A"),
        ("base_model.model.model.layers.0._fsdp_wrapped_module.self_attn.q_proj.lora_A.weight",
         MODULE, "lora_A"),
        ("base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight",
         MODULE, "lora_A"),
        ("base_model.model.language_model.model.layers.0.self_attn.q_proj.lora_A.weight",
         MODULE, "lora_A"),
        (f"base_model.model.{MODULE}.lora_magnitude_vector", MODULE, "lora_magnitude_vector"),
        (f"base_model.model.{MODULE}.lora_magnitude_vector.default.weight", MODULE,
         "lora_magnitude_vector"),
        ("base_model.model.model.embed_tokens.lora_embedding_A", "model.embed_tokens",
         "lora_embedding_A"),
        ("base_model.model.model.embed_tokens.lora_embedding_B.default", "model.embed_tokens",
         "lora_embedding_B"),
        ("base_model.model.model.embed_tokens.weight", "model.embed_tokens", "weight"),
        ("base_model.model.model.embed_tokens.base_layer.weight", "model.embed_tokens", "copy"),
        ("base_model.model.model.embed_tokens.token_adapter.base_layer.weight",
         "model.embed_tokens", "copy"),
        ("base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta",
         "model.embed_tokens", "trainable_tokens_delta"),
        ("base_model.model.model.embed_tokens.token_adapter.trainable_tokens_original.default",
         "model.embed_tokens", "not read"),
        ("base_model.model.lm_head.modules_to_save.default.weight", "lm_head", "saved"),
        ("base_model.model.lm_head.modules_to_save.weight", "lm_head", "saved"),
        ("base_model.model.lm_head.original_module.weight", "lm_head", "not read"),
        ("lm_head.weight", "lm_head", "weight"),
        (f"base_model.model.{MODULE}.base_layer.bias", MODULE, "bias"),
        ("base_model.model.model.layers.1.mlp.experts.lora_A.weight",
         "model.layers.1.mlp.experts", "lora_A"),
    ],
)  # fmt: skip
def test_a_name(name: str, module: str, part: str) -> None:
    found = parse(name)
    assert found
    assert find_module(found.module, MODULES) == module
    assert found.part == part


@pytest.mark.parametrize(
    ("name", "adapter"),
    [
        (f"{MODULE}.lora_A.weight", None),
        (f"{MODULE}.lora_A", None),
        (f"{MODULE}.lora_A.default.weight", "default"),
        ("lm_head.modules_to_save.other.weight", "other"),
    ],
)
def test_the_adapters_own_name_is_told_apart(name: str, adapter: str | None) -> None:
    found = parse(name)
    assert found
    assert found.adapter == adapter


@pytest.mark.parametrize(
    "name",
    [
        f"base_model.model.{MODULE}.hada_w1_a",
        f"base_model.model.{MODULE}.ia3_l",
        "prompt_embeddings",
        "model.layers.0.self_attn.rotary_emb.inv_freq",
    ],
)
def test_what_is_no_tensor_of_a_lora_adapter(name: str) -> None:
    assert parse(name) is None


@given(st.text(alphabet="ab.1_", max_size=30))
def test_any_module_is_found_under_its_own_name_alone(module: str) -> None:
    assert find_module(module, {"lm_head"}) in (None, "lm_head")
