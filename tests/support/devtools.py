"""Chromium driven by its DevTools protocol over a pipe: real keys, real widths, both themes.

`browser.py` lays out a page that is finished; this is for pages that people use. Messages are JSON
with a zero byte at the end, on the file descriptors 3 and 4 of Chromium.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.browser import FLAGS

LAUNCH = (
    "import os, sys; from fcntl import F_DUPFD, fcntl; "
    "read, write = (fcntl(int(number), F_DUPFD, 10) for number in sys.argv[1:3]); "
    "os.dup2(read, 3); os.dup2(write, 4); os.execvp(sys.argv[3], sys.argv[3:])"
)
"""Moves two descriptors to where Chromium expects them, and becomes Chromium."""
KEYS = {"Enter": (13, "\r"), "Escape": (27, ""), "Tab": (9, "")}
SHIFT = 8
WAIT_MS = 20_000


@dataclass
class Tab:
    """One page.

    Attributes:
        console: errors and warnings of the page, or of the browser about it.
        requests: addresses that the page asked for.
    """

    _to: int
    _from: int
    _session: str = ""
    _sent: int = 0
    _rest: bytes = b""
    _loads: int = 0
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def call(self, method: str, **values: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": values}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        for told in self._messages():
            if told.get("id") == self._sent:
                assert "error" not in told, told["error"]
                return dict(told["result"])
            self._note(told)
        raise AssertionError("Chromium has gone")

    def attach(self) -> None:
        """Open an empty page."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.bringToFront")  # a hidden page draws nothing, and its timers are slow
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    def look(self, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Set the size of the page and its colour scheme."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url: str, ready: str) -> None:
        """Open an address with nothing kept from before; return when *ready* is true there."""
        self.call("Page.navigate", url=url)
        self.wait(f"document.readyState === 'complete' && ({ready})")
        self.do("sessionStorage.clear()")
        self.reload(ready)
        self.console.clear()
        self.requests.clear()

    def reload(self, ready: str) -> None:
        """Load the page again; return when *ready* is true in the new one."""
        loads = self._loads
        self.call("Page.reload")
        messages = self._messages()
        while self._loads == loads:
            self._note(next(messages))
        self.wait(ready)

    def do(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; a promise is awaited."""
        found = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until an expression is true."""
        self.do(
            f"""new Promise((resolve, reject) => {{
            const end = performance.now() + {WAIT_MS};
            const look = () => ({condition}) ? resolve() : performance.now() > end
              ? reject(new Error("never: " + {json.dumps(condition)} + document.body.innerText))
              : setTimeout(look, 10);
            look(); }})"""
        )

    def type(self, text: str) -> None:
        """Put text where the focus is, as an input method does."""
        self.call("Input.insertText", text=text)

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press and release a key of `KEYS`."""
        code, text = KEYS[key]
        values = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        values["modifiers"] = SHIFT if shift else 0
        self.call(
            "Input.dispatchKeyEvent", type="keyDown", **values, **({"text": text} if text else {})
        )
        self.call("Input.dispatchKeyEvent", type="keyUp", **values)

    def picture(self, file: Path) -> None:
        """Write a screenshot as PNG."""
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def _note(self, told: dict[str, Any]) -> None:
        values = told.get("params", {})
        match told.get("method"):
            case "Runtime.exceptionThrown":
                self.console.append(json.dumps(values["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if values["type"] in ("error", "warning"):
                self.console.append(json.dumps(values["args"]))
            case "Page.loadEventFired":
                self._loads += 1
            case "Log.entryAdded":
                self.console.append(f"{values['entry']['text']} {values['entry'].get('url', '')}")
            case "Network.requestWillBeSent":
                self.requests.append(values["request"]["url"])

    def _messages(self) -> Iterator[dict[str, Any]]:
        while True:
            while b"\0" in self._rest:
                message, _, self._rest = self._rest.partition(b"\0")
                yield json.loads(message)
            read = os.read(self._from, 1 << 16)
            if not read:
                return
            self._rest += read


@contextmanager
def chromium(program: str, folder: Path) -> Iterator[Tab]:
    """Start Chromium with a fresh profile in *folder*, and stop it at the end."""
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    line = [
        sys.executable, "-c", LAUNCH, str(theirs_in), str(theirs_out), program, *FLAGS,
        "--remote-debugging-pipe", f"--user-data-dir={folder}",
    ]  # fmt: skip
    with subprocess.Popen(
        line, pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            tab = Tab(ours_out, ours_in)
            tab.attach()
            yield tab
        finally:
            process.terminate()
            process.wait()
            os.close(ours_out)
            os.close(ours_in)
