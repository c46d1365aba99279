"""The embedded models are what they claim to be, and held-out questions are not trained on."""

from __future__ import annotations

from itertools import islice
from random import Random

import pytest
from safetensors import safe_open

from qdeploy import models
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.storage.hashing import file_sha256
from qdeploy.tokenization.tokenizer import Tokenizer
from tools.nano import heldout
from tools.nano.tasks import stream

MOST_BYTES = 12_000_000

each_model = pytest.mark.parametrize("name", models.EMBEDDED)


@each_model
def test_is_a_small_qwen3_checkpoint_with_its_own_head_dim(name: str) -> None:
    found = read_checkpoint(models.path(name))
    config = found.config
    assert found.nbytes <= MOST_BYTES
    assert {t.dtype for t in found.tensors} == {"BF16"}
    assert config.head_dim != config.hidden_size // config.num_attention_heads
    assert config.num_key_value_heads < config.num_attention_heads
    assert config.rope_theta == 1e6
    assert all(t.shape[-1] % 128 == 0 for t in found.tensors if len(t.shape) == 2)


def test_one_is_dense_and_tied_the_other_has_experts() -> None:
    dense, moe = (read_checkpoint(models.path(name)).config for name in models.EMBEDDED)
    assert (dense.name, moe.name) == ("Qwen3ForCausalLM", "Qwen3MoeForCausalLM")
    assert dense.tie_word_embeddings
    assert moe.num_experts is not None
    assert moe.num_experts >= 8
    assert moe.num_experts_per_tok == 2


@each_model
def test_the_tokenizer_is_a_small_version_of_qwens(name: str) -> None:
    tokenizer = Tokenizer(models.path(name))
    assert 2000 <= tokenizer.vocab_size <= 4096
    assert len(tokenizer.encode("1234567890")) == 10
    for token in ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>"):
        assert len(tokenizer.encode(token)) == 1
    assert tokenizer.has_thinking_switch
    assert tokenizer.stop_ids == {
        tokenizer.id_of(token) for token in ("<|im_end|>", "<|endoftext|>")
    }


@each_model
def test_the_golden_logits_are_of_these_weights(name: str) -> None:
    folder = models.path(name)
    with safe_open(folder / "golden.safetensors", framework="np") as golden:
        told = golden.metadata()
    assert told["model_sha256"] == file_sha256(folder / "model.safetensors")
    assert told["transformers"]
    assert told["torch"]


def test_an_unknown_name_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="qwen3-nano"):
        models.path("qwen3-mini")


def test_there_are_five_hundred_distinct_held_out_questions() -> None:
    questions = [q.question for q in models.heldout()]
    assert len(questions) == len(set(questions)) >= 500


def test_the_held_out_file_is_what_its_seed_draws() -> None:
    drawn = [(s.task, s.language, s.question, s.answer) for s in heldout.samples()]
    assert drawn == [(q.task, q.language, q.question, q.answer) for q in models.heldout()]


def test_training_leaves_held_out_questions_out() -> None:
    """The filter is necessary, because there are few short questions, and it works."""
    banned = heldout.keys()
    drawn = [sample.key for sample in islice(stream(Random(1)), 5000)]
    assert set(drawn) & banned
    training = islice(heldout.training_samples(Random(1)), 5000)
    assert not {sample.key for sample in training} & banned
