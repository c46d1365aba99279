"""Open a graph on an execution provider, with the record of each node's provider."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qdeploy.backends.onnxruntime import runtime
from qdeploy.backends.onnxruntime.settings import SESSION, Settings, text_of
from qdeploy.errors import PlacementError
from qdeploy.interface import Property

RECORD = "session.record_ep_graph_assignment_info"


def open_session(file: Path, settings: Settings) -> Any:
    """Return an InferenceSession of *file*.

    Raises:
        PlacementError: the runtime silently took another provider.
    """
    ort, provider = runtime.load(), settings.provider
    runtime.prepare(ort, provider)
    options = ort.SessionOptions()
    options.log_severity_level = runtime.FATAL_ONLY
    options.add_session_config_entry(RECORD, "1")
    _apply(options, settings.session)
    if provider.plugin:
        devices = runtime.plugin_devices(provider)
        options.add_provider_for_devices([devices[settings.number]], dict(settings.options))
        return ort.InferenceSession(str(file), options)
    chosen = (provider.name, settings.provider_options)
    session = ort.InferenceSession(str(file), options, providers=[chosen])
    if provider.name not in session.get_providers():
        raise PlacementError(
            f"{provider.name} was asked for, and ONNX Runtime fell back to "
            f"{', '.join(session.get_providers())}",
            where=file,
            fix=f"check {provider.package} and the driver: qdeploy targets",
        )
    return session


def _apply(options: Any, session: Mapping[str, Property]) -> None:
    for name, value in session.items():
        if name in SESSION:
            setattr(options, name, value)
        else:
            options.add_session_config_entry(name, text_of(value))
