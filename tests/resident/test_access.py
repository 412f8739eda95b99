"""Who may ask the server, and how much: every route, every header that a hostile page or machine could send."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

import pytest

from session_continuity import InvalidInput, Refused, resident
from session_continuity.settings import load_settings
from session_continuity.web import access, connections
from session_continuity.web.tokens import CAPTURE, TokenFile

from .conftest import Intake, ask, post, record, wait_until

ROUTES = [("GET", "/healthz"), ("POST", "/capture"), ("GET", "/capture"), ("GET", "/"), ("GET", "/no/such/route")]
FOREIGN_HOSTS = [
    "evil.test",
    "evil.test:PORT",
    "127.0.0.1:1",
    "127.0.0.1",
    "127.0.0.1.evil.test:PORT",
    "127.0.0.1:PORT.evil.test",
    "localhost.evil.test:PORT",
    "localhost.:PORT",
    "127.1:PORT",
    "2130706433:PORT",
    "0.0.0.0:PORT",
    "[::]:PORT",
    "[::ffff:127.0.0.1]:PORT",
    "user@127.0.0.1:PORT",
    "127.0.0.1:PORT@evil.test",
    "proxy.example",
    "build.example.",
    "",
]

OWN_HOSTS = [
    "127.0.0.1:PORT",
    "localhost:PORT",
    "LOCALHOST:PORT",
    "[::1]:PORT",
    "build.example:1",
    "proxy.example:8443",
]
FOREIGN_ORIGINS = [
    "http://evil.test",
    "https://127.0.0.1.evil.test:PORT",
    "null",
    "http://127.0.0.1:1",
    "file://127.0.0.1:PORT",
    "",
]


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_a_name_that_was_rebound_to_us_gets_nothing(intake: Intake, host: str) -> None:
    named = {"Host": host.replace("PORT", str(intake.port)), "Authorization": f"Bearer {intake.token}"}
    for method, path in ROUTES:
        body = json.dumps({"records": [record(1)]}).encode() if method == "POST" else None
        status, answer = ask(intake.url, method, path, body, {**named, "Content-Type": "application/json"})
        assert (status, answer["error"]) == (421, "host_not_allowed"), (host, path)
    assert intake.spool.names() == []


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:PORT", "localhost:PORT", "LOCALHOST:PORT", "[::1]:PORT", "build.example:1", "proxy.example:8443"],
)
def test_our_own_names_and_the_allowed_ones_are_answered(intake: Intake, host: str) -> None:
    status, answer = ask(intake.url, "GET", "/healthz", headers={"Host": host.replace("PORT", str(intake.port))})
    assert (status, answer) == (200, {"status": "ok"})


def test_a_request_without_a_host_or_with_two_gets_nothing(intake: Intake) -> None:
    good = f"127.0.0.1:{intake.port}"
    for head in ("", f"Host: {good}\r\nHost: evil.test\r\n"):
        for version in ("1.0", "1.1"):
            answer = raw(intake.port, f"GET /healthz HTTP/{version}\r\n{head}\r\n".encode())
            assert answer.split()[1] in (b"400", b"421"), (head, version, answer)


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
def test_pages_of_other_origins_change_nothing(intake: Intake, origin: str) -> None:
    status, answer = intake.post(record(1), Origin=origin.replace("PORT", str(intake.port)))
    assert (status, answer["error"]) == (403, "origin_not_allowed")
    assert intake.spool.names() == []


def test_a_page_of_our_own_may(intake: Intake) -> None:
    for origin in (intake.url, "https://build.example"):
        assert intake.post(record(1), Origin=origin)[0] == 200


def test_a_form_of_a_page_is_no_capture(intake: Intake) -> None:
    """Without a preflight a page can send only such types."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        assert intake.post(record(1), Content_Type=kind)[0] == 415
    assert intake.post(record(1), Content_Encoding="gzip")[0] == 415
    assert intake.spool.names() == []


def test_nothing_but_healthz_answers_without_a_token(intake: Intake) -> None:
    wrong = [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {intake.token}x",
        f"Bearer {intake.token[:-1]}",
        f"Basic {intake.token}",
        intake.token,
        "Bearer \udcff",
        f"Bearer {'x' * 8_000}",
    ]
    for header in wrong:
        given = {} if header is None else {"Authorization": header.encode("latin-1", "replace").decode("latin-1")}
        for method, path in ROUTES[1:]:
            status, answer = ask(intake.url, method, path, headers=given)
            assert (status, answer["error"]) == (401, "no_valid_token"), (header, path)
    assert ask(intake.url, "GET", "/healthz") == (200, {"status": "ok"})
    assert ask(intake.url, "POST", f"/capture?token={intake.token}")[0] == 401
    authorised = {"Authorization": f"Bearer {intake.token}"}
    assert ask(intake.url, "GET", "/no/such/route", headers=authorised)[0] == 404
    assert ask(intake.url, "GET", "/capture", headers=authorised)[0] == 405


def test_a_token_of_another_scope_or_with_an_unknown_restriction_captures_nothing(intake: Intake) -> None:
    file = intake.home / "tokens.json"
    made = json.loads(file.read_text())
    for change, status in (
        ({"scopes": ["read"]}, 403),
        ({"scopes": "capture"}, 401),
        ({"expires_at": "2020-01-01T00:00:00+00:00"}, 401),
        ({"expires_at": "soon"}, 401),
        ({"expires_at": "2020-01-01T00:00:00"}, 401),
        ({"projects": ["consilio"]}, 401),
        ({"projects": "consilio", "scopes": ["read"]}, 401),
        ({"projects": ["consilio"], "scopes": ["read"]}, 403),
        ({"only_on_sundays": True}, 401),
        ({"expires_at": "2999-01-01T00:00:00+00:00"}, 200),
        ({"scopes": ["read", "capture"]}, 200),
    ):
        file.write_text(json.dumps({**made, "tokens": [{**made["tokens"][0], **change}]}))
        assert intake.post(record(1))[0] == status, change


