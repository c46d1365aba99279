"""LoRA adapters: merged as PEFT would, or refused with the reason."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.read import with_adapter
from qdeploy.checkpoint.weights import WeightReader, open_weights
from qdeploy.errors import CheckpointError, InputError
from tests.support.checkpoints import SMALL
from tests.support.lora import Floats, adapter, draw, half
from tests.support.weights import FP8_CONFIG, RawTensor, bf16, f16, f32, fp8, save_checkpoint

Q, V = "model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.v_proj"
SHAPES = {Q: (40, 24), V: (16, 24)}


def factors(ranks: dict[str, int]) -> dict[str, RawTensor]:
    """A and B for some of the modules, of the given ranks."""
    made = {}
    for number, (module, rank) in enumerate(ranks.items()):
        rows, columns = SHAPES[module]
        made[half(module, "A")] = f32(draw(rank, columns, seed=10 + number))
        made[half(module, "B")] = f32(draw(rows, rank, seed=20 + number))
    return made


def base(folder: Path) -> Checkpoint:
    """Two linear layers, and the embedding with the head that is tied to it."""
    tensors = {f"{module}.weight": f32(draw(*shape)) for module, shape in SHAPES.items()}
    tensors["model.embed_tokens.weight"] = tensors["lm_head.weight"] = f32(draw(30, 24))
    return save_checkpoint(folder / "base", tensors)


def opened(folder: Path, tensors: dict[str, RawTensor], **changes: Any) -> WeightReader:
    return open_weights(with_adapter(base(folder), adapter(folder, tensors, **changes)))


def merged(made: dict[str, RawTensor], module: str, scale: float) -> NDArray[np.float64]:
    """W + scale * B @ A, in float64."""
    a, b = (made[half(module, which)].data.astype(np.float64) for which in "AB")
    weight = draw(*SHAPES[module]).astype(np.float64)
    return np.asarray(weight + scale * (b @ a))


def close(found: Floats, wanted: NDArray[np.float64]) -> bool:
    return np.allclose(found, wanted, rtol=1e-6, atol=1e-5)


def test_adapted_layers_change_and_others_do_not(tmp_path: Path) -> None:
    made = factors({Q: 4})
    with opened(tmp_path, made) as source:
        assert close(source.rows(f"{Q}.weight"), merged(made, Q, 6 / 4))
        assert np.array_equal(source.rows(f"{V}.weight"), draw(*SHAPES[V]))


@settings(deadline=None, max_examples=25)
@given(rank=st.integers(1, 24), start=st.integers(0, 40), size=st.integers(0, 40))
def test_rows_of_a_merged_weight(
    tmp_path_factory: pytest.TempPathFactory, rank: int, start: int, size: int
) -> None:
    made = factors({Q: rank})
    stop = min(start + size, 40)
    with opened(tmp_path_factory.mktemp("lora"), made, r=rank, lora_alpha=1) as source:
        found, whole = source.rows(f"{Q}.weight", start, stop), source.rows(f"{Q}.weight")
    assert close(whole, merged(made, Q, 1 / rank))
    assert np.array_equal(found, whole[start:stop])


@pytest.mark.parametrize(
    ("changes", "scale"),
    [
        ({"use_rslora": True}, 6 / math.sqrt(4)),
        ({"lora_alpha": 0.5}, 0.5 / 4),
        ({"alpha_pattern": {"q_proj": 10}}, 10 / 4),
        ({"alpha_pattern": {"layers.0.self_attn.q_proj": 10}}, 10 / 4),
        ({"alpha_pattern": {f"^{Q}": 10}}, 10 / 4),
        ({"alpha_pattern": {"layers.1.self_attn.q_proj": 10}}, 6 / 4),
        ({"alpha_pattern": {"proj": 10}}, 6 / 4),  # a whole part of the name, or a pattern for it
        ({"alpha_pattern": {".*proj": 10, "q_proj": 12}}, 10 / 4),  # the first that matches
        ({"r": 8, "rank_pattern": {"q_proj": 4}}, 6 / 4),
        ({"r": 8, "rank_pattern": {"q_proj": 4}, "use_rslora": True}, 6 / 2),
        ({"rank_pattern": None, "alpha_pattern": None}, 6 / 4),
        ({"fan_in_fan_out": True}, 6 / 4),  # PEFT takes it back for linear layers
        ({"init_lora_weights": "gaussian"}, 6 / 4),
        ({"rank_pattern": {"lm_head": 64}, "bias": "all"}, 6 / 4),
    ],
)
def test_the_scale_is_pefts(tmp_path: Path, changes: dict[str, Any], scale: float) -> None:
    made = factors({Q: 4})
    with opened(tmp_path, made, **changes) as source:
        assert close(source.rows(f"{Q}.weight"), merged(made, Q, scale))


def test_layers_may_differ_in_rank(tmp_path: Path) -> None:
    made = factors({Q: 4, V: 7})
    with opened(tmp_path, made, rank_pattern={"v_proj": 7}) as source:
        assert close(source.rows(f"{Q}.weight"), merged(made, Q, 6 / 4))
        assert close(source.rows(f"{V}.weight"), merged(made, V, 6 / 7))


@pytest.mark.parametrize("encode", [bf16, f16])
def test_adapters_in_half_precision(tmp_path: Path, encode: Any) -> None:
    exact = {
        name: np.round(stored.data * 8) / 8  # numbers that both types hold
        for name, stored in factors({Q: 4}).items()
    }
    with opened(tmp_path, {name: encode(values) for name, values in exact.items()}) as source:
        wanted = merged({name: f32(values) for name, values in exact.items()}, Q, 6 / 4)
        assert close(source.rows(f"{Q}.weight"), wanted)


def test_an_adapter_on_fp8_weights(tmp_path: Path) -> None:
    codes = np.full(SHAPES[Q], 0x38, np.uint8)  # 1.0
    tensors = {f"{Q}.weight": fp8(codes), f"{Q}.weight_scale_inv": f32([[3.0]])}
    checkpoint = save_checkpoint(tmp_path / "base", tensors, SMALL | FP8_CONFIG)
    made = factors({Q: 4})
    with open_weights(with_adapter(checkpoint, adapter(tmp_path, made))) as source:
        wanted = merged(made, Q, 6 / 4) - draw(*SHAPES[Q]) + 3.0
        assert close(source.rows(f"{Q}.weight"), wanted)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"r": 0}, "'r': input should be greater than 0"),
        ({"r": "four"}, "'r': input should be a valid integer"),
        ({"lora_alpha": None}, "'lora_alpha': input should be a valid number"),
        ({"lora_alpha": math.inf}, "'lora_alpha': input should be a finite number"),
        ({"rank_pattern": {"q_proj": 0}}, "'rank_pattern.q_proj': input should be greater"),
        ({"alpha_pattern": {"q_proj(": 1}}, "not a pattern of modules: 'q_proj('"),
        ({"modules_to_save": ["*"]}, "not a pattern of modules: '*'"),
        ({"target_modules": "(q_proj"}, "not a pattern of modules: '(q_proj'"),
        ({"trainable_token_indices": [-1]}, "input should be greater than or equal to 0"),
    ],
)
def test_an_impossible_setting_is_named(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=r"adapter_config\.json: ") as caught:
        opened(tmp_path, factors({Q: 4}), **changes)
    assert words in str(caught.value)


HEAD = {half("lm_head", "A"): f32(draw(4, 24)), half("lm_head", "B"): f32(draw(30, 4))}
EMBEDDING = {
    "base_model.model.model.embed_tokens.lora_embedding_A": f32(draw(4, 30)),
    "base_model.model.model.embed_tokens.lora_embedding_B": f32(draw(24, 4)),
}
MAGNITUDE = {f"base_model.model.{Q}.lora_magnitude_vector": f32(draw(40))}


@pytest.mark.parametrize(
    ("tensors", "words", "fix"),
    [
        ({}, "there are no tensors", "save the adapter again"),
        ({half("model.layers.9.mlp.up_proj", "A"): f32(draw(4, 24))},
         "the model has no module 'base_model.model.model.layers.9", "the model that it was"),
        ({half(Q, "A"): f32(draw(4, 24))}, f"lora_B of '{Q}' is missing", "save the adapter"),
        ({half(Q, "B"): f32(draw(40, 4))}, f"lora_A of '{Q}' is missing", "save the adapter"),
        (factors({Q: 4}) | {half(Q, "A"): f32(draw(4, 23))},
         f"'{half(Q, 'A')}' is [4, 23], not [4, 24]", "the model that it was trained on"),
        (factors({Q: 4}) | {half(Q, "B"): f32(draw(41, 4))},
         f"'{half(Q, 'B')}' is [41, 4], not [40, 4]", "the model that it was trained on"),
        (factors({Q: 5}), "has rank 5, and adapter_config.json says r 4", "same training run"),
        ({half(Q, "A"): RawTensor("I8", np.zeros((4, 24), np.int8))},
         f"'{half(Q, 'A')}' is I8", "save the adapter again"),
        (factors({Q: 4}) | MAGNITUDE, "use_dora is not set", '"use_dora": true'),
        ({"base_model.model.model.q.hada_w1_a": f32(draw(4, 24))}, "no tensor of a LoRA", "merge"),
        (factors({Q: 4}) | {half(Q, "A").replace("_A", "_A.default"): f32(draw(4, 24))},
         "are for one place", "save the adapter again"),
        ({half(Q, "A"): f32(draw(4, 24)), half(Q, "B").replace("_B", "_B.b"): f32(draw(40, 4))},
         "of several adapters: '', 'b'", "selected_adapters"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_are_named(
    tmp_path: Path, tensors: dict[str, RawTensor], words: str, fix: str
) -> None:
    with pytest.raises(InputError, match=r"adapter_model\.safetensors: ") as caught:
        opened(tmp_path, tensors)
    assert words in caught.value.what
    assert fix in (caught.value.fix or "")


@pytest.mark.parametrize(("tensors", "end"), [(HEAD, "lm_head"), (EMBEDDING, "embed_tokens")])
def test_one_end_of_a_tied_model_cannot_be_adapted_alone(
    tmp_path: Path, tensors: dict[str, RawTensor], end: str
) -> None:
    """PEFT's merge changes both ends, although one was trained."""
    with pytest.raises(InputError, match=f"adapts .*{end} alone, which config.json ties") as caught:
        opened(tmp_path, tensors, target_modules=[end])
    assert "m.config.tie_word_embeddings = False" in (caught.value.fix or "")


@pytest.mark.parametrize("which", ["A", "B"])
def test_a_value_that_is_not_finite_is_named(tmp_path: Path, which: str) -> None:
    made = factors({Q: 4})
    made[half(Q, which)].data[1, 2] = np.nan
    with opened(tmp_path, made) as source, pytest.raises(InputError, match=half(Q, which)):
        source.rows(f"{Q}.weight")


def test_a_truncated_adapter_is_refused(tmp_path: Path) -> None:
    place = adapter(tmp_path, factors({Q: 4}))
    file = place / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        open_weights(with_adapter(base(tmp_path), place))
