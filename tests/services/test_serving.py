"""The services inside `continuity serve`, as a process of its own beside a real agent process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.services.fleet import event_types, many, silence
from tests.services.test_heartbeat import SLEEP, mark_of
from tests.services.test_leases import eventually

from session_continuity import SessionContinuity
from session_continuity.domain.session_registry import Origin

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
    assert states.keys() >= {"archive", "automatic_checkpoints", "heartbeat", "stale_sweep", "alerts", "search"}
    assert states["stale_sweep"].holder == states["automatic_checkpoints"].holder
    assert f":{serving.pid}:" in (states["stale_sweep"].holder or "")
    began = time.monotonic()
    serving.send_signal(signal.SIGTERM)
    assert serving.wait(10) == 0
    assert time.monotonic() - began < 5
    eventually(lambda: all(state.holder is None for state in client.list_services()), 5)
