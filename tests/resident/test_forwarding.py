"""A spool is sent to another machine: in order, once, redacted, and removed only after the answer."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from session_continuity import InvalidInput, Unavailable
from session_continuity.capture.spool import forwarding
from session_continuity.capture.spool.forwarding import Destination, Forwarder
from session_continuity.capture.spool.spool import Spool
from session_continuity.web import access, capture_route

from .conftest import Intake, environment, put, wait_until

FAR = "far.example"


@pytest.fixture
def far(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "far" / "spool")


def forwarder(far: Spool, url: str, token: str, redact: Callable[[Any], Any] = lambda value: value) -> Forwarder:
    return Forwarder(far, Destination.of(url, token), host=FAR, redact=redact)


def send_all(sender: Forwarder) -> None:
    while sender.send_batch():
        pass


def numbers(spool: Spool) -> list[int]:
    return [json.loads(each.payload)["number"] for each in spool.pending(10_000)]


def test_everything_arrives_once_and_in_order(intake: Intake, far: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding, "BATCH_RECORDS", 7)
    names = [put(far, "s", number) for number in range(50)]
    times = [each.captured_at for each in far.pending()]
    send_all(forwarder(far, intake.url, intake.token))
    assert far.names() == []
    arrived = intake.spool.pending()
    assert numbers(intake.spool) == list(range(50))
    assert [each.name for each in arrived] == [f"{name}@{FAR}" for name in names]
    assert [each.captured_at for each in arrived] == times


@pytest.mark.parametrize("after", [0, 1, 300, 5_000])
def test_an_answer_that_is_lost_loses_and_doubles_nothing(intake: Intake, far: Spool, after: int) -> None:
    for number in range(20):
        put(far, "s", number)
    with relay(intake.port, cut_answer=True, cut_request_after=after or None) as port:
        with pytest.raises(Unavailable):
            forwarder(far, f"http://127.0.0.1:{port}", intake.token).send_batch()
        assert len(far.names()) == 20
        if not after:
            assert len(intake.spool.names()) == 20, "only the answer was lost"
    send_all(forwarder(far, intake.url, intake.token))
    assert numbers(intake.spool) == list(range(20))


def test_removing_before_the_answer_would_lose(intake: Intake, far: Spool) -> None:
    """Control: the same fault, under a forwarder that does not wait."""

    class Hasty(Forwarder):
        def _ask(self, body: bytes) -> tuple[int, dict[str, Any]]:
            for name in far.names():
                far.remove(name)
            return super()._ask(body)

    for number in range(20):
        put(far, "s", number)
    with relay(intake.port, cut_answer=True, cut_request_after=300) as port, pytest.raises(Unavailable):
        Hasty(
            far, Destination.of(f"http://127.0.0.1:{port}", intake.token), host=FAR, redact=lambda v: v
        ).send_batch()
    assert len(numbers(intake.spool)) + len(far.names()) < 20


def test_new_names_for_the_same_records_would_double(intake: Intake, far: Spool) -> None:
    """Control: it is the name that keeps a record single."""

    class Forgetful(Forwarder):
        def _form(self, record: Any) -> dict[str, Any]:
            head = record.name.rpartition("-")[0]
            self.asked = getattr(self, "asked", 0) + 1
            return {**super()._form(record), "name": f"{head}-{self.asked:016d}"}

    put(far, "s", 0)
    sender = Forgetful(far, Destination.of(intake.url, intake.token), host=FAR, redact=lambda value: value)
    with relay(intake.port, cut_answer=True) as port:
        lossy = Destination.of(f"http://127.0.0.1:{port}", intake.token)
        sender._destination, real = lossy, sender._destination
        with pytest.raises(Unavailable):
            sender.send_batch()
        sender._destination = real
    sender.send_batch()
    assert numbers(intake.spool) == [0, 0]


def test_nothing_leaves_this_machine_unredacted(intake: Intake, far: Spool) -> None:
    def redact(value: Any) -> Any:
        return {**value, "text": "[secret]"} if "text" in value else value

    put(far, "s", 0, text="hunter2")
    for content in (b"hunter2 without JSON", b"\xff\xfe", b"[" * 100_000, b'{"a": '):
        far.put("claude-code", "Stop", content)
    seen = bytearray()
    with relay(intake.port, seen=seen) as port:
        send_all(forwarder(far, f"http://127.0.0.1:{port}", intake.token, redact))
    (arrived,) = intake.spool.pending()
    assert json.loads(arrived.payload) == {"session": "s", "number": 0, "text": "[secret]"}
    assert b"POST /capture" in seen
    assert {each.code for each in far.quarantined()} == {"payload_not_json"}
    assert len(far.quarantined()) == 4


def test_the_command_redacts_and_forwards(intake: Intake, far: Spool) -> None:
    put(far, "s", 0, password="hunter2hunter2")
    home = far.folder.parent
    command = [sys.executable, "-m", "session_continuity", "--home", str(home), "forward", "--to", intake.url]
    forwarding = subprocess.Popen(
        [*command, "--token-stdin", "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        assert forwarding.stdin is not None
        forwarding.stdin.write(f"{intake.token}\n")
        forwarding.stdin.close()
        wait_until(lambda: intake.spool.names() and not far.names())
        (arrived,) = intake.spool.pending()
        assert json.loads(arrived.payload)["number"] == 0
        assert b"hunter2" not in arrived.payload
        assert b"password" in arrived.payload
        forwarding.terminate()
        assert forwarding.wait(5) == 0
        assert forwarding.stdout is not None
        assert json.load(forwarding.stdout) == {"stopped": True}
        told = "".join(path.read_text("utf-8", "replace") for path in home.rglob("*.*") if path.is_file())
        assert intake.token not in told
    finally:
        forwarding.kill()
        forwarding.wait()


def test_when_redaction_breaks_the_record_stays_here(intake: Intake, far: Spool) -> None:
    def redact(value: Any) -> Any:
        if value["number"] == 1:
            raise RuntimeError("hunter2")
        return value

    for number in range(3):
        put(far, "s", number)
    send_all(forwarder(far, intake.url, intake.token, redact))
    assert numbers(intake.spool) == [0, 2]
    (kept,) = far.quarantined()
    assert (kept.code, "hunter2" in kept.reason) == ("internal", False)


def test_a_server_without_the_token_gets_nothing_and_everything_waits(intake: Intake, far: Spool) -> None:
    put(far, "s", 0)
    with pytest.raises(Unavailable, match="does not take this token"):
        forwarder(far, intake.url, "wrong").send_batch()
    (intake.spool.folder / "full").touch()
    with pytest.raises(Unavailable, match="507"):
        forwarder(far, intake.url, intake.token).send_batch()
    assert len(far.names()) == 1


IMPOSTORS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n<html>hi</html>",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    b'HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n{"stored": 1, "refused": []}',
    b'HTTP/1.1 200 OK\r\n\r\n{"stored": 9, "refused": []}',
    b'HTTP/1.1 200 OK\r\n\r\n{"stored": true, "refused": []}',
    b'HTTP/1.1 200 OK\r\n\r\n{"stored": 1, "refused": [{"place": 7}]}',
    b'HTTP/1.1 200 OK\r\n\r\n{"stored": 1, "refused": [{"place": 0}, {"place": 0}]}',
    b'HTTP/1.1 200 OK\r\n\r\n{"stored": 0, "refused": [1, 2]}',
    b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 200_000,
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://evil.test/\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 500 \x1b[31m\r\nContent-Length: 0\r\n\r\n",
    b"SSH-2.0-OpenSSH\r\n",
    b"",
]


@pytest.mark.parametrize("answer", IMPOSTORS)
def test_an_answer_that_speaks_of_something_else_removes_nothing(far: Spool, answer: bytes) -> None:
    put(far, "s", 0)
    put(far, "s", 1)
    with answering(answer) as port, pytest.raises(Unavailable) as caught:
        forwarder(far, f"http://127.0.0.1:{port}", "token").send_batch()
    assert "\x1b" not in caught.value.message
    assert len(far.names()) == 2
    assert far.quarantined() == []


def test_what_the_server_refuses_for_ever_is_quarantined_here(
    intake: Intake, far: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        put(far, "s", number)
    keeps = capture_route._record

    def picky(given: Any) -> Any:
        record = keeps(given)
        if json.loads(record.payload)["number"] == 1:
            raise InvalidInput("not \x1b[31m this one", code="picky")
        return record

    monkeypatch.setattr(capture_route, "_record", picky)
    send_all(forwarder(far, intake.url, intake.token))
    assert numbers(intake.spool) == [0, 2]
    (kept,) = far.quarantined()
    assert (kept.code, kept.reason) == ("picky", "refused by the server: not \\x1b[31m this one")
    monkeypatch.undo()
    far.retry(kept.name)
    send_all(forwarder(far, intake.url, intake.token))
    assert numbers(intake.spool) == [0, 1, 2]


def test_a_batch_that_is_too_large_is_sent_in_parts(
    intake: Intake, far: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "BODY_LIMIT", 20_000)
    for number in range(12):
        put(far, "s", number, text="x" * (3_000 if number != 5 else 30_000))
    send_all(forwarder(far, intake.url, intake.token))
    assert numbers(intake.spool) == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    (kept,) = far.quarantined()
    assert kept.code == "body_too_large"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host:1",
        "ftp://x",
        "http://",
        "https://user@x",
        "https://u:p@x",
        "https://x?token=1",
        "https://x:port",
        "x y",
    ],
)
def test_a_url_that_names_no_server_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        Destination.of(url, "token")


def test_without_encryption_only_this_machine_is_sent_to() -> None:
    for url in ("http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "https://build.example"):
        assert Destination.of(url, "token").url.startswith(url)
    for url in ("http://build.example", "http://10.0.0.1:80", "http://localhost.evil.test"):
        with pytest.raises(InvalidInput, match="https"):
            Destination.of(url, "token")
        assert Destination.of(url, "token", plain=True).path == "/capture"
    assert (
        Destination.of("https://build.example/continuity/", "t").url
        == "https://build.example:443/continuity/capture"
    )
    for token in ("", "a b", "a\r\nX: y", "ü"):
        with pytest.raises(InvalidInput):
            Destination.of("https://build.example", token)


@contextmanager
def relay(
    target: int, *, cut_answer: bool = False, cut_request_after: int | None = None, seen: bytearray | None = None
) -> Iterator[int]:
    """A port that leads to `target`, and hangs up in the middle as told."""
    listener = socket.create_server(("127.0.0.1", 0))
    own_host, host = (f"Host: 127.0.0.1:{port}\r\n".encode() for port in (listener.getsockname()[1], target))

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client, socket.create_connection(("127.0.0.1", target)) as server:
                threading.Thread(target=back, args=(server, client), daemon=True).start()
                passed = 0
                while data := client.recv(65_536):
                    if seen is not None:
                        seen.extend(data)
                    data = data.replace(own_host, host)
                    if cut_request_after is not None:
                        data = data[: max(0, cut_request_after - passed)]
                    passed += len(data)
                    server.sendall(data)
                    if cut_request_after is not None and passed >= cut_request_after:
                        break

    def back(server: socket.socket, client: socket.socket) -> None:
        try:
            while data := server.recv(65_536):
                if cut_answer:
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """A port where somebody else answers, whatever it is asked."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        client, _ = listener.accept()
        with client:
            client.recv(1_000_000)
            client.sendall(answer)
            client.shutdown(socket.SHUT_WR)
            client.recv(1_000_000)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.close()
    thread.join(5)
