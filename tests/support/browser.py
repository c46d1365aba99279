"""A real browser that lays out a page and measures it.

The page is in a frame of the width under test, since a headless window cannot be as narrow as a
phone. The frame's colour scheme is the page's `prefers-color-scheme`. The result is text in the
outer document, so Chromium alone is enough.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--disable-dev-shm-usage",
)  # fmt: skip
HARNESS = """\
<!doctype html><meta charset="utf-8"><style>body { margin: 0 } iframe { border: 0 }</style>
<iframe style="color-scheme: %(scheme)s; width: %(width)dpx; height: %(height)dpx"></iframe>
<pre hidden></pre>
<script>
const frame = document.querySelector("iframe"), out = {errors: []};
const page = new TextDecoder().decode(
  Uint8Array.from(atob("%(page)s"), c => c.charCodeAt(0)));
frame.onload = () => {
  const inside = frame.contentWindow, root = inside.document;
  try { out.value = (%(measure)s)(inside, root); } catch (e) { out.errors.push(String(e)); }
  out.requests = inside.performance.getEntriesByType("resource").map(r => r.name);
  document.querySelector("pre").textContent = JSON.stringify(out);
};
frame.srcdoc = page;
</script>
"""


def find() -> str | None:
    """Return the path of Chromium, under any of its names."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next(filter(None, map(shutil.which, names)), None)


@dataclass(frozen=True)
class View:
    """The outcome of laying out a page.

    Attributes:
        value: what the measuring function returned.
        requests: addresses that the page asked for.
        console: errors and warnings of the page, or of the browser about it.
    """

    value: Any
    requests: list[str]
    console: list[str]


@dataclass(frozen=True)
class Browser:
    """Chromium with a fresh profile for each start."""

    program: str
    folder: Path

    def view(self, page: str, measure: str, *, width: int, dark: bool, height: int = 900) -> View:
        """Lay out HTML text and measure it with a JavaScript function of (window, document)."""
        harness = self._harness(page, measure, width, dark=dark, height=height)
        done = self._start("--dump-dom", "--enable-logging=stderr", harness.as_uri())
        found = re.search(r"<pre hidden[^>]*>(.*?)</pre>", done.stdout, re.DOTALL)
        assert found, done.stdout[:500] + done.stderr
        told = json.loads(unescape(found[1]))
        lines = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return View(told.get("value"), told["requests"], told["errors"] + lines)

    def picture(self, page: str, file: Path, *, width: int, dark: bool, height: int) -> None:
        """Write a screenshot as PNG."""
        harness = self._harness(page, "() => 0", width, dark=dark, height=height)
        size = f"--window-size={max(width, 500)},{height}"
        self._start(size, f"--screenshot={file}", harness.as_uri())

    def _harness(self, page: str, measure: str, width: int, *, dark: bool, height: int) -> Path:
        file = self.folder / "harness.html"
        encoded = base64.b64encode(page.encode()).decode()
        scheme = "dark" if dark else "light"
        values = {"page": encoded, "scheme": scheme, "measure": measure}
        file.write_text(HARNESS % {**values, "width": width, "height": height}, encoding="utf-8")
        return file

    def _start(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        profile = self.folder / "profile"
        shutil.rmtree(profile, ignore_errors=True)
        line = [self.program, *FLAGS, f"--user-data-dir={profile}", *arguments]
        return subprocess.run(line, capture_output=True, text=True, timeout=60, check=True)
