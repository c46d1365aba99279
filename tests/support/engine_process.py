"""A server that stands for an engine: python engine_process.py PORT [HABIT]...

It answers GET /health with 200, and everything else with its process id after it has read a byte.
Its habits make it misbehave:

    orphan      it starts a process in a session of its own, whose id it writes to its output
    stubborn    it ignores SIGTERM
    broken      it ends at once, with a last word
    port-taken  the same, as if its port were in use, unless a file `served` is in its folder
    sick        it answers 503 to /health once it has been asked anything else
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT, *HABITS = sys.argv[1:]
asked = False


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        global asked
        if self.path != "/health":
            asked = True
        self.send_response(503 if asked and "sick" in HABITS else 200)
        self.end_headers()
        self.wfile.write(str(os.getpid()).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


if "broken" in HABITS:
    sys.exit("ValueError: the model is too large")
if "port-taken" in HABITS and not Path("served").exists():
    Path("served").touch()
    sys.exit("OSError: [Errno 98] Address already in use")
if "stubborn" in HABITS:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "orphan" in HABITS:
    left = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    print("orphan", left.pid, flush=True)
ThreadingHTTPServer(("127.0.0.1", int(PORT)), Handler).serve_forever()