def test_a_token_is_kept_as_a_hash_and_revoked_at_once(intake: Intake) -> None:
    file = intake.home / "tokens.json"
    assert intake.token not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    others = {"id": "x", "hash": "0", "scopes": ["admin"], "later": "kept"}
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, "tokens": [others, *document["tokens"]]}))
    fresh, _ = TokenFile(intake.home).create([CAPTURE])
    assert intake.post(record(1))[0] == 200
    TokenFile(intake.home).revoke(document["tokens"][0]["id"])
    assert intake.post(record(1))[0] == 401
    assert post(intake.url, fresh, {"records": [record(1)]})[0] == 200
    kept = json.loads(file.read_text())["tokens"]
    assert kept[0] == others
    assert len(kept) == 2


def test_a_token_file_that_others_can_read_opens_nothing(intake: Intake) -> None:
    file = intake.home / "tokens.json"
    file.chmod(0o640)
    status, answer = intake.post(record(1))
    assert (status, answer["error"]) == (503, "tokens_unreadable")
    assert str(intake.home) not in json.dumps(answer)
    for content in ("", "[]", '{"version": 2}', "\0"):
        file.unlink()
        file.touch(0o600)
        file.write_text(content)
        assert intake.post(record(1))[0] == 503
    file.unlink()
    assert intake.post(record(1))[0] == 401


def test_a_body_beyond_the_limit_is_refused(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "BODY_LIMIT", 100_000)
    small = {"records": [record(1, payload="A" * 1_000)]}
    assert post(intake.url, intake.token, small)[0] == 200
    large = json.dumps({"records": [record(1, payload="A" * 120_000)]}).encode()
    status, answer = post(intake.url, intake.token, large)
    assert (status, answer["error"]) == (413, "body_too_large")
    # Told nothing of its size, it is counted as it comes.
    pieces = (
        b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (large[:50_000], large[50_000:])) + b"0\r\n\r\n"
    )
    status, answer = post(intake.url, intake.token, pieces, Transfer_Encoding="chunked")
    assert (status, answer["error"]) == (413, "body_too_large")
    assert len(intake.spool.names()) == 1


def test_a_body_that_does_not_come_is_refused(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "BODY_SECONDS", 0.3)
    answer = raw(
        intake.port,
        f"POST /capture HTTP/1.1\r\nHost: 127.0.0.1:{intake.port}\r\nAuthorization: Bearer {intake.token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{".encode(),
    )
    assert b" 408 " in answer
    assert b"body_too_slow" in answer


def test_a_head_that_does_not_come_is_hung_up_on(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.3)
    assert raw(intake.port, b"") == b""
    assert raw(intake.port, b"GET /healthz HTTP/1.1\r\nHo") == b""
    with socket.create_connection(("127.0.0.1", intake.port), timeout=5) as client:
        client.sendall(f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{intake.port}\r\n\r\n".encode())
        assert client.recv(65_536).startswith(b"HTTP/1.1 200")
        for byte in b"GET /healthz HTTP/1.1":  # each byte would begin uvicorn's own patience anew
            try:
                client.sendall(bytes([byte]))
            except OSError:
                break
            time.sleep(0.05)
        else:
            pytest.fail("it was waited for")


def test_connections_beyond_the_limit_are_refused_and_the_others_served(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 20)
    idle = [socket.create_connection(("127.0.0.1", intake.port)) for _ in range(20)]
    try:
        wait_until(lambda: b"too_many_connections" in raw(intake.port, b""))
        idle[0].sendall(f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{intake.port}\r\n\r\n".encode())
        assert idle[0].recv(65_536).startswith(b"HTTP/1.1 200")
    finally:
        for each in idle:
            each.close()
    wait_until(lambda: ask(intake.url, "GET", "/healthz")[0] == 200)


def test_an_address_beyond_loopback_needs_tokens_and_hosts(tmp_path: Path) -> None:
    def serve(**options: object) -> None:
        resident.serve(load_settings(home=tmp_path, dsn="host=/no/such/folder", serve_host="0.0.0.0", **options))

    for hosts in (None, ("build.example",)):
        with pytest.raises(Refused, match="other machines"):
            serve(serve_hosts=hosts)
    TokenFile(tmp_path).create([CAPTURE])[0]
    with pytest.raises(Refused, match="other machines"):
        serve()
    issuer = {f"oauth_{name}": "https://login.example/" for name in ("issuer", "audience", "jwks")}
    with pytest.raises(Refused, match="other machines"):
        serve(**issuer)
    with pytest.raises(InvalidInput, match="oauth_jwks"):
        serve(serve_hosts=("build.example",), **{**issuer, "oauth_jwks": "http://login.example/"})
    with pytest.raises(InvalidInput, match="host name"):
        serve(serve_hosts=("http://build.example",))
    with pytest.raises(InvalidInput, match="no address"):
        resident.serve(load_settings(home=tmp_path, serve_host="no such host"))
    assert not os.path.exists(tmp_path / "serve.json")


def raw(port: int, request: bytes) -> bytes:
    """What is answered until the server hangs up, or has answered and waits."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(request)
        answer = b""
        while part := client.recv(65_536):
            answer += part
            if b"}" in part and b"GET" not in request:
                break
        return answer
