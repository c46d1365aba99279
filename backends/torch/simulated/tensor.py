"""A tensor of a simulated device, and how operators run on it. Imports torch.

A wrapper subclass: what torch sees has the device, shape, strides and offset, and no data; `raw` is
the CPU tensor that holds the data, and shares its storage as the wrapper would. An operator is
unwrapped, run on the CPU tensors, and its results are wrapped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._mode_utils import no_dispatch

from qdeploy.backends.torch.simulated import kernels, module
from qdeploy.backends.torch.simulated.state import STATES, TYPE, State

COPIES = frozenset({"aten::copy_", "aten::_to_copy"})
"""Operators that move data between devices."""
ACROSS = COPIES | {"aten::_has_compatible_shallow_copy_type"}
"""Operators that take tensors of several devices."""
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
    inputs: dict[int, SimulatedTensor] = {}
    devices: set[torch.device] = set()

    def unwrap(value: Any) -> Any:
        if isinstance(value, SimulatedTensor):
            inputs[id(value.raw)] = value
            devices.add(value.device)
            return value.raw
        if isinstance(value, torch.Tensor) and value.dim():  # a CPU scalar goes with any device
            devices.add(value.device)
        if isinstance(value, torch.device) and value.type == TYPE:
            return torch.device("cpu")
        return value

    target = kwargs.get("device")
    target = None if target is None else torch.device(target)
    if name in CPU_INDICES:
        indices = [i if isinstance(i, SimulatedTensor) else _at(args[0], i) for i in args[1]]
        args = (args[0], indices, *args[2:])
    raw_args, raw_kwargs = _mapped(unwrap, args), _mapped(unwrap, kwargs)
    if name in COPIES:
        _check_copy(name, devices | ({target} if target is not None else set()))
    if len(devices) > 1 and name not in ACROSS:
        raise RuntimeError(
            f"{name}: Expected all tensors to be on the same device, but found at least two "
            f"devices, {' and '.join(sorted(map(str, devices)))}!"
        )
    if target is not None and target.type == TYPE:
        index = _place(target)
    else:
        index = next(iter(inputs.values())).device.index
    state = STATES[index]
    state.operators[name] += 1
    result = _run(state, operator, raw_args, raw_kwargs)
    if operator._schema.is_mutable:
        for tensor in inputs.values():
            _follow(tensor)
    if target is not None and target.type != TYPE:
        return result
    if name == "aten::copy_":
        return args[0]

    def wrap(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        if id(value) in inputs:
            return inputs[id(value)]
        state.memory.count(value)
        return SimulatedTensor(value, index)

    return _mapped(wrap, result)


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """Apply a function to what lists, tuples and dictionaries hold."""
    if isinstance(value, list | tuple):
        return type(value)([_mapped(function, item) for item in value])
    if isinstance(value, dict):
        return {key: _mapped(function, item) for key, item in value.items()}
    return function(value)


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
    """The index as a tensor of the device of *like*, where it is a CPU tensor."""
    if isinstance(index, torch.Tensor) and isinstance(like, SimulatedTensor):
        return SimulatedTensor(index, like.device.index)
    return index


def _check_copy(name: str, devices: set[torch.device]) -> None:
    found = {STATES[_place(d)].chip.target for d in devices if d.type == TYPE}
    if len(found) > 1:
        raise RuntimeError(f"{name}: no copy between devices of {' and '.join(sorted(found))}")


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
