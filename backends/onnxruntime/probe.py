"""The program that loads a provider and asks for its devices, run as a child process.

Prints one JSON value: what `devices.answer` says.
"""

from __future__ import annotations

import json
import sys

from qdeploy.backends.onnxruntime.devices import answer
from qdeploy.backends.onnxruntime.providers import BY_TARGET


def main() -> None:
    print(json.dumps(answer(BY_TARGET[sys.argv[1]])), flush=True)
