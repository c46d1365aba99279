"""A model split over two simulated devices, and one that is too large for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import qdeploy
from qdeploy.backends.torch import TorchBackend
from qdeploy.backends.torch.engine import layers
from qdeploy.backends.torch.errors import LESS_ON_DEVICES
from qdeploy.bundle import Bundle
from qdeploy.checkpoint.read import read_checkpoint
from qdeploy.errors import InputError, OutOfMemory
from qdeploy.interface import Device, LoadOptions, Request
from qdeploy.planning.device_memory import CHUNK, of_bundle
from qdeploy.targets import ASCEND, CPU, CUDA, Target

pytest.importorskip("torch")

from qdeploy.backends.torch.simulated.device import state

CONTEXT = 512
REQUEST = Request(prompt_ids=tuple(range(5, 45)), max_new_tokens=6)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("split") / "bundle"
    return qdeploy.export("qwen3-nano", output=folder, target=CUDA.name, profile="cuda-int4")


@pytest.fixture
def devices() -> Iterator[tuple[Device, Device]]:
    first, second, *_ = TorchBackend().devices(CUDA, simulate=True)
    yield first, second
    for device in (first, second):
        state(device.id).memory.limit = None


def tokens(bundle: Bundle, *devices: Device, context: int = CONTEXT) -> list[int]:
    options = LoadOptions(context=context, devices=devices)
    with TorchBackend().load(bundle, devices[0], options) as session:
        placed = session.placement().nodes
        assert placed is not None
        assert set(placed) == {device.id for device in devices}
        return [token.id for token in session.generate(REQUEST)]


def needed(bundle: Bundle) -> int:
    """Bytes that are planned for the bundle on one device."""
    checkpoint = read_checkpoint(bundle.path)
    model = of_bundle(checkpoint, None, longest=CONTEXT, float_bytes=2, chunk=CHUNK)
    return model.memory(range(model.layers), CONTEXT).needed


def test_what_is_too_large_for_one_device_answers_the_same_on_two(
    bundle: Bundle, devices: tuple[Device, Device]
) -> None:
    alone = tokens(bundle, devices[0])
    for device in devices:
        state(device.id).memory.limit = needed(bundle)
    with pytest.raises(OutOfMemory) as raised:
        tokens(bundle, devices[0])
    assert raised.value.where == devices[0].id
    assert state(devices[0].id).memory.allocated == 0
    assert "2 devices of this size, by --devices" in (raised.value.fix or "")
    assert tokens(bundle, *devices) == alone


def test_what_fails_for_want_of_memory_at_run_time_says_what_helps(
    bundle: Bundle, devices: tuple[Device, Device]
) -> None:
    memory = state(devices[0].id).memory
    with TorchBackend().load(bundle, devices[0], LoadOptions(context=CONTEXT)) as session:
        memory.limit = memory.allocated  # another program took the rest
        with pytest.raises(OutOfMemory, match=r"generating failed: .*out of memory") as raised:
            list(session.generate(REQUEST))
        assert raised.value.fix == LESS_ON_DEVICES
        memory.limit = None
        assert len(list(session.generate(REQUEST))) == REQUEST.max_new_tokens


@pytest.mark.parametrize("target", [CUDA, ASCEND], ids=lambda target: str(target.name))
@pytest.mark.parametrize("first", ["newest", "oldest"])
def test_devices_of_two_generations_share_a_model_with_the_kernels_that_both_have(
    bundle: Bundle, tmp_path: Path, target: Target, first: str
) -> None:
    """Turing has no int4 kernel, the 310P no bfloat16 and no attention of its vendor's."""
    if target is ASCEND:
        bundle = qdeploy.export(
            "qwen3-nano", output=tmp_path / "b", target="ascend", profile="ascend-int8-310p"
        )
    newest, *_, oldest = TorchBackend().devices(target, simulate=True)
    alone = tokens(bundle, oldest)
    pair = (newest, oldest) if first == "newest" else (oldest, newest)
    assert tokens(bundle, *pair) == alone


def test_a_device_beside_another_that_lacks_its_type_is_named(tmp_path: Path) -> None:
    made = qdeploy.export(
        "qwen3-nano", output=tmp_path / "b", target="ascend", profile="ascend-int8"
    )
    newest, *_, oldest = TorchBackend().devices(ASCEND, simulate=True)
    with pytest.raises(InputError, match=r"A2 .* with .*310P\) computes in float16") as raised:
        tokens(made, newest, oldest)
    assert raised.value.fix == "export it with --profile ascend-int8-310p"


def test_more_devices_than_layers_are_refused(
    bundle: Bundle, devices: tuple[Device, Device]
) -> None:
    with pytest.raises(InputError, match="layers of"):
        tokens(bundle, *(devices * 9))


def test_the_host_is_planned_too(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "available_bytes", lambda: needed(bundle))
    with pytest.raises(OutOfMemory, match="can be planned for") as raised:
        tokens(bundle, *TorchBackend().devices(CPU))
    assert "--devices" not in (raised.value.fix or "")
