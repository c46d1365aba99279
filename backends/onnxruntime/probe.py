"""The program that asks a plugin for its devices, run as a child process.

Prints one JSON list: what `devices.describe` says.
"""

from __future__ import annotations

import json
import sys

from qdeploy.backends.onnxruntime.devices import describe
from qdeploy.backends.onnxruntime.providers import BY_TARGET


def main() -> None:
    print(json.dumps(describe(BY_TARGET[sys.argv[1]])), flush=True)
