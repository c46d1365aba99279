"""Settings of OpenVINO for a bundle that does not exist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from qdeploy.backends.openvino.settings import Settings, resolve_settings
from qdeploy.bundle import Manifest, ModelIdentity
from qdeploy.interface import Device, LoadOptions, Property
from qdeploy.planning.profile import parse_profile
from qdeploy.targets import Evidence

CONTEXT = 4096
CPU = Device("CPU", "a CPU", "intel-cpu")
GPU = Device("GPU.1", "a GPU", "intel-gpu", driver="26.1")
NPU = Device("NPU", "an NPU", "intel-npu", driver="1005")
SIMULATED_NPU = replace(NPU, evidence=Evidence.SIMULATED)


def manifest(properties: Mapping[str, Property], kv_cache: str) -> Manifest:
    lines = "\n".join(f"{n} = {str(v).lower() if isinstance(v, bool) else repr(v)}"
                      for n, v in properties.items())  # fmt: skip
    written = (
        'schema = 1\ntarget = "intel-cpu"\nformat = "openvino"\nwhy = "For tests."\n'
        f'[weights.linear]\ndtype = "int8"\n[kv_cache]\ndtype = "{kv_cache}"\n'
        f"[runtime.properties]\n{lines}\n"
    )
    return Manifest(
        schema_version=1,
        model=ModelIdentity(
            name="made-up",
            architecture="qwen3",
            parameters=1,
            experts=0,
            vocab_size=100,
            context_length=CONTEXT,
            digest="0" * 64,
        ),
        target="intel-cpu",
        format="openvino",
        exporter="none",
        profile=parse_profile(written, "made-up", where="a test"),
        plan={},
        tools={},
        files={},
    )


def resolve(
    device: Device,
    profiled: Mapping[str, Property] | None = None,
    *,
    kv_cache: str = "u8",
    context: int | None = None,
    **asked: Property,
) -> Settings:
    options = LoadOptions(context=context, properties=asked)
    return resolve_settings(manifest(profiled or {}, kv_cache), device, options)
