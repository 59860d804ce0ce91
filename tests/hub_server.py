"""A stand-in for the Hugging Face Hub on 127.0.0.1, which can also misbehave."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from huggingface_hub import constants
from huggingface_hub.utils import close_session

from sapiens_demo import download

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class StandInHub:
    """Serve files of repositories the way the Hub does, and keep a log of what was asked.

    Args:
        files: (repository, name) to content.
        gated: repositories that are not given to anybody.
        cuts: how many bytes each of the next GETs sends before the connection breaks; None sends all.
        ranges: whether parts of files can be asked for.
        stated_size: what is said of every file's size, where it is not the truth.
        damage: turns the content that is sent into another one.
        log: method, path and Range header of every request.
    """

    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    cuts: list[int | None] = field(default_factory=list)
    ranges: bool = True
    stated_size: int | None = None
    damage: object = staticmethod(lambda content: content)
    log: list[tuple[str, str, str | None]] = field(default_factory=list)

    def __enter__(self) -> StandInHub:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def asked(self, method: str) -> list[tuple[str, str | None]]:
        """Return path and Range of the requests for files made with a method."""
        return [(path, part) for verb, path, part in self.log if verb == method and "/resolve/" in path]


def use_endpoint(monkeypatch, url: str) -> None:
    """Let huggingface_hub, which has read its settings already, talk to an address and to nothing else."""
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(download, "_last_question", None)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    close_session()  # the next one sees the settings above


class _Handler(BaseHTTPRequestHandler):
    hub: StandInHub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)  # through a proxy the whole address is asked for
        self.hub.log.append((self.command, path, self.headers.get("Range")))
        if path == "/":
            self._send(200, {}, b"")
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/[^/]+", path):
            self._list(match[1])
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
            self._file(match[1], match[2])
        else:
            self._send(404, {}, b"")

    def _list(self, repository: str) -> None:
        names = [name for other, name in self.hub.files if other == repository]
        rows = [{"type": "file", "path": name, "size": 1, "oid": "0"} for name in names]
        self._send(200, {"Content-Type": "application/json"}, json.dumps(rows).encode())

    def _file(self, repository: str, name: str) -> None:
        if repository in self.hub.gated:
            return self._send(403, {"X-Error-Code": "GatedRepo"}, b"")
        if (repository, name) not in self.hub.files:
            known = any(other == repository for other, _ in self.hub.files)
            code = "EntryNotFound" if known else "RepoNotFound"
            return self._send(404, {"X-Error-Code": code, "X-Repo-Commit": COMMIT}, b"")
        content = self.hub.files[repository, name]
        digest = hashlib.sha256(content).hexdigest()
        headers = {
            "ETag": f'"{digest}"',
            "X-Linked-Size": str(self.hub.stated_size or len(content)),
            "X-Repo-Commit": COMMIT,
        }
        body = self.hub.damage(content)
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if self.command == "GET" and start and self.hub.ranges:
            return self._send(206 if int(start[1]) < len(body) else 416, headers, body[int(start[1]) :])
        return self._send(200, headers, body)

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            cut = self.hub.cuts.pop(0) if body and self.hub.cuts else None
            self.wfile.write(body[:cut])
        self.close_connection = True
