"""Integer codes of AWQ, GPTQ and compressed-tensors: the values and the codes that are stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import check_weights, open_weights
from qdeploy.errors import CheckpointError
from tests.support import quantized as q
from tests.support.checkpoints import MOE, SMALL
from tests.support.tiny import SPARSE
from tests.support.weights import RawTensor, bf16, f16, f32, save_checkpoint

TINY: dict[str, Any] = SMALL | {
    "hidden_size": 64, "intermediate_size": 128, "head_dim": 16, "num_attention_heads": 4,
    "vocab_size": 512,
}  # fmt: skip
W = "x.weight"

LAYOUTS: dict[str, tuple[q.Encode, dict[str, Any], dict[str, Any]]] = {
    "awq": (q.awq, q.awq_settings(), {}),
    "awq of 64": (q.awq, q.awq_settings(64), {"group": 64}),
    "awq without zero points": (
        q.awq, q.awq_settings(zero_point=False), {"symmetric": True},
    ),
    "gptq": (q.gptq, q.gptq_settings(), {}),
    "gptq sym": (q.gptq, q.gptq_settings(sym=True), {"symmetric": True}),
    "gptq of 8 bits": (q.gptq, q.gptq_settings(bits=8), {"bits": 8}),
    "gptq v2": (q.gptq_v2, q.gptq_settings(checkpoint_format="gptq_v2"), {}),
    "gptq by rows": (q.gptq, q.gptq_settings(-1), {"group": -1}),
    "gptq without g_idx": (partial(q.gptq, g_idx=False), q.gptq_settings(), {}),
    "packed": (q.packed, q.compressed_settings(), {"exact": bf16}),
    "packed sym": (
        q.packed, q.compressed_settings(symmetric=True), {"symmetric": True, "exact": bf16},
    ),
    "packed of 8 bits": (
        q.packed, q.compressed_settings(num_bits=8), {"bits": 8, "exact": bf16},
    ),
    "packed by rows": (
        q.packed, q.compressed_settings(strategy="channel", group_size=None),
        {"group": -1, "exact": bf16},
    ),
    "int8": (
        q.signed_bytes,
        q.compressed_settings("int-quantized", num_bits=8, symmetric=True, strategy="channel",
                              group_size=None),
        {"bits": 8, "group": -1, "symmetric": True, "exact": f32},
    ),
    "naive int8 asym in groups": (
        q.signed_bytes, q.compressed_settings("naive-quantized", num_bits=8),
        {"bits": 8, "exact": f32},
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("config", [TINY, SPARSE | {"hidden_size": 64}], ids=["dense", "experts"])
def test_values_and_codes_are_those_that_are_stored(
    tmp_path: Path, layout: str, config: Mapping[str, Any]
) -> None:
    encode, described, layer = LAYOUTS[layout]
    layers = q.write_quantized(tmp_path, encode, described, config, **layer)
    checkpoint = read_checkpoint(tmp_path)
    check_weights(checkpoint)
    with open_weights(checkpoint) as source:
        for name, made in layers.items():
            np.testing.assert_array_equal(source.rows(name), made.values)
            start, stop = len(made.codes) // 3, len(made.codes) - 1
            np.testing.assert_array_equal(source.rows(name, start, stop), made.values[start:stop])
            found = source.codes(name, start, stop)
            assert found.precision == checkpoint.stored.sources[name].precision
            middle = 1 << (made.bits - 1) if found.precision.symmetric else 0
            np.testing.assert_array_equal(found.codes, made.codes[start:stop] - middle)
            np.testing.assert_array_equal(found.scales, made.scales[start:stop])
            if found.zero_points is None:
                assert (made.zero_points == 1 << (made.bits - 1)).all()
            else:
                np.testing.assert_array_equal(found.zero_points, made.zero_points[start:stop])
            np.testing.assert_array_equal(found.dequantize(), made.values[start:stop])


@settings(max_examples=40, deadline=None)
@given(
    layout=st.sampled_from(["awq", "gptq", "gptq of 8 bits", "packed", "packed sym"]),
    rows=st.integers(1, 5),
    columns=st.integers(1, 9),
    data=st.data(),
)
def test_any_rows_of_any_size(
    tmp_path_factory: pytest.TempPathFactory,
    layout: str,
    rows: int,
    columns: int,
    data: st.DataObject,
) -> None:
    encode, described, layer = LAYOUTS[layout]
    rows, columns = 8 * rows, 8 * columns  # of whole words, and groups that are cut short
    made = q.random_layer(rows, columns, seed=rows * columns, **layer)
    tensors = {f"x.{part}": tensor for part, tensor in encode(made).items()}
    folder = tmp_path_factory.mktemp("any")
    checkpoint = save_checkpoint(folder, tensors, TINY | {"quantization_config": described})
    start = data.draw(st.integers(0, rows))
    stop = data.draw(st.integers(start, rows))
    with open_weights(checkpoint) as source:
        np.testing.assert_array_equal(source.rows(W, start, stop), made.values[start:stop])


@pytest.mark.parametrize(("rows", "columns"), [(5, 64), (7, 96), (3, 100), (9, 33)])
def test_packed_rows_of_odd_sizes(tmp_path: Path, rows: int, columns: int) -> None:
    """Where groups do not tell the columns, those of whole words are taken and checked."""
    made = q.random_layer(rows, columns, exact=bf16)
    tensors = {f"x.{part}": tensor for part, tensor in q.packed(made).items()}
    settings_ = q.compressed_settings()
    checkpoint = save_checkpoint(tmp_path, tensors, TINY | {"quantization_config": settings_})
    with open_weights(checkpoint) as source:
        if columns % 8 == 0:
            np.testing.assert_array_equal(source.rows(W), made.values)
        else:
            with pytest.raises(CheckpointError, match=r"weight_shape says .*, and the codes are"):
                source.rows(W)


def test_activation_order_gives_values_and_no_codes(tmp_path: Path) -> None:
    described = q.gptq_settings(desc_act=True)
    layers = q.write_quantized(tmp_path, q.gptq, described, TINY, ordered=True)
    checkpoint = read_checkpoint(tmp_path)
    name, made = next(iter(layers.items()))
    reason = checkpoint.stored.sources[name].why_not_codes()
    assert reason
    assert "activation order" in reason
    with open_weights(checkpoint) as source:
        np.testing.assert_array_equal(source.rows(name), made.values)


def test_one_group_a_row_has_no_order(tmp_path: Path) -> None:
    described = q.gptq_settings(-1, desc_act=True)
    layers = q.write_quantized(tmp_path, q.gptq, described, TINY, group=-1)
    assert read_checkpoint(tmp_path).stored.sources[next(iter(layers))].why_not_codes() is None


def test_static_groups_are_side_by_side_in_activation_order(tmp_path: Path) -> None:
    described = q.gptq_settings(desc_act=True, static_groups=True)
    layers = q.write_quantized(tmp_path, q.gptq, described, TINY)
    name, made = next(iter(layers.items()))
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint.stored.sources[name].why_not_codes() is None
    with open_weights(checkpoint) as source:
        np.testing.assert_array_equal(source.codes(name, 0, 8).codes, made.codes[:8])


def test_an_order_that_the_settings_deny(tmp_path: Path) -> None:
    layers = q.write_quantized(tmp_path, q.gptq, q.gptq_settings(), TINY, ordered=True)
    name, made = next(iter(layers.items()))
    with open_weights(read_checkpoint(tmp_path)) as source:
        np.testing.assert_array_equal(source.rows(name), made.values)  # as transformers reads it
        with pytest.raises(CheckpointError, match="say \\('desc_act', 'static_groups'\\)"):
            source.codes(name, 0, 8)


def change(name: str, tensor: RawTensor) -> Callable[[q.Parts], q.Parts]:
    return lambda parts: parts | {name: tensor}


def without(name: str) -> Callable[[q.Parts], q.Parts]:
    return lambda parts: {key: t for key, t in parts.items() if key != name}


@pytest.mark.parametrize(
    ("layout", "settings_", "changed", "words"),
    [
        ("gptq", {"bits": 8}, None, r"has codes that are \[8, 16\], not \[16, 16\].*8 bits"),
        ("gptq", {"group_size": 64}, None, r"has scales that are \[2, 16\], not \[1, 16\]"),
        ("awq", {"group_size": 64}, None, r"has scales that are \[2, 16\], not \[1, 16\]"),
        ("awq", {}, change("qzeros", f16(np.zeros((2, 2)))), "zero points that are of type F16"),
        ("awq", {}, without("qzeros"), "has no 'qzeros', and config.json says 'zero_point': true"),
        ("gptq", {}, without("qzeros"), "has no 'qzeros', and config.json says 'sym': false"),
        ("gptq", {"dynamic": {"-:x": {}}}, None, "'dynamic' in config.json excludes it"),
        ("packed", {"format": "int-quantized"}, None, "pack-quantized, and config.json says int"),
        ("packed", {"ignore": ["x"]}, None, "config.json ignores it"),
        ("packed", {"config_groups": {}}, None, "config.json names no group for it"),
        ("packed", {}, without("weight_zero_point"), "has no 'weight_zero_point'"),
    ],
)  # fmt: skip
def test_settings_and_tensors_that_disagree(
    tmp_path: Path,
    layout: str,
    settings_: dict[str, Any],
    changed: Callable[[q.Parts], q.Parts] | None,
    words: str,
) -> None:
    encode, described, layer = LAYOUTS[layout]
    parts = encode(q.random_layer(16, 64, **layer))
    parts = changed(parts) if changed else parts
    tensors = {f"x.{part}": tensor for part, tensor in parts.items()}
    config = TINY | {"quantization_config": described | settings_}
    checkpoint = save_checkpoint(tmp_path, tensors, config)
    with pytest.raises(CheckpointError, match=words):
        open_weights(checkpoint)


@pytest.mark.parametrize(
    ("layout", "settings_"), [("gptq", {"sym": True}), ("awq", {"zero_point": False})]
)
def test_zero_points_that_the_settings_deny(
    tmp_path: Path, layout: str, settings_: dict[str, Any]
) -> None:
    encode, described, layer = LAYOUTS[layout]
    layers = q.write_quantized(tmp_path, encode, described | settings_, TINY, **layer)
    with (
        open_weights(read_checkpoint(tmp_path)) as source,
        pytest.raises(CheckpointError, match="settings say symmetric, which is 8 throughout"),
    ):
        source.rows(next(iter(layers)))


def one(folder: Path, parts: q.Parts, settings: dict[str, Any]) -> Checkpoint:
    """A checkpoint of the one weight `W`."""
    stored = {f"x.{part}": tensor for part, tensor in parts.items()}
    return save_checkpoint(folder, stored, TINY | {"quantization_config": settings})


@pytest.mark.parametrize(("encode", "layout"), [(q.gptq_v2, "gptq"), (q.gptq, "gptq_v2")])
def test_zero_points_of_the_other_format(tmp_path: Path, encode: q.Encode, layout: str) -> None:
    """The advice is followed, and then the values are right."""
    made = q.random_layer(16, 64, symmetric=True)
    settings = q.gptq_settings(sym=True, checkpoint_format=layout)
    with (
        open_weights(one(tmp_path, encode(made), settings)) as source,
        pytest.raises(CheckpointError) as caught,
    ):
        source.rows(W)
    other = {"gptq": "gptq_v2", "gptq_v2": "gptq"}[layout]
    assert f"'checkpoint_format' of quantization_config in config.json to {other!r}" in str(
        caught.value.fix
    )
    q.set_settings(tmp_path, checkpoint_format=other)
    with open_weights(read_checkpoint(tmp_path)) as source:
        np.testing.assert_array_equal(source.rows(W), made.values)


def test_groups_that_were_set_before_ordering_are_side_by_side(tmp_path: Path) -> None:
    settings = q.gptq_settings(desc_act=True, static_groups=True)
    found = one(tmp_path, q.gptq(q.random_layer(16, 64)), settings)
    assert found.stored.sources[W].why_not_codes() is None


def test_a_zero_point_of_0_in_the_format_that_stores_one_less(tmp_path: Path) -> None:
    """As GPTQModel stores it: the whole word is less one of each, with borrows."""
    made = q.random_layer(8, 32)
    points = made.zero_points.copy()
    points[3, 0] = 0
    made = q.Layer(4, 32, made.codes, made.scales, points, made.order)
    parts = q.gptq_v2(made)
    stored = parts["qzeros"].data - np.uint32(0x11111111)
    parts["qzeros"] = RawTensor("I32", stored)
    with open_weights(one(tmp_path, parts, q.gptq_settings())) as source:
        np.testing.assert_array_equal(source.rows(W), made.values)


def test_settings_of_single_modules(tmp_path: Path) -> None:
    eight, four = q.random_layer(16, 64, bits=8), q.random_layer(16, 64)
    tensors = {f"a.up.{part}": t for part, t in q.gptq(eight).items()}
    tensors |= {f"a.down.{part}": t for part, t in q.gptq(four).items()}
    dynamic = {r"+:.*\.up$": {"bits": 8}, r"-:.*\.gate$": {}}
    config = TINY | {"quantization_config": q.gptq_settings(dynamic=dynamic)}
    with open_weights(save_checkpoint(tmp_path, tensors, config)) as source:
        np.testing.assert_array_equal(source.rows("a.up.weight"), eight.values)
        np.testing.assert_array_equal(source.rows("a.down.weight"), four.values)


def test_groups_of_modules(tmp_path: Path) -> None:
    """A name counts before a pattern, and a pattern before a class."""
    eight, four = q.random_layer(16, 64, bits=8, exact=bf16), q.random_layer(16, 64, exact=bf16)
    tensors = {f"a.up.{part}": t for part, t in q.packed(eight).items()}
    tensors |= {f"a.down.{part}": t for part, t in q.packed(four).items()}
    described = q.compressed_settings()
    usual = described["config_groups"]["group_0"]
    other = usual | {"targets": [r"re:.*\.up$"], "weights": usual["weights"] | {"num_bits": 8}}
    described["config_groups"]["group_1"] = other
    config = TINY | {"quantization_config": described}
    with open_weights(save_checkpoint(tmp_path, tensors, config)) as source:
        np.testing.assert_array_equal(source.rows("a.up.weight"), eight.values)
        np.testing.assert_array_equal(source.rows("a.down.weight"), four.values)


def test_experts_have_settings(tmp_path: Path) -> None:
    config = TINY | MOE | {"tie_word_embeddings": False, "moe_intermediate_size": 64}
    q.write_quantized(tmp_path, q.gptq, q.gptq_settings(), config)
    check_weights(read_checkpoint(tmp_path))
