"""A tensor of a simulated device, and how operators run on it. Imports torch.

A wrapper subclass: what torch sees has the device, shape, strides and offset, and no data; `raw` is
the CPU tensor that holds the data, and shares its storage as the wrapper would. An operator is
unwrapped, run on the CPU tensors, and its results are wrapped.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.utils._mode_utils import no_dispatch

from qdeploy.backends.torch.simulated import kernels, module
from qdeploy.backends.torch.simulated.state import STATES, TYPE, State

COPIES = frozenset({"aten::copy_", "aten::_to_copy"})
"""Operators that move data between devices."""
ACROSS = frozenset({"aten::_has_compatible_shallow_copy_type"})
"""Other operators that take tensors of several devices."""
MOVES = frozenset({"aten::to", "aten::type_as"})
"""Operators that are made of copies, or of nothing where the tensor is there already. In inference
mode they come here whole, and the data of a simulated tensor is always there already."""
CPU_INDICES = frozenset({"aten::index", "aten::index_put", "aten::index_put_"})
"""Operators whose indices, their second argument, may be CPU tensors, as on CUDA."""


class SimulatedTensor(torch.Tensor):  # type: ignore[misc]  # a base without types
    """A tensor on `simulated:index`, whose data is the CPU tensor *raw*."""

    raw: Any
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, raw: Any, index: int) -> SimulatedTensor:
        # a view of an older tensor is no inference tensor, also where inference mode makes it
        with torch.inference_mode(raw.is_inference()):
            tensor = torch.Tensor._make_wrapper_subclass(
                cls,
                raw.shape,
                raw.stride(),
                raw.storage_offset(),
                dtype=raw.dtype,
                device=torch.device(TYPE, index),
                storage_size=raw.untyped_storage().nbytes(),
            )
        tensor.raw = raw
        return tensor  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"{self.raw!r} on {self.device}"

    def tolist(self) -> Any:
        return self.raw.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """The data as an array, only by *force*, as of every device but the CPU.

        Raises:
            TypeError: without *force*.
        """
        if not force:
            raise TypeError(
                f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to "
                "copy the tensor to host memory first."
            )
        return self.cpu().numpy()

    @classmethod
    def __torch_dispatch__(
        cls, operator: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return dispatch(operator, args, kwargs or {})


def make(operator: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run a factory, whose `device` is a simulated one.

    Raises:
        torch.OutOfMemoryError: the tensor does not fit; its memory is not taken from the host.
    """
    memory = STATES[_place(kwargs["device"])].memory
    if memory.limit is not None:
        plan = operator(*args, **{**kwargs, "device": "meta"})
        memory.check(math.prod(plan.shape) * plan.element_size())
    return dispatch(operator, args, kwargs)


