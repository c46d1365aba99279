"""Whatever settings and headers say, a checkpoint is described or refused, without a traceback."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.headers import DTYPE_BITS
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weights import open_weights
from qdeploy.errors import QdeployError
from qdeploy.planning.plan import make_plan
from qdeploy.planning.profile import load_profile
from qdeploy.targets import CPU
from tests.support import quantized as q
from tests.support.checkpoints import SMALL, write_header, write_sidecars

BASES: list[dict[str, Any]] = [
    q.awq_settings(), q.gptq_settings(), q.compressed_settings(),
    q.compressed_settings("int-quantized", num_bits=8), q.compressed_settings("float-quantized"),
    {"quant_method": "fp8", "weight_block_size": [2, 2]}, {"quant_method": "fp8"},
    {"quant_method": "bitsandbytes"}, {"quant_method": "modelopt", "quant_algo": "NVFP4"},
    {"quant_method": "quark"}, {"quant_method": "auto-round"},
]  # fmt: skip
KEYS = (
    "bits", "group_size", "sym", "desc_act", "zero_point", "version", "checkpoint_format",
    "dynamic", "config_groups", "ignore", "format", "weight_block_size", "quant_method",
    "quant_algo", "extra_config", "packing_format", "sparsity_config", "is_marlin_format",
    "quantization",
)  # fmt: skip
PARTS = (
    "qweight", "qzeros", "scales", "g_idx", "bias", "weight", "weight_packed", "weight_scale",
    "weight_shape", "weight_zero_point", "weight_g_idx", "weight_scale_inv", "weight_scale_2",
    "weight_global_scale", "SCB", "weight.absmax", "weight.quant_map", "weight.nested_absmax",
    "weight.nested_quant_map", "weight.quant_state.bitsandbytes__nf4", "input_scale", "W_q",
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 300) | st.sampled_from(["gemm", "re:(", "fp8"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["weights", "targets", "num_bits", "group_0", "+:x", "-:(", "bits",
                         "format", "strategy", "group_size", "quant_algo"]), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
SHAPES = st.lists(st.integers(0, 9), max_size=3).map(tuple)
TENSORS = st.dictionaries(
    st.sampled_from(PARTS), st.tuples(st.sampled_from(sorted(DTYPE_BITS)), SHAPES), max_size=6
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("fuzz")
    write_sidecars(made, SMALL)
    return made


@settings(max_examples=150, deadline=None)
@given(
    base=st.sampled_from(BASES),
    changes=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3),
    tensors=TENSORS,
)
def test_any_settings_and_tensors(
    folder: Path,
    base: dict[str, Any],
    changes: dict[str, Any],
    tensors: dict[str, tuple[str, tuple[int, ...]]],
) -> None:
    config = SMALL | {"quantization_config": base | changes}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    stored = {}
    for part, (dtype, shape) in tensors.items():
        count = int(np.prod(shape)) * DTYPE_BITS[dtype] // 8
        if DTYPE_BITS[dtype] < 8 and int(np.prod(shape)) % 2:
            continue  # no file holds half a byte
        stored[f"model.layers.0.mlp.up_proj.{part}"] = (dtype, shape, count)
    _save(folder / "model.safetensors", stored)
    with suppress(QdeployError):
        _use(read_checkpoint(folder))


def _save(file: Path, tensors: dict[str, tuple[str, tuple[int, ...], int]]) -> None:
    """Write tensors of zeros, whose shapes NumPy's types may not have."""
    entries: dict[str, Any] = {}
    end = 0
    for name, (dtype, shape, count) in tensors.items():
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + count]}
        end += count
    write_header(file, entries, end)


def _use(found: Checkpoint) -> None:
    """Do what a plan and an export do with it."""
    make_plan(found, load_profile("cpu-int4"), CPU)
    with open_weights(found) as source:
        for weight in found.weights:
            if len(weight.shape) == 2:
                source.rows(weight.name)
                if weight.source.precision:
                    source.codes(weight.name, 0, weight.shape[0])
