"""Every published size on fake GPUs: where its weights are, and the memory that was planned.

The engine runs as it is, with its kernels, on tensors without values. What an operator allocates
for itself is not seen, so attention counts as the fused kernel that devices have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from qdeploy.backends.torch.accelerators.cuda import Cuda
from qdeploy.backends.torch.engine.cache import Cache
from qdeploy.backends.torch.engine.decoder import Decoder
from qdeploy.backends.torch.engine.load import build_decoder
from qdeploy.backends.torch.engine.loader import Loader
from qdeploy.backends.torch.kernels import selftest
from qdeploy.backends.torch.kernels.base import Activations
from qdeploy.backends.torch.settings import Settings
from qdeploy.checkpoint.published.catalogue import find_published
from qdeploy.checkpoint.published.names import published_sizes
from qdeploy.interface import Device
from qdeploy.planning.device_memory import DeviceMemory, Model, of_plan
from qdeploy.planning.plan import make_plan
from qdeploy.planning.profile import Graph, KVCache, Profile, Weights
from qdeploy.planning.split import balanced
from qdeploy.quantization.precision import Precision
from qdeploy.targets import CUDA

torch: Any = pytest.importorskip("torch")
if not torch.backends.cuda.is_built():
    pytest.skip("this torch is built without CUDA", allow_module_level=True)

from tests.support.fake_cuda import fake_cuda  # noqa: E402
from tests.support.fake_tensors import Reader, Repeated  # noqa: E402
from tests.support.tensor_memory import MemoryCounter  # noqa: E402

FLOAT = Precision(dtype="fp16")
INT4 = Precision(dtype="int4", symmetric=True, group_size=128)
INT8 = Precision(dtype="int8", symmetric=True)
CONTEXT = 8192
GPU = Cuda("cuda", "sm_90")
CLOSE = 0.1
"""The largest difference of a peak from what was planned, relative to it."""


def model(size: str, linear: Precision) -> Model:
    """A published model in the format `safetensors`, in bfloat16."""
    profile = Profile(
        name="made-up",
        schema=1,
        target=CUDA.name,
        format="safetensors",
        why="A test.",
        weights=Weights(linear=linear, embedding=FLOAT, lm_head=FLOAT),
        graph=Graph(activations="bf16"),
        kv_cache=KVCache(dtype="bf16"),
    )
    published = find_published(size)
    assert published is not None
    return of_plan(make_plan(published, profile, CUDA))


def load(made: Model, parts: Sequence[DeviceMemory], activations: Activations = "none") -> Decoder:
    """The model on one fake device for each of *parts*."""
    devices = [f"cuda:{i}" for i, p in enumerate(parts) for _ in range(p.first, p.last + 1)]
    device = Device(devices[0], "a fake GPU", CUDA.name)
    size = made.config.vocab_size
    settings = Settings(device, "bfloat16", "none", CONTEXT, size, made.chunk, 1, None, False)
    precisions = {n: w.precision for n, w in made.weights.items() if w.precision != FLOAT}
    reader: Any = Reader(made)
    weights = Repeated(Loader(reader, precisions, GPU, "bfloat16", activations), made)
    return build_decoder(made.architecture, made.config, weights, GPU, settings, devices)


def feed_at_the_end(decoder: Decoder, tokens: int) -> None:
    """Feed the last tokens of a sequence that fills the context."""
    decoder.begin(CONTEXT)
    vars(decoder)["_length"] = CONTEXT - tokens
    decoder.forward(torch.empty(tokens, dtype=torch.int64, device="cuda:0"))


def check(size: str, linear: Precision, count: int, activations: Activations = "none") -> int:
    """Hold a model's memory on *count* devices against the plan.

    Returns:
        Most bytes that a part of a prompt took on any device, beside weights and cache.
    """
    made = model(size, linear)
    parts = balanced(made, [1] * count, CONTEXT)
    devices = {f"cuda:{i}": part for i, part in enumerate(parts)}
    with torch.inference_mode(), fake_cuda(), MemoryCounter() as memory:
        decoder = load(made, parts, activations)
        for device, part in devices.items():
            held = part.weights + part.tables
            assert memory.alive[device] == pytest.approx(held, rel=CLOSE), device
        passing = 0
        for tokens in (1, made.chunk):
            memory.restart()
            feed_at_the_end(decoder, tokens)
            planned = replace(made, chunk=tokens)
            for device, part in devices.items():
                peak = planned.memory(range(part.first, part.last + 1), CONTEXT).needed
                assert memory.most[device] == pytest.approx(peak, rel=CLOSE), device
                passing = max(passing, memory.most[device] - memory.alive[device])
    return passing


@pytest.fixture(autouse=True)
def no_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Self-tests compare values."""
    for name in ("check", "check_experts"):
        monkeypatch.setattr(selftest, name, lambda *_: None)


@pytest.mark.parametrize(("linear", "count"), [(INT4, 1), (INT8, 4)], ids=str)
@pytest.mark.parametrize("size", [size for size in published_sizes() if "-A" not in size])
def test_a_dense_model_takes_what_was_planned(size: str, linear: Precision, count: int) -> None:
    check(size, linear, count)


def test_inputs_that_are_rounded_take_what_was_planned() -> None:
    check("8B", INT8, 2, "int8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "linear", "count"),
    [("30B-A3B", INT4, 1), ("30B-A3B", INT8, 4), ("235B-A22B", INT4, 8)],
    ids=str,
)
def test_no_layer_of_experts_is_dequantized_as_a_whole(
    size: str, linear: Precision, count: int
) -> None:
    config = model(size, linear).config
    weights = config.experts * 3 * config.hidden * config.moe_intermediate
    assert check(size, linear, count) < weights  # half of its 16-bit floats


def test_parts_of_a_long_prompt_use_the_same_memory_one_after_the_other() -> None:
    made = model("0.6B", INT4)
    passing = []
    with torch.inference_mode(), fake_cuda(), MemoryCounter() as memory:
        decoder = load(made, balanced(made, [1], CONTEXT))
        for parts in (1, 8):
            decoder.begin(CONTEXT)
            memory.restart()
            decoder.forward(torch.empty(parts * made.chunk, dtype=torch.int64, device="cuda:0"))
            passing.append(memory.most["cuda:0"] - memory.alive["cuda:0"])
    one, eight = passing
    assert eight < 2 * one


def test_a_cache_that_grows_is_freed_first() -> None:
    with torch.inference_mode(), fake_cuda(), MemoryCounter() as memory:
        cache = Cache([torch.empty(0, device="cuda:0")] * 3, kv_heads=2, head_dim=8)
        for tokens, capacity in ((200, 256), (256, 256), (5000, 5120), (300, 5120), (9000, 8192)):
            cache.reserve(tokens, 8192)
            assert cache.capacity == capacity
            taken = 2 * 3 * 2 * 8 * capacity * 4
            assert memory.alive["cuda:0"] == memory.most["cuda:0"] == taken
