"""The simulated accelerator's tensors behave as those of a real one."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from qdeploy.backends.torch.simulated import devices as simulated_devices
from qdeploy.backends.torch.simulated.device import activate, state
from qdeploy.errors import InputError
from qdeploy.targets import ASCEND, CPU, Evidence

torch = pytest.importorskip("torch", reason="needs qdeploy[torch]")

CHIP = "cuda-sm90"


@pytest.fixture(scope="module")
def devices() -> tuple[Any, ...]:
    return activate(CHIP)


@pytest.fixture
def device(devices: tuple[Any, ...]) -> Any:
    return devices[0]


def test_a_chip_has_two_devices_that_are_always_the_same(devices: tuple[Any, ...]) -> None:
    assert len(set(devices)) == 2
    assert activate(CHIP) == devices
    assert {state(device).chip.name for device in devices} == {CHIP}


def test_a_targets_name_stands_for_its_first_chip() -> None:
    assert activate("ascend") == activate("ascend-a2") != activate("ascend-310p")


def test_an_unknown_chip_is_named() -> None:
    with pytest.raises(InputError, match=r"no simulated chip 'cuda-sm9'\n.*'cuda-sm90'"):
        activate("cuda-sm9")


@pytest.mark.parametrize("name", ["cpu", "simulated", "simulated:99", "simulated:x"])
def test_state_of_another_device_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="is no simulated device"):
        state(name)


def test_torch_knows_the_device(devices: tuple[Any, ...]) -> None:
    module = torch.get_device_module(devices[0])
    assert module.is_available()
    assert torch.accelerator.current_accelerator().type == "simulated"
    assert module.device_count() == torch.accelerator.device_count() > devices[1].index
    assert "Hopper" in module.get_device_name(devices[1])
    module.synchronize(devices[0])
    torch.manual_seed(1)
    module.set_device(devices[1])
    try:
        assert torch.empty(2, device="simulated").device == devices[1]
    finally:
        module.set_device(0)
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        torch.empty(2, device="simulated:99")


@pytest.mark.parametrize(
    "make",
    [
        lambda **to: torch.empty(2, 3, **to),
        lambda **to: torch.zeros(2, 3, **to),
        lambda **to: torch.full((2, 3), 7.0, **to),
        lambda **to: torch.arange(6, **to).view(2, 3),
        lambda **to: torch.tensor([[1, 2, 3], [4, 5, 6]], **to),
        lambda **to: torch.randn(2, 3, **to),
        lambda **to: torch.empty_strided((2, 3), (1, 2), **to),
        lambda **to: torch.ones_like(torch.empty(2, 3), **to),
        lambda **to: torch.tril(torch.ones(2, 3, **to)),
    ],
)
def test_tensors_are_made_where_asked(make: Callable[..., Any], devices: tuple[Any, ...]) -> None:
    for device in devices:
        tensor, cpu = make(device=device), make()
        assert tensor.device == device
        assert (tensor.shape, tensor.stride(), tensor.dtype) == (
            cpu.shape, cpu.stride(), cpu.dtype,
        )  # fmt: skip


def test_views_have_their_true_strides_and_share_memory(device: Any) -> None:
    x = torch.arange(12.0, device=device).view(3, 4)
    row, column, transposed = x[1], x[:, 2], x.t()
    assert (row.storage_offset(), row.stride()) == (4, (1,))
    assert (column.storage_offset(), column.stride()) == (2, (4,))
    assert transposed.stride() == (1, 4)
    assert not transposed.is_contiguous()
    x.fill_(5)
    assert row.tolist() == [5] * 4
    column.zero_()
    assert x[:, 2].sum().item() == 0
    assert transposed[2].tolist() == [0, 0, 0]
    assert x.untyped_storage().nbytes() == 48


def test_shapes_changed_in_place_are_seen(device: Any) -> None:
    x = torch.arange(6.0, device=device).view(2, 3)
    same = x
    x.t_()
    assert (same.shape, same.stride()) == ((3, 2), (1, 3))
    x.unsqueeze_(0)
    assert same.shape == (1, 3, 2)
    assert same.sum().item() == 15


def test_a_tensor_that_would_grow_in_place_is_refused_and_unchanged(device: Any) -> None:
    x = torch.arange(6.0, device=device).view(2, 3)
    with pytest.raises(NotImplementedError, match="cannot grow in place"):
        x.resize_(5, 5)
    assert x.shape == (2, 3)
    assert (x + 0).tolist() == [[0, 1, 2], [3, 4, 5]]


MIXED: tuple[Callable[[Any, Any], Any], ...] = (
    lambda x, y: x + y,
    lambda x, y: y * x,
    lambda x, y: x @ y,
    lambda x, y: torch.cat([x, y]),
    lambda x, y: x.index_copy_(0, y[:, 0].long(), x + 1),
    lambda x, y: torch.nn.functional.embedding(y.long(), x),
    lambda x, y: x.masked_fill(y > 0, 0),
    lambda x, y: torch.nn.functional.scaled_dot_product_attention(x, y, x),
    lambda x, y: torch.add(x, x, out=y),
    lambda x, y: y.index_put_((x.long(),), x),
)


@pytest.mark.parametrize("operation", MIXED, ids=range(len(MIXED)))
def test_mixed_devices_raise(
    operation: Callable[[Any, Any], Any], devices: tuple[Any, ...]
) -> None:
    here, cpu = torch.ones(2, 2, device=devices[0]), torch.ones(2, 2)
    operation(here, torch.ones(2, 2, device=devices[0]))
    for other in (cpu, torch.ones(2, 2, device=devices[1])):
        with pytest.raises(RuntimeError, match=r"on the same device|the same device type"):
            operation(here, other)


def test_what_cuda_lets_through_is_let_through(device: Any) -> None:
    x = torch.arange(4.0, device=device)
    assert (x * torch.tensor(2.0)).tolist() == [0, 2, 4, 6]
    assert x[torch.tensor([3, 1])].tolist() == [3, 1]
    x[torch.tensor([0])] = 9.0
    assert x.tolist() == [9, 1, 2, 3]


def test_data_moves_only_when_asked(devices: tuple[Any, ...]) -> None:
    data = torch.arange(3.0)
    here = data.to(devices[0])
    there = here.to(devices[1])
    assert (there.device, there.tolist()) == (devices[1], [0, 1, 2])
    data.zero_()
    assert here.cpu().tolist() == [0, 1, 2]
    data.copy_(there)
    assert data.tolist() == [0, 1, 2]
    there.copy_(torch.ones(3))
    assert (there.tolist(), here.tolist()) == ([1, 1, 1], [0, 1, 2])
    assert there.to("meta").device.type == "meta"
    with pytest.raises(TypeError, match=r"can't convert simulated:.* to numpy"):
        here.numpy()
    with pytest.raises(TypeError, match="can't convert"):
        here.__array__()


def test_devices_of_two_vendors_have_no_copy_between_them(device: Any) -> None:
    x = torch.ones(2, device=device)
    other = activate("rocm")[0]
    with pytest.raises(RuntimeError, match="no copy between devices of cuda and rocm"):
        x.to(other)
    assert x.cpu().to(other).device == other


def test_operators_are_counted_by_device(devices: tuple[Any, ...]) -> None:
    for device in devices:
        state(device).operators.clear()
    x = torch.ones(2, 2, device=devices[1])
    x @ x
    x @ x
    assert state(devices[1]).operators == {"aten::ones": 1, "aten::mm": 2}
    assert not state(devices[0]).operators


def test_operators_of_the_cpu_alone_are_not_there(device: Any) -> None:
    codes = torch.zeros(16, 32, dtype=torch.int32, device=device)
    with pytest.raises(NotImplementedError, match="Could not run 'aten::_convert_weight_to_int4"):
        torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1)


def test_inference_mode_and_no_grad(device: Any) -> None:
    layer = torch.nn.Linear(4, 3).to(device)
    assert {p.device for p in layer.parameters()} == {device}
    x = torch.randn(2, 4)
    for mode in (torch.inference_mode, torch.no_grad):
        with mode():
            assert torch.equal(layer(x.to(device)).cpu(), layer.to("cpu")(x))
        layer.to(device)


def test_views_in_inference_mode_of_tensors_made_before(device: Any) -> None:
    x = torch.arange(6.0, device=device)
    with torch.inference_mode():
        row, made = x.view(2, 3)[1], x + 1
        assert (row.is_inference(), made.is_inference()) == (False, True)
        x.zero_()
        assert made.view(2, 3)[0].is_inference()
    assert row.tolist() == [0, 0, 0]


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_what_was_copied_to_the_host_does_not_share_the_devices_memory(
    mode: Any, devices: tuple[Any, ...]
) -> None:
    with mode():
        x = torch.arange(3.0, device=devices[0])
        copies = [x.cpu(), x.to("cpu"), x.float().cpu(), x.type_as(torch.ones(1)), x.to(devices[1])]
        same = [x.to(devices[0]), x.float(), x.type_as(x)]
        x.zero_()
        assert [copy.tolist() for copy in copies] == [[0, 1, 2]] * len(copies)
        assert [tensor.tolist() for tensor in same] == [[0, 0, 0]] * len(same)
    gc.collect()
    before = state(devices[0]).memory.allocated
    del x, same
    assert state(devices[0]).memory.allocated == before - 12


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_the_vendors_extension_and_the_simulation_are_not_mixed() -> None:
    said = run(
        "import torch\n"
        "torch.utils.rename_privateuse1_backend('npu')\n"
        "from qdeploy.backends.torch.simulated.device import activate\n"
        "from qdeploy.errors import TargetUnavailable\n"
        "try: activate('ascend')\n"
        "except TargetUnavailable as error: print(error)\n"
    )
    assert "the extension for 'npu' is loaded" in said
    assert "fix: simulate in a process that does not import" in said


def test_a_torch_that_cannot_is_named() -> None:
    said = run(
        "from torch.utils import backend_registration\n"
        "del backend_registration._setup_privateuseone_for_python_backend\n"
        "from qdeploy.backends.torch.simulated.device import activate, is_active\n"
        "from qdeploy.errors import TargetUnavailable\n"
        "try: activate('ascend')\n"
        "except TargetUnavailable as error: print(error, is_active())\n"
    )
    assert "cannot register a simulated accelerator" in said
    assert "False" in said


def test_looking_for_a_chip_imports_no_torch() -> None:
    said = run(
        "import sys\n"
        "from qdeploy.backends.torch.simulated import device\n"
        "device.state('simulated:1'), device.is_active()\n"
        "print('torch' in sys.modules)\n"
    )
    assert said == "False\n"


def test_a_target_is_simulated_by_devices_that_say_so() -> None:
    found = simulated_devices.find(ASCEND)
    assert [device.id for device in found[:2]] == [str(device) for device in activate("ascend")]
    assert {device.evidence for device in found} == {Evidence.SIMULATED}
    assert found[0].name == "simulated: the CPU in place of Ascend Atlas A2 (910B)"
    assert [device.architecture for device in found[::2]] == [
        "Ascend910B3", "Ascend910_9382", "Ascend310P3",
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"nothing to simulate cpu with\n.*ascend, cuda, dcu"):
        simulated_devices.find(CPU)