def dispatch(operator: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operator some of whose tensors, or whose `device`, are simulated.

    Raises:
        RuntimeError: its tensors are on several devices.
        NotImplementedError: the chip does not have it, or its tensor would have to grow in place.
        torch.OutOfMemoryError: a result does not fit the device.
    """
    name = operator._schema.name
    if name in MOVES:
        return operator.decompose(*args, **kwargs)
    target = kwargs.get("device")
    target = None if target is None else torch.device(target)
    inputs = Inputs()
    if name in CPU_INDICES:
        args = (args[0], [_at(args[0], index) for index in args[1]], *args[2:])
    raw_args = [inputs.unwrap(value) for value in args]
    raw_kwargs = {key: inputs.unwrap(value) for key, value in kwargs.items()}
    _check_devices(name, inputs.devices, target)
    if target is not None and target.type == TYPE:
        index = _place(target)
    else:
        index = next(iter(inputs.tensors.values())).device.index
    state = STATES[index]
    state.operators[name] += 1
    result = _run(state, operator, raw_args, raw_kwargs)
    if operator._schema.is_mutable:
        for tensor in inputs.tensors.values():
            _follow(tensor)
    if target is not None and target.type != TYPE:
        return result
    if name == "aten::copy_":
        return args[0]
    return inputs.wrap(result, index)


class Inputs:
    """The tensors that an operator is given.

    Attributes:
        tensors: the simulated ones, by the id of their data.
        devices: where all of them are, but for CPU scalars, which go with any device.
    """

    def __init__(self) -> None:
        self.tensors: dict[int, SimulatedTensor] = {}
        self.devices: set[torch.device] = set()

    def unwrap(self, value: Any) -> Any:
        """An argument for the CPU."""
        if isinstance(value, SimulatedTensor):
            self.tensors[id(value.raw)] = value
            self.devices.add(value.device)
            return value.raw
        if isinstance(value, list | tuple):
            return type(value)([self.unwrap(item) for item in value])
        if isinstance(value, torch.Tensor) and value.dim():
            self.devices.add(value.device)
        if isinstance(value, torch.device) and value.type == TYPE:
            return torch.device("cpu")
        return value

    def wrap(self, value: Any, index: int) -> Any:
        """A result of the CPU on the device of this index. An argument's own data is that argument.

        Raises:
            torch.OutOfMemoryError: it does not fit there.
        """
        if isinstance(value, torch.Tensor):
            known = self.tensors.get(id(value))
            if known is not None:
                return known
            STATES[index].memory.count(value)
            return SimulatedTensor(value, index)
        if isinstance(value, list | tuple):
            return type(value)([self.wrap(item, index) for item in value])
        return value


def _check_devices(name: str, devices: set[torch.device], target: torch.device | None) -> None:
    if name in COPIES:
        ends = devices | ({target} if target is not None else set())
        found = {STATES[_place(end)].chip.target for end in ends if end.type == TYPE}
        if len(found) > 1:
            raise RuntimeError(f"{name}: no copy between devices of {' and '.join(sorted(found))}")
    elif len(devices) > 1 and name not in ACROSS:
        raise RuntimeError(
            f"{name}: Expected all tensors to be on the same device, but found at least two "
            f"devices, {' and '.join(sorted(map(str, devices)))}!"
        )


def _place(device: torch.device) -> int:
    """The index of a simulated device; that of the current one where it has none.

    Raises:
        RuntimeError: there is no such device.
    """
    index = module.current_device() if device.index is None else int(device.index)
    if index >= len(STATES):
        raise RuntimeError(f"invalid device ordinal: there is no {device}")
    return index


def _run(state: State, operator: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    kernel = kernels.find(state.chip, operator)
    try:
        return kernel(*args, **kwargs)
    except RuntimeError as error:
        if "DefaultCPUAllocator" not in str(error):
            raise
        raise torch.OutOfMemoryError(f"the host of a simulated device: {error}") from None


def _at(like: Any, index: Any) -> Any:
    """The index, as a tensor of the device of *like* if it is a CPU tensor."""
    on_cpu = isinstance(index, torch.Tensor) and not isinstance(index, SimulatedTensor)
    if on_cpu and isinstance(like, SimulatedTensor):
        return SimulatedTensor(index, like.device.index)
    return index


def _follow(tensor: SimulatedTensor) -> None:
    """Give a tensor the shape, strides and offset that its data got in place."""
    raw = tensor.raw
    now = raw.shape, raw.stride(), raw.storage_offset()
    before = tensor.shape, tensor.stride(), tensor.storage_offset()
    if now == before:
        return
    if raw.untyped_storage().nbytes() > tensor.untyped_storage().nbytes():
        raw.as_strided_(*before)
        raise NotImplementedError("a simulated tensor cannot grow in place; make a new one")
    included = torch._C._meta_in_tls_dispatch_include()
    with no_dispatch():
        torch._C._set_meta_in_tls_dispatch_include(True)
        try:
            torch.ops.aten.as_strided_.default(tensor, *now)
        finally:
            torch._C._set_meta_in_tls_dispatch_include(included)
