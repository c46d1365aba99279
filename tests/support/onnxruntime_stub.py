"""A stub of ONNX Runtime that records its calls, for hardware that is absent."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qdeploy.backends.onnxruntime import runtime
from qdeploy.backends.onnxruntime.providers import FOR_TARGET, Provider
from qdeploy.backends.onnxruntime.settings import Settings, resolve_settings
from qdeploy.interface import Device, LoadOptions, Property
from qdeploy.planning.profile import load_profile
from qdeploy.targets import Target


class Stub:
    """The part of `onnxruntime` that a session uses, with any provider."""

    __version__ = "stub"

    def __init__(self, shapes: Mapping[str, list[Any]], fallback: str = "") -> None:
        self.shapes, self.fallback = shapes, fallback
        self.preloaded = 0
        self.sessions: list[SimpleNamespace] = []
        self.runs: list[dict[str, Any]] = []
        self.values: list[tuple[str, int, int]] = []
        self.OrtValue = SimpleNamespace(ortvalue_from_numpy=self._value)
        self.SessionOptions = lambda: SimpleNamespace(
            entries={}, add_session_config_entry=lambda *_: None,
            add_provider_for_devices=lambda *given: self.plugged.append(given),
        )  # fmt: skip
        self.plugged: list[tuple[Any, ...]] = []

    def preload_dlls(self) -> None:
        self.preloaded += 1

    def set_default_logger_severity(self, level: int) -> None: ...

    def _value(self, zeros: Any, kind: str = "cpu", number: int = 0, vendor: int = -1) -> Any:
        assert not zeros.any()
        self.values.append((kind, number, vendor))
        return SimpleNamespace(shape=zeros.shape, dtype=zeros.dtype)

    def InferenceSession(self, file: str, options: Any, providers: Any = None) -> Any:  # noqa: N802
        session = SimpleNamespace(
            file=file, providers=providers,
            get_providers=lambda: [self.fallback or providers[0][0], "CPUExecutionProvider"],
            get_inputs=lambda: [
                SimpleNamespace(name=n, shape=s, type="tensor(float16)")
                for n, s in self.shapes.items()
            ],
            io_binding=lambda: Binding(self),
            run_with_iobinding=lambda binding, options=None: binding.ran(options),
        )  # fmt: skip
        self.sessions.append(session)
        return session

    class RunOptions:
        def __init__(self) -> None:
            self.entries: dict[str, str] = {}

        def add_run_config_entry(self, name: str, value: str) -> None:
            self.entries[name] = value


class Binding:
    """Records one run: shapes of the inputs from the host, and where the cache was."""

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._run: dict[str, Any] = {}
        self._outputs: dict[str, tuple[Any, ...]] = {}

    def bind_cpu_input(self, name: str, array: Any) -> None:
        self._run[name] = array

    def bind_ortvalue_input(self, name: str, value: Any) -> None:
        self._run[name] = value

    bind_ortvalue_output = bind_ortvalue_input

    def bind_output(self, name: str, *where: Any) -> None:
        self._outputs[name] = where

    def ran(self, options: Any) -> None:
        given = {"options": options and options.entries, "outputs": self._outputs}
        self._stub.runs.append(self._run | given)

    def get_outputs(self) -> list[Any]:
        tokens = self._run["input_ids"].shape[1]
        return [
            SimpleNamespace(numpy=lambda: np.zeros((1, tokens, 8), np.float16))
            for _ in self._outputs
        ]


CACHE = {f"past_key_values.0.{kind}": ["b", 2, "p", 128] for kind in ("key", "value")}
FIXED = {name: [1, 2, 64, 128] for name in CACHE} | {
    "input_ids": [1, 16], "attention_bias": [1, 1, 16, 64]
}  # fmt: skip


def stubbed(patch: pytest.MonkeyPatch, shapes: Mapping[str, list[Any]], fallback: str = "") -> Stub:
    stub = Stub(shapes, fallback)
    patch.setattr(runtime, "load", lambda: stub)
    return stub


def chosen(target: Target, name: str, number: int = 0, **properties: Property) -> Settings:
    """Return a shipped profile's settings on device *number* of the preferred provider."""
    provider = FOR_TARGET[target.name][0]
    return chosen_on(provider, f"{provider.name}:{number}", name, **properties)


def chosen_on(provider: Provider, device_id: str, name: str, **properties: Property) -> Settings:
    """Return a shipped profile's settings on a device of *provider*."""
    weights = load_profile(name).weights
    kinds = (weights.linear, weights.embedding, weights.lm_head, weights.router)
    manifest: Any = SimpleNamespace(
        profile=load_profile(name), format=load_profile(name).format,
        model=SimpleNamespace(context_length=64, vocab_size=8),
        plan={"by_precision": {str(kind): {} for kind in kinds}},
    )  # fmt: skip
    device = Device(device_id, "made up", provider.target.name)
    return resolve_settings(manifest, provider, device, LoadOptions(properties=properties))
