"""Where an adapter, its config and its model disagree: what counts, and what is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.read import read_checkpoint, with_adapter
from qdeploy.checkpoint.weights import open_weights
from qdeploy.errors import InputError
from tests.support import tiny
from tests.support.lora import adapter, draw, half
from tests.support.random_codes import write_random_awq
from tests.support.tiny import DENSE
from tests.support.weights import RawTensor, bf16, f32

Q, K = "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj"
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
UNTIED: dict[str, Any] = DENSE | {"tie_word_embeddings": False}
COLUMNS = DENSE["hidden_size"]


def factors(module: str, rows: int) -> dict[str, RawTensor]:
    return {half(module, "A"): f32(draw(4, COLUMNS)), half(module, "B"): f32(draw(rows, 4))}


def queries() -> dict[str, RawTensor]:
    return factors(Q, DENSE["num_attention_heads"] * DENSE["head_dim"])


def merged(folder: Path, tensors: dict[str, RawTensor], **settings: Any) -> Checkpoint:
    base = tiny.write(folder / "model", settings.pop("config", DENSE))
    targets = settings.pop("target_modules", [Q])
    return read_checkpoint(
        base, adapter=adapter(folder, tensors, target_modules=targets, **settings)
    )


def rows_of(checkpoint: Checkpoint, name: str) -> Any:
    with open_weights(checkpoint) as weights:
        return weights.rows(name)


def test_a_copy_of_the_models_own_weight_is_left_out(tmp_path: Path) -> None:
    own = tiny.draw(DENSE)[EMBEDDING]
    name = f"base_model.model.{EMBEDDING}"
    found = merged(tmp_path, queries() | {name: bf16(own)})
    assert found.dropped[name] == "a copy of the model's own weight"
    assert found.warnings == ()
    assert found.config.tie_word_embeddings


def test_a_copy_that_differs_counts(tmp_path: Path) -> None:
    other = tiny.draw(DENSE, seed=1)[EMBEDDING]
    found = merged(tmp_path, queries() | {f"base_model.model.{EMBEDDING}": bf16(other)})
    assert "a copy of model.embed_tokens.weight that differs" in found.warnings[0]
    assert np.array_equal(rows_of(found, EMBEDDING), other)


def test_tied_copies_that_differ_are_refused(tmp_path: Path) -> None:
    ends = {
        f"base_model.model.{name}": bf16(tiny.draw(UNTIED, seed=2)[name])
        for name in (EMBEDDING, HEAD)
    }
    with pytest.raises(InputError, match="an embedding and an lm_head that differ") as caught:
        merged(tmp_path, queries() | ends)
    assert "tie_word_embeddings = False" in (caught.value.fix or "")


def test_a_vocabulary_has_one_size(tmp_path: Path) -> None:
    larger = {f"base_model.model.{EMBEDDING}": f32(draw(2050, COLUMNS))}
    with pytest.raises(InputError, match="two sizes") as caught:
        merged(tmp_path, queries() | larger, config=UNTIED, modules_to_save=["embed_tokens"])
    assert "save_embedding_layers=True" in (caught.value.fix or "")


def test_layers_without_tensors_are_left_as_they_are(tmp_path: Path) -> None:
    found = merged(tmp_path, queries(), target_modules=[Q, K])
    assert f"adapts {K}, of which the adapter has no tensors" in found.warnings[0]
    assert np.array_equal(rows_of(found, f"{K}.weight"), tiny.draw(DENSE)[f"{K}.weight"])


def test_tensors_of_other_layers_are_ignored(tmp_path: Path) -> None:
    keys = factors(K, DENSE["num_key_value_heads"] * DENSE["head_dim"])
    found = merged(tmp_path, queries() | keys)
    assert f"tensors of {K}, which its adapter_config.json does not adapt" in found.warnings[0]
    assert set(found.dropped) == set(keys)
    assert np.array_equal(rows_of(found, f"{K}.weight"), tiny.draw(DENSE)[f"{K}.weight"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"modules_to_save": ["lm_head"]}, "modules_to_save has 'lm_head', and no tensor is of it"),
        ({"trainable_token_indices": [3]}, "trainable_token_indices has 'embed_tokens'"),
    ],
)
def test_what_the_config_says_is_saved_is_there(
    tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        merged(tmp_path, queries(), config=UNTIED, **settings)


def test_codes_are_kept_except_where_the_adapter_changes_them(tmp_path: Path) -> None:
    base = read_checkpoint(write_random_awq(tmp_path / "model", DENSE))
    found = with_adapter(base, adapter(tmp_path, queries(), target_modules=[Q]))
    sources = {weight.name: weight.source for weight in found.weights}
    assert sources[f"{K}.weight"] is base.stored.sources[f"{K}.weight"]
    changed = sources[f"{Q}.weight"]
    assert changed.precision is None
    assert changed.why_not_codes() == "the adapter changes the weight"
    a, b = (values.data for values in queries().values())
    wanted = rows_of(base, f"{Q}.weight") + 6 / 4 * (b @ a)
    assert np.allclose(rows_of(found, f"{Q}.weight"), wanted, atol=1e-4)
