"""The services inside `continuity serve`, as a process of its own beside a real agent process."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from tests.client.test_deadlines import stopped
from tests.faults.killing import own_home
from tests.services.fleet import event_types, many, silence
from tests.services.test_heartbeat import SLEEP, mark_of
from tests.services.test_leases import eventually

from session_continuity import SessionContinuity
from session_continuity.capture.serving import find_resident
from session_continuity.domain.session_registry import Origin
from session_continuity.web.sign_in import COOKIE, SignIns
from session_continuity.web.tokens import READ, TokenFile

Connection = psycopg.Connection[Any]


@pytest.fixture
def serving(database: str, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = os.environ | {"CONTINUITY_HOME": str(tmp_path / "home"), "CONTINUITY_DSN": database}
    process = subprocess.Popen(
        [sys.executable, "-m", "session_continuity", "serve"], env=environment, stderr=subprocess.DEVNULL
    )
    yield process
    process.kill()
    process.wait()


def test_it_sweeps_saves_and_sees_the_end_of_a_process(
    client: SessionContinuity, connection: Connection, serving: subprocess.Popen[bytes]
) -> None:
    agent = subprocess.Popen(SLEEP)
    running = client.register_session(
        "shop", origin=Origin(host=socket.gethostname()), metadata={"process": mark_of(agent.pid)}
    ).instance_id
    epic = client.register_session("shop").instance_id
    client.append_event(epic, "epic_completed", {"epic_id": "1"})
    (silent,) = many(connection, 1, silent=1)
    silence(connection, running, "2 hours")
    try:
        eventually(lambda: client.get_session(running).process_seen_at is not None, 30)
        eventually(lambda: event_types(connection, silent)[1:] == ["instance_stale", "checkpoint_created"], 60)
        eventually(lambda: event_types(connection, epic)[1:] == ["epic_completed", "checkpoint_created"], 60)
    finally:
        agent.kill()
        agent.wait()
    eventually(lambda: event_types(connection, running)[-2:] == ["instance_stale", "checkpoint_created"], 60)
    states = {state.name: state for state in client.list_services()}
    assert states.keys() >= {"automatic_checkpoints", "heartbeat", "stale_sweep", "alerts", "search"}
    assert "archive" not in states, "there is no policy"
    assert states["stale_sweep"].holder == states["automatic_checkpoints"].holder
    assert f":{serving.pid}:" in (states["stale_sweep"].holder or "")
    began = time.monotonic()
    serving.send_signal(signal.SIGTERM)
    assert serving.wait(10) == 0
    assert time.monotonic() - began < 5
    eventually(lambda: all(state.holder is None for state in client.list_services()), 5)


def test_a_database_that_hangs_is_told_in_time_and_keeps_nobody_from_ending_at_once() -> None:
    """Also while a page and a scrape wait for it."""
    with own_home() as home:
        environment = os.environ | {"CONTINUITY_HOME": str(home)}
        environment.pop("CONTINUITY_DSN", None)
        words = [sys.executable, "-m", "session_continuity", "serve", "--port", "0"]
        process = subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL)
        try:
            eventually(lambda: find_resident(home), 60)
            resident = find_resident(home)
            assert resident is not None
            token, _ = TokenFile(home).create([READ], name="prometheus")
            sign_ins = SignIns(home)
            cookie = f"{COOKIE}={sign_ins.redeem(sign_ins.create_link('Ada', scope='admin', projects=()))}"

            def ask(path: str, **headers: str) -> str:
                request = urllib.request.Request(f"{resident.url}{path}", headers=headers)
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return answer.read().decode()

            waiting = http.client.HTTPConnection(urlsplit(resident.url).netloc, timeout=60)
            eventually(lambda: "continuity_up 1" in ask("/metrics", Authorization=f"Bearer {token}"), 60)
            with stopped(home):
                began = time.monotonic()
                assert "continuity_up 0" in ask("/metrics", Authorization=f"Bearer {token}")
                assert time.monotonic() - began < 8, "Prometheus waits for 10 s"
                waiting.request("GET", "/operations/verify", headers={"Cookie": cookie})
                for _ in range(3):  # by then it is at work
                    ask("/healthz")
                process.send_signal(signal.SIGTERM)
                began = time.monotonic()
                assert process.wait(20) == 0
                assert time.monotonic() - began < 5
            waiting.close()
        finally:
            process.kill()
            process.wait()
