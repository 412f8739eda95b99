"""Resident processes, really started and really killed, each with homes of its own."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette

from session_continuity import resident
from session_continuity.capture.spool.spool import Spool
from session_continuity.web.access import Access
from session_continuity.web.app import create_app
from session_continuity.web.capture_route import capture_route
from session_continuity.web.tokens import CAPTURE, TokenFile

MAIN = Path(__file__).with_name("resident_main.py")


def environment(**added: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CONTINUITY_")}
    return kept | {"PYTHONPATH": os.pathsep.join(sys.path)} | added


def wait_until(true: Callable[[], Any], seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"not true within {seconds} s"
        time.sleep(0.01)


@dataclass
class Running:
    """A resident process that is ready."""

    process: subprocess.Popen[str]
    home: Path
    url: str

    @property
    def spool(self) -> Spool:
        return Spool(self.home / "spool")

    def state(self) -> dict[str, Any]:
        return json.loads((self.home / "serve.json").read_text())

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(5)

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.home / "logs" / "serve.log").read_text().splitlines()]


def ready(process: subprocess.Popen[str], home: Path) -> Running:
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    if not url:
        _, errors = process.communicate(timeout=10)
        raise AssertionError(f"it did not start: {errors}")
    return Running(process, home, url)


@dataclass
class Residents:
    """Starts resident processes, and ends them with the test."""

    folder: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(
        self, *words: str, python: str | Path = sys.executable, user: int | None = None
    ) -> subprocess.Popen[str]:
        """`resident_main.py` with these words; it is not ready yet."""
        process = subprocess.Popen(
            [python, str(MAIN), *words],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            user=user,
            group=user,
            cwd="/",
        )
        self.started.append(process)
        return process

    def serve(self, dsn: str, *, name: str = "home", role: str = "serve", more: str = "") -> Running:
        """Under the same address each time that it is started for this home; `more` are its other settings."""
        home = self.folder / name
        home.mkdir(mode=0o700, exist_ok=True)
        if not (home / "settings.toml").exists():
            with socket.create_server(("127.0.0.1", 0)) as free:
                (home / "settings.toml").write_text(f"serve_port = {free.getsockname()[1]}\n{more}")
        return ready(self.start(role, str(home), dsn), home)

    def forward(self, url: str, token: str, *, name: str = "far") -> Running:
        home = self.folder / name
        return ready(self.start("forward", str(home), url, token), home)

    def token(self, name: str = "home") -> str:
        return TokenFile(self.folder / name).create([CAPTURE])[0]


@pytest.fixture
def residents(tmp_path: Path) -> Iterator[Residents]:
    found = Residents(tmp_path)
    yield found
    for process in found.started:
        process.kill()
        process.communicate()


def put(spool: Spool, session: str, number: int, **more: Any) -> str:
    """One captured record for the small store."""
    return spool.put("claude-code", "Stop", json.dumps({"session": session, "number": number, **more}).encode())


def record(number: int, *, session: str = "s", **other: Any) -> dict[str, Any]:
    """The form of a record for POST /capture."""
    return {
        "name": f"claude-code@Stop@7@{number}-{number:016d}",
        "harness": "claude-code",
        "event": "Stop",
        "host": "far.example",
        "captured_at": 1_770_000_000_000_000_000 + number * 1_000,
        "client_pid": 7,
        "payload": b64encode(json.dumps({"session": session, "number": number}).encode()).decode(),
        **other,
    }


def ask(
    url: str, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """One HTTP request; with a Host among the headers exactly that one is sent."""
    given = headers or {}
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=20)
    try:
        connection.putrequest(method, path, skip_host="Host" in given, skip_accept_encoding=True)
        for name, value in given.items():
            connection.putheader(name, value)
        if body is not None and "Transfer-Encoding" not in given:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    return response.status, json.loads(content) if content[:1] in (b"{", b"[") else content.decode()


def post(url: str, token: str | None, document: Any, **headers: str) -> tuple[int, Any]:
    """POST /capture."""
    given = {"Content-Type": "application/json"}
    if token is not None:
        given["Authorization"] = f"Bearer {token}"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return ask(url, "POST", "/capture", body, given | named)


@dataclass
class Intake:
    """The application in a thread of the test, with a real spool and a token; no database."""

    url: str
    token: str
    spool: Spool
    home: Path

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    def post(self, *records: Any, **headers: str) -> tuple[int, Any]:
        return post(self.url, self.token, {"records": list(records)}, **headers)


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    home = tmp_path / "near"
    spool = Spool(home / "spool")
    token = TokenFile(home).create([CAPTURE])[0]
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    access = Access(port=port, hosts=frozenset({"build.example", "proxy.example:8443"}), tokens=TokenFile(home))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield

    app = create_app(
        access, routes=[capture_route(resident.keep_in(spool))], is_well=lambda: True, lifespan=lifespan
    )
    server = resident.http_server(app)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    wait_until(lambda: server.started)
    yield Intake(f"http://127.0.0.1:{port}", token, spool, home)
    server.should_exit = True
    thread.join(10)
