"""What is spooled is committed while the resident server runs: in order, once, and after every outage."""

from __future__ import annotations

import json
import signal

import pytest
from tests.faults.killing import own_home

from session_continuity import SessionContinuity
from session_continuity.capture.spool.forwarding import this_host
from session_continuity.capture.spool.spool import Spool
from session_continuity.capture.spool.watch import Condition, SpoolWatch
from session_continuity.domain.errors import Refused, Unavailable
from session_continuity.postgres.embedded import EmbeddedServer

from .conftest import Residents, Running, ask, post, put, record, wait_until
from .small_store import stored_numbers


def drained(running: Running) -> bool:
    return running.spool.names() == []


def test_local_and_remote_captures_are_stored_in_order(
    residents: Residents, database: str, client: SessionContinuity
) -> None:
    token = residents.token()
    running = residents.serve(database)
    for number in range(30):
        for session in ("a", "b"):
            put(running.spool, session, number)
        assert post(running.url, token, {"records": [record(number, session="a")]})[0] == 200
    wait_until(lambda: drained(running))
    for host, session in ((None, "a"), (None, "b"), ("far.example", "a")):
        assert stored_numbers(client, host, session) == list(range(30))
    # A sender that has not heard the answer comes again, long after the record was stored.
    assert post(running.url, token, {"records": [record(number, session="a") for number in range(30)]})[0] == 200
    wait_until(lambda: drained(running))
    assert stored_numbers(client, "far.example", "a") == list(range(30))
    assert running.end() == 0
    lines = [line["event"] for line in running.log() if "service" not in line]
    assert lines == ["started", "working", "stopped"]


@pytest.mark.parametrize(("role", "stored"), [("dying", [0, 1, 2]), ("dying and forgetful", [0, 1, 2, 0, 1, 2])])
def test_a_kill_between_store_and_removal_doubles_nothing(
    residents: Residents, database: str, client: SessionContinuity, role: str, stored: list[int]
) -> None:
    """The second is the control: without the records' names as operation ids it would."""
    spool = Spool(residents.folder / "home" / "spool")
    names = [put(spool, "s", number) for number in range(3)]
    assert residents.start(role, str(residents.folder / "home"), database).wait(20) == -signal.SIGKILL
    assert spool.names() == names
    again = residents.serve(database, role=role)
    wait_until(lambda: drained(again))
    assert stored_numbers(client, None, "s") == stored


def test_what_can_not_be_stored_is_set_aside_and_told(
    residents: Residents, database: str, client: SessionContinuity
) -> None:
    running = residents.serve(database)
    put(running.spool, "s", 0)
    put(running.spool, "s", 1, poison=True)
    running.spool.put("claude-code", "Stop", b'{"hunter2": "breaks the store"}')
    put(running.spool, "s", 2)
    wait_until(lambda: drained(running))
    assert stored_numbers(client, None, "s") == [0, 2]
    assert {each.code for each in running.spool.quarantined()} == {"poison", "internal"}
    running.spool.count_loss("claude-code", "Stop")
    wait_until(lambda: "lost" in [line["event"] for line in running.log()])
    text = (running.home / "logs" / "serve.log").read_text()
    assert "quarantined" in text
    assert "hunter2" not in text


def test_an_absent_database_delays_and_loses_nothing(residents: Residents) -> None:
    with own_home() as database_home:
        server = EmbeddedServer(database_home)
        dsn = server.conninfo()
        server.ensure_running()
        with SessionContinuity(home=database_home) as client:
            client.find_sessions(limit=1)  # migrates
        token = residents.token()
        running = residents.serve(dsn)
        put(running.spool, "s", 0)
        wait_until(lambda: drained(running))
        assert server.stop()
        for number in range(1, 20):
            put(running.spool, "s", number)
            assert post(running.url, token, {"records": [record(number)]})[0] == 200
        wait_until(lambda: running.state()["condition"] == "unreachable", 30)
        assert running.state()["reason"]
        assert ask(running.url, "GET", "/healthz")[0] == 200
        assert len(running.spool.names()) == 38
        server.ensure_running()
        wait_until(lambda: drained(running), 30)
        wait_until(lambda: running.state()["condition"] == "working")  # told after the pass
        with SessionContinuity(dsn=dsn) as client:
            assert stored_numbers(client, None, "s") == list(range(20))
            assert stored_numbers(client, "far.example", "s") == list(range(1, 20))
        assert running.end() == 0


