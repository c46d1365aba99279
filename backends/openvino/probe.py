"""The program that asks one plugin for its devices, run as a child process.

    python -m qdeploy.backends.openvino.probe GPU     # by hand

Loading a plugin runs the vendor's driver, and a broken driver may abort or hang the process it
is loaded into (openvino.genai issue 3429), so that must not be the user's own.
Prints one JSON object: `devices`, a list of objects, and `error`, a string or null.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from qdeploy.backends.openvino import runtime
from qdeploy.backends.openvino.errors import essence

MEMORY = {"GPU": "GPU_DEVICE_TOTAL_MEM_SIZE", "NPU": "NPU_DEVICE_TOTAL_MEM_SIZE"}
DRIVER = {"GPU": "GPU_DRIVER_VERSION", "NPU": "NPU_DRIVER_VERSION"}


def ask(core: Any, plugin: str) -> dict[str, Any]:
    """Return what *plugin*, `GPU` or `NPU`, says about its devices."""
    try:
        numbers = core.get_property(plugin, "AVAILABLE_DEVICES")
        return {"devices": [_describe(core, plugin, n) for n in numbers], "error": None}
    except RuntimeError as error:
        return {"devices": [], "error": essence(error)}


def _describe(core: Any, plugin: str, number: str) -> dict[str, Any]:
    # An NPU's "number" is its architecture; OpenVINO runs one NPU, under the plain name.
    device = f"GPU.{number}" if plugin == "GPU" else plugin
    return {
        "id": device,
        "name": core.get_property(device, "FULL_DEVICE_NAME"),
        "memory_bytes": _optional(core, device, MEMORY[plugin]),
        "driver": _optional(core, device, DRIVER[plugin]),
    }


def _optional(core: Any, device: str, name: str) -> Any:
    try:
        return core.get_property(device, name)
    except RuntimeError:  # this driver does not tell
        return None


def main() -> None:
    answer = ask(runtime.load().ov.Core(), sys.argv[1])
    print(json.dumps(answer, default=str), flush=True)


if __name__ == "__main__":
    main()
