"""Reading a checkpoint with arbitrary files succeeds or raises CheckpointError."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qdeploy.architectures.config import RopeScaling
from qdeploy.architectures.llama import LlamaConfig
from qdeploy.architectures.qwen3_moe import Qwen3MoeConfig
from qdeploy.architectures.table import parse_config
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.checkpoint.weight_files import read_tensors
from qdeploy.errors import CheckpointError, PlanError
from qdeploy.planning.plan import make_plan
from qdeploy.planning.profile import load_profile
from qdeploy.targets import INTEL_CPU
from tests.support.checkpoints import (
    MOE,
    SMALL,
    header,
    write_checkpoint,
    write_header,
    write_index,
)

words = st.text(
    st.characters(), max_size=20
)  # includes lone surrogates, which are invalid in file names
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner),
    max_leaves=8,
)
ENTRIES, SIZE = header({"a": (4, 8), "b": (16,)})
WHOLE = len(json.dumps(ENTRIES).encode()).to_bytes(8, "little") + json.dumps(ENTRIES).encode()


@contextmanager
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as made:
        yield Path(made)


def facts_or_refusal(place: Path) -> None:
    """Read the tensors in *place*, and plan what was read."""
    try:
        found = read_tensors(place)
    except CheckpointError:
        return
    config = parse_config(SMALL)
    described = Checkpoint("fuzzed", place, config, found)
    made = make_plan(described, load_profile("intel-cpu-int4"), INTEL_CPU)
    assert made.weight_bytes >= 0


@given(st.binary(max_size=200))
def test_any_bytes_for_a_weight_file(content: bytes) -> None:
    with folder() as place:
        (place / "model.safetensors").write_bytes(content)
        facts_or_refusal(place)


@given(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=4))
def test_a_whole_file_with_some_bytes_overwritten(at: int, patch: bytes) -> None:
    content = bytearray(WHOLE + bytes(SIZE))
    content[at : at + len(patch)] = patch
    with folder() as place:
        (place / "model.safetensors").write_bytes(content)
        facts_or_refusal(place)


@given(
    st.sampled_from(["dtype", "shape", "data_offsets", "more"]),
    anything | st.lists(st.integers(-4, 70), max_size=3),
)
def test_a_header_with_anything_for_one_of_its_values(key: str, value: Any) -> None:
    with folder() as place:
        entries = ENTRIES | {"a": ENTRIES["a"] | {key: value}}
        write_header(place / "model.safetensors", entries, SIZE)
        facts_or_refusal(place)


@given(anything | st.dictionaries(words, words.map("{}.safetensors".format), min_size=1))
def test_anything_for_an_index(weight_map: Any) -> None:
    with folder() as place:
        write_index(place, weight_map)
        facts_or_refusal(place)


KEYS = sorted({*Qwen3MoeConfig.model_fields, *LlamaConfig.model_fields})
OTHERS = ("LlamaForCausalLM", "Qwen2ForCausalLM", "GemmaForCausalLM")


@given(
    st.dictionaries(st.sampled_from(KEYS), anything | st.floats(min_value=0)),
    st.dictionaries(st.sampled_from([*RopeScaling.__annotations__]), anything | st.floats(0, 1e9)),
    st.sampled_from([SMALL, SMALL | MOE, *(SMALL | {"architectures": [n]} for n in OTHERS)]),
    st.sampled_from(["yarn", "llama3"]),
)
def test_anything_in_a_config(
    changes: dict[str, Any], scaling: dict[str, Any], config: dict[str, Any], kind: str
) -> None:
    known = {"rope_type": kind, "factor": 4.0, **scaling}
    with folder() as place:
        write_checkpoint(place)
        changed = config | {"rope_scaling": known} | changes
        (place / "config.json").write_text(json.dumps(changed), encoding="utf-8")
        try:
            found = read_checkpoint(place)
            made = make_plan(found, load_profile("intel-cpu-int4"), INTEL_CPU)
        except (CheckpointError, PlanError):
            return
        assert made.kv_bytes_per_token > 0
        layers = found.config.num_hidden_layers
        if found.is_known and layers < 1000 and found.decoder.why_not() is None:
            graph = found.decoder.graph(made.rope_scaling)
            assert np.isfinite(graph.rope.frequencies).all()
