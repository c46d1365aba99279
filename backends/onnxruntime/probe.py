"""The program that loads a provider and asks for its devices, run as a child process.

Its argument is the target's name and the provider's, with a blank between. Prints one JSON value:
what `devices.answer` says.
"""

from __future__ import annotations

import json
import sys

from qdeploy.backends.onnxruntime.devices import answer
from qdeploy.backends.onnxruntime.providers import named


def main() -> None:
    target, name = sys.argv[1].split()
    print(json.dumps(answer(named(target, name))), flush=True)
