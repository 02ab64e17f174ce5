"""A hub and a package index on loopback, as far as huggingface_hub and pip ask them."""

from __future__ import annotations

import contextlib
import hashlib
import html
import json
import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c" * 40


@dataclass
class Hub:
    """Repositories by name, each with its files; and what was asked."""

    files: dict[str, dict[str, bytes]]
    """`models/OWNER/NAME` or `datasets/OWNER/NAME` -> path -> content."""
    packages: dict[str, bytes] = field(default_factory=dict)
    """Name of a file -> content, for the index under /simple/."""
    asked: list[str] = field(default_factory=list)
    """Each GET of a file's content: its path, or `PATH from N`."""
    cut: dict[str, int] = field(default_factory=dict)
    """Path -> bytes after which a connection ends, once."""
    wrong: set[str] = field(default_factory=set)
    """Paths whose content differs from what is listed."""
    url: str = ""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def listing(kind: str, name: str, files: dict[str, bytes]) -> dict[str, Any]:
    """What the hub's API says of a repository: large files have a SHA-256, small ones git's SHA-1."""
    siblings = []
    for path, data in files.items():
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        entry: dict[str, Any] = {"rfilename": path, "size": len(data), "blobId": blob}
        if len(data) > 1000:
            entry["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": 100}
        siblings.append(entry)
    facts = {"id": name, "sha": COMMIT, "siblings": siblings, "cardData": {"license": "mit"}, "tags": []}
    return facts | {"private": False, "downloads": 0, "likes": 0, "gated": False, "disabled": False}


class Handler(BaseHTTPRequestHandler):
    """Answers of the hub and the index."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/api/"):
            kind, owner, name = path.split("/")[2:5]
            files = self.hub.files.get(f"{kind}/{owner}/{name}")
            if files is None:
                return self.send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
            return self.send(200, json.dumps(listing(kind, f"{owner}/{name}", files)).encode())
        if path.startswith("/simple/"):
            return self.index(path.removeprefix("/simple/").strip("/"))
        if path.startswith("/packages/"):
            return self.content(path, self.hub.packages.get(path.rpartition("/")[2]))
        repository, _, file = path.strip("/").partition("/resolve/")
        kind = "" if repository.startswith("datasets/") else "models/"
        return self.content(path, self.hub.files.get(kind + repository, {}).get(file.partition("/")[2]))

    def index(self, name: str) -> None:
        """PEP 503: the files of one project, each with its SHA-256."""
        found = [f for f in self.hub.packages if f.lower().replace("_", "-").startswith(f"{name.lower()}-")]
        if not found:
            return self.send(404, b"")
        links = (f'<a href="/packages/{html.escape(f)}#sha256={sha256(self.hub.packages[f])}">{f}</a>' for f in found)
        return self.send(200, f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode(), kind="text/html")

    def content(self, path: str, data: bytes | None) -> None:
        if data is None:
            return self.send(404, b"", {"X-Error-Code": "EntryNotFound"})
        name = path.rpartition("/")[2]
        etag = {"ETag": f'"{sha256(data)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if name in self.hub.wrong:
            data = data[:-1] + b"?"
        begin = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        cut = self.hub.cut.pop(name, None) if self.command == "GET" else None
        if self.command == "GET":
            self.hub.asked.append(name if not begin else f"{name} from {begin}")
        if begin:
            etag["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        return self.send(206 if begin else 200, data[begin:], etag, cut=cut)

    def send(
        self,
        status: int,
        data: bytes,
        more: dict[str, Any] | None = None,
        *,
        kind: str = "application/json",
        cut: int | None = None,
    ) -> None:
        self.send_response(status)
        for key, value in ({"Content-Type": kind, "Content-Length": str(len(data))} | (more or {})).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            with contextlib.suppress(OSError):
                self.wfile.write(data[:cut])
        if cut is not None:
            self.close_connection = True


@contextlib.contextmanager
def serving(hub: Hub) -> Generator[Hub, None, None]:
    """Serve on a port of loopback until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Serving", (Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
