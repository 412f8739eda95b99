"""Heartbeats without the model, by real processes: while one runs its session lives, and its end is known."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.client.proxy import Proxy
from tests.services.fleet import event_types, silence
from tests.services.test_leases import eventually

from session_continuity import SessionContinuity
from session_continuity.capture.spool.spool import Spool
from session_continuity.domain import stale_sweep
from session_continuity.domain.session_registry import Origin
from session_continuity.processes import Process, is_running, process_from_json
from session_continuity.services.heartbeat import Heartbeat, KeptAlive, keep_alive
from session_continuity.services.service import Pass
from session_continuity.services.stale_sweep import StaleSweep

Connection = psycopg.Connection[Any]
HOST = "here"
SLEEP = [sys.executable, "-c", "import time; time.sleep(300)"]


def runs(kept: dict[str, Any]) -> bool | None:
    process = process_from_json(kept)
    return None if process is None else is_running(process)


@pytest.fixture
def agent() -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen(SLEEP)
    yield started
    started.kill()
    started.wait()


def mark_of(pid: int) -> dict[str, Any]:
    from datetime import UTC, datetime

    from session_continuity.processes import seen_process

    seen = seen_process(pid, since=datetime.now(UTC))
    assert seen is not None
    return seen.as_json()


def session_of(client: SessionContinuity, process: dict[str, Any], host: str = HOST) -> str:
    return client.register_session("shop", origin=Origin(host=host), metadata={"process": process}).instance_id


def heartbeat_age(connection: Connection, instance_id: str) -> float:
    query = (
        "SELECT extract(epoch FROM now() - last_heartbeat)::float8 FROM supervisor_sessions WHERE instance_id = %s"
    )
    return connection.execute(query, (instance_id,)).fetchall()[0][0]


def test_a_session_in_a_long_tool_call_whose_process_runs_is_not_stale(
    client: SessionContinuity, connection: Connection, agent: subprocess.Popen[bytes]
) -> None:
    session = session_of(client, mark_of(agent.pid))
    silence(connection, session, "3 hours")
    assert Heartbeat(HOST, runs).run_once(client) == Pass(done=0, report={"running": 1})
    assert heartbeat_age(connection, session) < 60
    assert client.get_session(session).process_seen_at is not None
    assert StaleSweep(client.settings).run_once(client) == Pass(done=0)


def test_a_session_that_was_marked_comes_back_when_its_process_is_seen(
    client: SessionContinuity, connection: Connection, agent: subprocess.Popen[bytes]
) -> None:
    session = session_of(client, mark_of(agent.pid))
    silence(connection, session, "3 hours")
    client.mark_silent()
    assert Heartbeat(HOST, runs).run_once(client).report == {"running": 1, "brought_back": 1}
    assert client.get_session(session).status == "active"


def test_a_process_that_is_gone_makes_its_session_stale_within_seconds(
    client: SessionContinuity, connection: Connection, agent: subprocess.Popen[bytes]
) -> None:
    session = session_of(client, mark_of(agent.pid))
    service = Heartbeat(HOST, runs)
    service.run_once(client)
    agent.kill()
    agent.wait()
    assert service.run_once(client).done == 0, "its end may be on its way"
    silence(connection, session, "9 seconds")
    assert service.run_once(client) == Pass(done=1, report={"gone": 1})
    (stale,) = client.read_events(session, event_type="instance_stale")
    assert stale.event_data["reason"] == "process_gone"
    assert event_types(connection, session) == ["instance_registered", "instance_stale", "checkpoint_created"]
    assert client.latest_checkpoint(session).metadata == {"reason": "stale: process_gone"}
    assert service.run_once(client) == Pass(done=0)


def test_a_gone_session_is_not_marked_while_a_record_waits_that_may_tell_its_end(
    client: SessionContinuity, connection: Connection, agent: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """The spool is behind by longer than an end may be on its way; then the same with nothing before the end."""
    session = session_of(client, mark_of(agent.pid))
    silence(connection, session, "9 seconds")
    spool = Spool(tmp_path / "spool")
    record = spool.put("claude-code", "SessionEnd", b"{}")
    service = Heartbeat(HOST, runs, waits_since=lambda: spool.status().oldest)
    agent.kill()
    agent.wait()
    assert [service.run_once(client).done for _ in range(3)] == [0, 0, 0]
    assert client.get_session(session).status == "active"
    seen_gone = datetime.now(UTC)

    def captures_later() -> bool:  # the clock of files is some milliseconds behind
        name = spool.put("claude-code", "Stop", b"{}")
        if spool.read(name).captured_at > seen_gone:
            return True
        spool.remove(name)
        return False

    eventually(captures_later, 5)
    spool.remove(record)
    assert Heartbeat(HOST, runs, waits_since=lambda: spool.status().oldest).run_once(client).done == 0, (
        "from before"
    )
    assert service.run_once(client).report == {"gone": 1}, "what waits now was captured after the process was gone"


def test_a_process_id_that_was_used_again_is_not_believed(
    client: SessionContinuity, connection: Connection, agent: subprocess.Popen[bytes]
) -> None:
    session = session_of(client, mark_of(agent.pid) | {"started": "an earlier start"})
    silence(connection, session, "9 seconds")
    assert Heartbeat(HOST, runs).run_once(client).report == {"gone": 1}
    assert client.get_session(session).status == "stale"


def test_a_session_that_runs_in_another_process_by_now_is_passed_over(
    client: SessionContinuity, connection: Connection
) -> None:
    session = session_of(client, {"pid": 1, "started": "now"})
    silence(connection, session, "9 seconds")
    assert client.mark_gone([(session, {"pid": 1, "started": "before"})]) == []
    assert len(client.mark_gone([(session, {"pid": 1, "started": "now"})])) == 1


def test_what_looks_gone_from_here_and_is_heard_of_again_is_left_to_others(
    client: SessionContinuity, connection: Connection
) -> None:
    """A process of a container, seen from outside: its hooks go on to tell of it."""
    session = session_of(client, {"pid": 2**22 + 1, "started": "elsewhere"})
    service = Heartbeat(HOST, runs)
    silence(connection, session, "9 seconds")
    assert service.run_once(client).report == {"gone": 1}
    client.send_heartbeat(session)
    silence(connection, session, "9 seconds")
    assert service.run_once(client) == Pass(done=0)
    assert client.get_session(session).status == "active"


def test_sessions_of_other_hosts_and_without_a_process_are_not_judged(
    client: SessionContinuity, connection: Connection
) -> None:
    gone = {"pid": 2**22 + 1, "started": "x"}
    sessions = [
        session_of(client, gone, host="there"),
        client.register_session("shop", origin=Origin(host=HOST)).instance_id,
        client.register_session("shop", origin=Origin(host=HOST), metadata={"process": "4711"}).instance_id,
        client.register_session("shop", origin=Origin(host=HOST), metadata={"process": {"pid": "x"}}).instance_id,
    ]
    for session in sessions:
        silence(connection, session, "5 minutes")
    assert Heartbeat(HOST, runs).run_once(client) == Pass(done=0)
    assert {client.get_session(session).status for session in sessions} == {"active"}


def test_a_fresh_heartbeat_is_not_sent_again(client: SessionContinuity, connection: Connection) -> None:
    session = session_of(client, mark_of(os.getpid()))
    service = Heartbeat(HOST, runs)
    service.run_once(client)
    silence(connection, session, "10 seconds")
    service.run_once(client)
    assert heartbeat_age(connection, session) >= 10
    silence(connection, session, "16 seconds")
    service.run_once(client)
    assert heartbeat_age(connection, session) < 10


def test_keeping_alive_ends_with_the_process_and_marks_the_session(
    client: SessionContinuity,
    connection: Connection,
    agent: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stale_sweep, "QUIET_FOR", stale_sweep.QUIET_FOR / 8)
    session = client.register_session("shop").instance_id
    silence(connection, session, "29 minutes")
    process = process_from_json(mark_of(agent.pid))
    assert process is not None
    ended: list[KeptAlive] = []
    keeping = threading.Thread(
        target=lambda: ended.append(keep_alive(client, session, lambda: is_running(process), every_seconds=0.1))
    )
    keeping.start()
    eventually(lambda: heartbeat_age(connection, session) < 60)
    agent.kill()
    agent.wait()
    keeping.join(20)
    assert ended == [KeptAlive(ended="process_gone", marked_stale=True)]
    assert event_types(connection, session)[1:] == ["instance_stale", "checkpoint_created"]


def test_keeping_alive_marks_the_session_although_its_process_ends_in_an_outage(
    database: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stale_sweep, "QUIET_FOR", stale_sweep.QUIET_FOR / 8)
    with Proxy(database) as proxy, SessionContinuity(dsn=proxy.conninfo, deadline_seconds=0.5) as client:
        session = client.register_session("shop").instance_id
        silence(connection, session, "1 minute")
        proxy.mode = "black hole"
        proxy.cut()
        ended: list[KeptAlive] = []
        keeping = threading.Thread(
            target=lambda: ended.append(keep_alive(client, session, lambda: False, every_seconds=1))
        )
        keeping.start()
        keeping.join(4)
        assert (keeping.is_alive(), ended) == (True, []), "the outage is outlived"
        proxy.mode = "pass"
        proxy.cut()
        keeping.join(20)
    assert ended == [KeptAlive(ended="process_gone", marked_stale=True)]
    assert event_types(connection, session)[1:] == ["instance_stale", "checkpoint_created"]


def test_keeping_alive_ends_when_the_session_is_closed_or_taken_over(client: SessionContinuity) -> None:
    closed, resumed = client.register_session("shop").instance_id, client.register_session("shop").instance_id
    client.close_session(closed)
    client.resume_session(resumed)
    assert "is closed" in keep_alive(client, closed, lambda: True, every_seconds=1).reason
    assert "was taken over" in keep_alive(client, resumed, lambda: True, every_seconds=1).reason


def test_the_command_keeps_a_session_alive_until_its_process_ends(
    client: SessionContinuity, connection: Connection, database: str, agent: subprocess.Popen[bytes]
) -> None:
    session = client.register_session("shop").instance_id
    silence(connection, session, "29 minutes")
    asked = [sys.executable, "-m", "session_continuity", "--dsn", database, "heartbeat", "run", "--json"]
    command = subprocess.Popen(
        [*asked, "--pid", str(agent.pid), "--session", session, "--every", "1s"], stdout=subprocess.PIPE
    )
    eventually(lambda: heartbeat_age(connection, session) < 60)
    agent.kill()
    agent.wait()
    told, _ = command.communicate(timeout=40)
    assert command.returncode == 0
    assert f'"instance_id":"{session}"' in told.decode()
    assert '"ended":"process_gone","marked_stale":true' in told.decode()
    assert client.get_session(session).status == "stale"


@pytest.mark.parametrize(
    ("process", "code"),
    [({"pid": os.getpid(), "started": "an earlier start"}, 1), ({"pid": 2**22 + 1, "started": "x"}, 3)],
    ids=["used again", "not there"],
)
def test_the_command_believes_no_other_process(
    client: SessionContinuity, database: str, process: dict[str, Any], code: int
) -> None:
    session = session_of(client, process)
    asked = [sys.executable, "-m", "session_continuity", "--dsn", database, "heartbeat", "run"]
    ended = subprocess.run(
        [*asked, "--pid", str(process["pid"]), "--session", session], capture_output=True, timeout=40, check=False
    )
    assert ended.returncode == code, ended.stderr


def test_the_serving_process_gives_heartbeats_and_sees_the_end_of_a_process(
    client: SessionContinuity, connection: Connection, agent: subprocess.Popen[bytes]
) -> None:
    from session_continuity.services.runner import Runner

    session = session_of(client, mark_of(agent.pid))
    silence(connection, session, "29 minutes")
    running = Runner(client, [Heartbeat(HOST, runs, interval_seconds=0.2)])
    running.start()
    eventually(lambda: heartbeat_age(connection, session) < 60)
    agent.kill()
    agent.wait()
    killed_at = time.monotonic()
    eventually(lambda: client.get_session(session).status == "stale", seconds=30)
    assert running.stop(5)
    assert time.monotonic() - killed_at < 30


def test_a_process_is_named_by_its_start() -> None:
    mine = mark_of(os.getpid())
    assert is_running(Process(**mine))
    assert not is_running(Process(**(mine | {"started": "x"})))
