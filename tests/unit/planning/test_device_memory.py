"""The memory of a model on devices: what it adds up to, how layers are placed, what would fit."""

from __future__ import annotations

import re
from functools import cache
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdeploy.checkpoint.published.catalogue import find_published
from qdeploy.errors import InputError, OutOfMemory
from qdeploy.planning.device_memory import DeviceMemory, Model, of_plan
from qdeploy.planning.plan import make_plan
from qdeploy.planning.profile import KVCache, Profile, Weights
from qdeploy.planning.split import (
    USABLE,
    balanced,
    fewest_devices,
    longest_context,
    split,
    what_fits,
)
from qdeploy.quantization.precision import Precision
from qdeploy.targets import CUDA

GB = 10**9
FLOAT = Precision(dtype="fp16")
INT4 = Precision(dtype="int4", symmetric=True, group_size=128)
INT8 = Precision(dtype="int8", symmetric=True)


@cache
def model(name: str, linear: Precision = INT4) -> Model:
    """A published model in the format `safetensors`."""
    profile = Profile(
        name="made-up",
        schema=1,
        target=CUDA.name,
        format="safetensors",
        why="A test.",
        weights=Weights(linear=linear, embedding=FLOAT, lm_head=FLOAT),
        kv_cache=KVCache(dtype="fp32"),
    )
    published = find_published(name)
    assert published is not None
    return of_plan(make_plan(published, profile, CUDA))


def fits(placed: tuple[DeviceMemory, ...], memories: list[int]) -> bool:
    return all(p.needed <= USABLE * m for p, m in zip(placed, memories, strict=True))


def whole(made: Model, context: int) -> DeviceMemory:
    return made.memory(range(made.layers), context)


def test_int4_takes_half_a_byte_and_a_scale_and_an_offset_for_each_group() -> None:
    made = model("4B")
    linear = 36 * (2560 * (4096 + 2 * 1024) + 4096 * 2560 + 3 * 2560 * 9728)
    norms = 36 * (2 * 2560 + 2 * 128) + 2560
    floats = made.float_bytes * (151936 * 2560 + norms)
    groups = linear // 128
    assert whole(made, 1).weights == linear // 2 + groups * 2 * made.float_bytes + floats


def test_a_tied_head_is_held_again_where_the_embedding_is_not() -> None:
    made = model("0.6B")
    table = 151936 * 1024 * made.float_bytes
    first, last = balanced(made, [GB, GB], 512)
    assert first.weights + last.weights == whole(made, 512).weights + table


def test_the_cache_grows_with_the_context_and_is_split_with_the_layers() -> None:
    made = model("8B")
    parts = balanced(made, [GB, GB, GB], 2048)
    assert sum(p.cache for p in parts) == whole(made, 2048).cache
    assert whole(made, 2048).cache == 2 * whole(made, 1024).cache


def test_no_layer_of_experts_is_held_dequantized() -> None:
    made = model("235B-A22B")
    layer = 128 * 3 * 4096 * 1536 * made.float_bytes
    assert whole(made, 4096).workspace < layer / 4


@given(
    memories=st.lists(st.integers(GB // 4, 4 * GB), min_size=1, max_size=3),
    context=st.integers(1, 40960),
)
def test_no_other_split_leaves_the_fullest_device_emptier(
    memories: list[int], context: int
) -> None:
    made = model("0.6B")
    placed = balanced(made, memories, context)
    ends = [part.last for part in placed]
    assert [p.first for p in placed] == [0, *(end + 1 for end in ends[:-1])]
    assert ends[-1] == made.layers - 1
    fullest = max(p.needed / m for p, m in zip(placed, memories, strict=True))
    for cuts in combinations(range(1, made.layers), len(memories) - 1):
        bounds = pairwise((0, *cuts, made.layers))
        needed = [made.memory(range(*bound), context).needed for bound in bounds]
        other = max(n / m for n, m in zip(needed, memories, strict=True))
        assert fullest <= other * (1 + 1e-6)


@given(gigabytes=st.integers(1, 80), count=st.integers(1, 4), size=st.sampled_from(["8B", "32B"]))
def test_the_advice_fits(gigabytes: int, count: int, size: str) -> None:
    made, memories = model(size, INT8), [gigabytes * GB] * count
    context, names = made.longest, [f"cuda:{i}" for i in range(count)]
    try:
        assert fits(split(made, memories, context, devices=names), memories)
        return
    except OutOfMemory as error:
        fix = error.fix or ""
    if found := re.search(r"--context (\d+)", fix):
        shorter = int(found[1])
        assert shorter < context
        assert fits(split(made, memories, shorter, devices=names), memories)
    if found := re.search(r"(\d+) devices", fix):
        more = [gigabytes * GB] * int(found[1])
        assert fits(balanced(made, more, context), more)
    if "fewer bits" in fix:
        assert fits(balanced(model(size, INT4), memories, context), memories)


def test_the_longest_context_and_the_fewest_devices_are_tight() -> None:
    made = model("32B")
    longest = longest_context(made, [40 * GB])
    assert 0 < longest < made.longest
    assert fits((whole(made, longest),), [40 * GB])
    assert not fits((whole(made, longest + 1),), [40 * GB])
    count = fewest_devices(made, 8 * GB, made.longest)
    assert count is not None
    assert not fits(balanced(made, [8 * GB] * (count - 1), made.longest), [8 * GB] * (count - 1))


def test_a_model_that_fits_nowhere_needs_another_device() -> None:
    made = model("235B-A22B")
    advice = what_fits(made, [GB // 10], 40960)
    assert advice == "a device with more memory, or a smaller model"


def test_a_refusal_says_what_needs_how_much_where() -> None:
    with pytest.raises(OutOfMemory) as raised:
        split(model("32B"), [9 * GB, 9 * GB], 8192, devices=["cuda:0", "cuda:1"])
    assert raised.value.where in ("cuda:0", "cuda:1")
    assert re.search(r"layers \d+ to \d+ of Qwen/Qwen3-32B need", raised.value.what)
    assert "9.0 GB are free" in raised.value.what
    assert "4 devices of this size, by --devices" in (raised.value.fix or "")


def test_a_device_of_the_machine_cannot_be_added() -> None:
    assert "--devices" not in what_fits(model("32B"), [16 * GB], 8192, several=False)


def test_more_devices_than_layers_are_refused() -> None:
    with pytest.raises(InputError, match="29 devices for the 28 layers"):
        split(model("0.6B"), [GB] * 29, 1, devices=["cuda"] * 29)
