"""A server that stands for an engine: python engine_process.py PORT [HABIT]...

It answers GET /health with 200, POST with a stream of two tokens, and everything else with its
process id. Its habits make it misbehave:

    orphan      it starts a process in a session of its own, whose id it writes to its output
    stubborn    it ignores SIGTERM
    broken      it ends at once, with a last word
    port-taken  the same, as if its port were in use, unless a file `served` is in its folder
    sick        it answers 503 to /health once it has been asked anything else
    deaf        it listens no more once it has answered a POST, and ends a second later, as servers
                do whose engine has died; unless a file `served` is in its folder
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT, *HABITS = sys.argv[1:]
STREAM = (
    b'data: {"choices": [{"index": 0, "text": "", "token_ids": [7, 8]}]}\n\n'
    b'data: {"choices": [{"index": 0, "text": "", "finish_reason": "length"}]}\n\n'
    b"data: [DONE]\n\n"
)
asked = False


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        global asked
        if self.path != "/health":
            asked = True
        self.send_response(503 if asked and "sick" in HABITS else 200)
        self.end_headers()
        self.wfile.write(str(os.getpid()).encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if "deaf" in HABITS and not Path("served").exists():
            Path("served").touch()
            server.shutdown()
            server.socket.close()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(STREAM)

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
server = ThreadingHTTPServer(("127.0.0.1", int(PORT)), Handler)
server.serve_forever()
time.sleep(1)