def test_a_database_that_is_absent_at_the_start_is_waited_for(residents: Residents) -> None:
    with own_home() as database_home:
        server = EmbeddedServer(database_home)
        running = residents.serve(server.conninfo())
        put(running.spool, "s", 0)
        wait_until(lambda: running.state()["condition"] == "unreachable", 30)
        with SessionContinuity(home=database_home) as client:
            client.find_sessions(limit=1)  # starts and migrates
            wait_until(lambda: drained(running), 30)
            assert stored_numbers(client, None, "s") == [0]
        assert running.end() == 0


def test_forwarded_records_survive_an_outage_of_the_server(
    residents: Residents, database: str, client: SessionContinuity
) -> None:
    token = residents.token()
    near = residents.serve(database)
    far = residents.forward(near.url, token)
    assert far.state()["role"] == "forward"
    put(far.spool, "s", 0)
    wait_until(lambda: drained(far) and drained(near))
    near.process.kill()
    near.process.wait()
    for number in range(1, 20):
        put(far.spool, "s", number)
    wait_until(lambda: far.state()["condition"] == "unreachable")
    assert len(far.spool.names()) == 19
    with far.spool.locked() as free:
        assert not free, "a hook that drained here would store them in a database of this machine"
    again = residents.serve(database)
    assert again.url == near.url
    wait_until(lambda: drained(far) and drained(again), 30)
    assert far.state()["condition"] == "working"
    assert stored_numbers(client, this_host(), "s") == list(range(20))
    assert (far.end(), again.end()) == (0, 0)


def test_what_hooks_tell_becomes_a_session_and_its_commands(
    residents: Residents, database: str, client: SessionContinuity
) -> None:
    """As users have it, with redaction and the recorder of live sessions."""
    running = residents.serve(database, role="live")
    for event, told in (
        ("SessionStart", {"source": "startup"}),
        ("UserPromptSubmit", {"prompt": "Run the tests, the password=hunter2hunter2 is known."}),
        ("PreToolUse", {"tool_name": "Bash", "tool_use_id": "t1", "tool_input": {"command": "pytest -q"}}),
        (
            "PostToolUse",
            {
                "tool_name": "Bash",
                "tool_use_id": "t1",
                "tool_input": {"command": "pytest -q"},
                "tool_response": {"stdout": "3 passed", "stderr": "", "interrupted": False},
            },
        ),
        ("SessionEnd", {"reason": "exit"}),
    ):
        told = {"session_id": "live-1", "cwd": "/srv/project", "hook_event_name": event, **told}
        running.spool.put("claude-code", event, json.dumps(told).encode())
    wait_until(lambda: drained(running))
    assert running.spool.quarantined() == []
    (session,) = client.find_sessions()
    assert (session.harness, session.harness_session_id, session.status) == ("claude-code", "live-1", "closed")
    (command,) = client.search_commands(instance_id=session.instance_id)
    assert (command.tool_call_id, command.outcome) == ("t1", "success")
    prompts = client.read_events(session.instance_id, event_type="prompt_submitted")
    assert "hunter2" not in str([event.event_data for event in prompts])
    assert running.end() == 0


def test_no_failure_ends_the_watch() -> None:
    failures = [Unavailable("away"), Unavailable("away"), Refused("no"), RuntimeError("hunter2"), None, None]
    told: list[Condition] = []

    def work() -> bool:
        failure = failures.pop(0) if failures else None
        if failure is not None:
            raise failure
        return bool(failures)

    watch = SpoolWatch(work, told.append)
    watch.start()
    wait_until(lambda: not failures)
    wait_until(lambda: told[-1].state == "working")
    assert watch.stop(5)
    assert [(each.state, each.reason) for each in told] == [
        ("unreachable", "away"),
        ("failing", "no"),
        ("failing", "RuntimeError, see the log"),
        ("working", None),
    ]
