"""Webhooks that are really asked: one that answers, one that never does, one that never ends its answer."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class Hook:
    """What a webhook heard; `answers` are the statuses of its next answers, 204 when they are used up, each
    after `pause` seconds."""

    url: str = ""
    pause: float = 0.0
    heard: list[tuple[dict[str, str], bytes]] = field(default_factory=list[Any])
    answers: list[int] = field(default_factory=list[int])


@pytest.fixture
def hook() -> Iterator[Hook]:
    found = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(found.pause)
            found.heard.append((dict(self.headers), body))
            self.send_response(found.answers.pop(0) if found.answers else 204)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture
def silent_hook() -> Iterator[str]:
    """The URL of a webhook that takes every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


@dataclass
class Trickle:
    """A webhook that says its answer byte by byte for five seconds; `ended`: the other side had enough."""

    url: str = ""
    ended: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def trickle() -> Iterator[Trickle]:
    found = Trickle()

    def serve(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                asking, _ = server.accept()
                with asking:
                    answer(asking)

    def answer(asking: socket.socket) -> None:
        try:
            for byte in b"HTTP/1.1 204 No Content\r\nSlow: " + b"x" * 70 + b"\r\n\r\n":
                asking.sendall(bytes([byte]))
                time.sleep(0.05)
        except OSError:
            found.ended.set()

    with socket.create_server(("127.0.0.1", 0)) as server:
        found.url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        yield found
