"""The PrivateUse1 backend `simulated`: registered once a process, in Python only. Imports torch.

Only operators that make a tensor from nothing reach PrivateUse1 kernels, for all others see the
tensor's `__torch_dispatch__` first. These factories are found by their schemas: a device, and no
tensor. Registering `empty` alone would not do: `arange` and others would make an empty CPU tensor
behind the scenes and resize it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils import backend_registration

from qdeploy.backends.torch.simulated import module
from qdeploy.backends.torch.simulated.state import TYPE
from qdeploy.backends.torch.simulated.tensor import dispatch, make
from qdeploy.errors import TargetUnavailable

UNRENAMED = "privateuseone"
OTHER_TENSORS = ("sparse", "quantized", "mkldnn", "nested", "cudnn", "from_file", "dep_token")
"""Parts of names of factories whose tensors are not strided ones in device memory."""

_lock = threading.Lock()
_library: list[Any] = []
"""Keeps the kernels registered: they go with their library."""


def registered() -> bool:
    return bool(_library)


def register() -> None:
    """Register the device type with torch, if that has not been done.

    Raises:
        TargetUnavailable: this torch cannot register a backend from Python, or another extension
            has taken PrivateUse1.
    """
    with _lock:
        if _library:
            return
        setup = getattr(backend_registration, "_setup_privateuseone_for_python_backend", None)
        if setup is None:
            raise TargetUnavailable(
                f"torch {torch.__version__} cannot register a simulated accelerator",
                "pip install -U torch",
            )
        taken = torch._C._get_privateuse1_backend_name()
        if taken != UNRENAMED:
            raise TargetUnavailable(
                f"the extension for {taken!r} is loaded, and torch has place for one only",
                f"simulate in a process that does not import the extension for {taken!r}",
            )
        setup(rename=TYPE, backend_module=module)
        library = torch.library.Library("aten", "IMPL")
        for operator in _factories():
            library.impl(operator, _factory(operator), "PrivateUse1")
        # reached below Python's dispatch, as in `torch.tensor(list, device=...)`; to call copy_ on
        # the tensors would come back here
        library.impl("_copy_from", _copy_from, "PrivateUse1")
        _library.append(library)


def _factories() -> Iterator[Any]:
    for full in torch._C._dispatch_get_all_op_names():
        namespace, _, rest = full.partition("::")
        if namespace != "aten" or any(part in rest for part in OTHER_TENSORS):
            continue
        name, _, overload = rest.partition(".")
        operator = getattr(getattr(torch.ops.aten, name), overload or "default", None)
        if operator is None:  # of TorchScript only
            continue
        arguments = operator._schema.arguments
        takes_tensor = any("Tensor" in str(argument.type) for argument in arguments)
        if not takes_tensor and any(argument.name == "device" for argument in arguments):
            yield operator


def _factory(operator: Any) -> Callable[..., Any]:
    def kernel(*args: Any, **kwargs: Any) -> Any:
        device = torch.device(kwargs.get("device") or TYPE)
        return make(operator, args, {**kwargs, "device": device})

    return kernel


def _copy_from(source: Any, target: Any, non_blocking: bool = False) -> Any:
    return dispatch(torch.ops.aten.copy_.default, (target, source), {})
