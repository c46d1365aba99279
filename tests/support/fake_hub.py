"""A model hub on this machine: it serves folders, or answers with a status that a test sets."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """What the hub has.

    Attributes:
        models: folders by hub id; the hub has all of their files.
        status: answer every request with this HTTP status.
        headers: headers of such an answer; the hub says more precisely there what is wrong.
        endpoint: the hub's address.
        served: names of the files that were asked for.
    """

    models: dict[str, Path] = field(default_factory=dict)
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    endpoint: str = ""
    served: list[str] = field(default_factory=list)

    def find(self, path: str) -> tuple[bytes, str] | None:
        """Content and type of the answer to a path; None for nothing."""
        for hub_id, folder in self.models.items():
            if path.startswith(f"/api/models/{hub_id}"):
                names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))
                files = [{"rfilename": name} for name in names if (folder / name).is_file()]
                about = {"id": hub_id, "modelId": hub_id, "sha": COMMIT, "siblings": files}
                return json.dumps(about).encode(), "application/json"
            for revision in (COMMIT, "main"):
                _, found, name = path.partition(f"/{hub_id}/resolve/{revision}/")
                if found and (folder / name).is_file():
                    self.served.append(name)
                    return (folder / name).read_bytes(), "application/octet-stream"
        return None

    def why_nothing(self, path: str) -> str:
        """The hub's word for what it lacks: the file or the model of a path."""
        known = any(f"/{hub_id}/" in path for hub_id in self.models)
        return "EntryNotFound" if known else "RepoNotFound"


@contextmanager
def fake_hub(cache: Path) -> Iterator[FakeHub]:
    """Serve a hub, and let huggingface_hub use it, with *cache* as its cache, in this process."""
    from huggingface_hub import constants

    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", hub.endpoint)
        template = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.delenv("HF_HUB_OFFLINE", raising=False)
        patch.delenv("HF_TOKEN", raising=False)
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = hub.find(urlsplit(self.path).path)
            if hub.status:
                self.answer(hub.status, b"{}", "application/json", hub.headers)
            elif found is None:
                why = {"X-Error-Code": hub.why_nothing(self.path), "X-Repo-Commit": COMMIT}
                self.answer(404, b"{}", "application/json", why)
            else:
                content, kind = found
                etag = f'"{sha256(content).hexdigest()}"'
                self.answer(200, content, kind, {"ETag": etag, "X-Repo-Commit": COMMIT})

        do_HEAD = do_GET  # noqa: N815

        def answer(
            self, status: int, content: bytes, kind: str, headers: Mapping[str, str]
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
