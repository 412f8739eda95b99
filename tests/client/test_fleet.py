"""What is asked of many sessions at once: the family, the stand-up of a project, the health of the whole."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from session_continuity import NewCommand, NotFound, Origin, SessionContinuity
from session_continuity.domain.standup import RESULTS

from .records import new_session


def spawn(client: SessionContinuity, parent: str) -> str:
    return new_session(client, origin=Origin(parent_instance_id=parent, relation="spawned"))


def tree(client: SessionContinuity, instance_id: str, **options: Any) -> list[tuple[int, str]]:
    return [(one.depth, one.session.instance_id) for one in client.get_family(instance_id, **options)]


def test_a_family_is_the_same_tree_from_each_of_its_members(client: SessionContinuity) -> None:
    root = new_session(client)
    first, second = spawn(client, root), spawn(client, root)
    grandchild = spawn(client, first)
    resumed = client.resume_session(second).successor
    assert resumed is not None
    new_session(client)  # a stranger
    expected = [(0, root), (1, first), (2, grandchild), (1, second), (2, resumed.instance_id)]
    for member in (root, first, second, grandchild, resumed.instance_id):
        assert tree(client, member) == expected
    with pytest.raises(NotFound):
        client.get_family("demo-PS-zzzzzz")


def test_of_a_large_family_the_nearest_are_shown(client: SessionContinuity) -> None:
    member = new_session(client)
    line = [member]
    for _ in range(12):
        continued = client.resume_session(line[-1])
        assert continued.successor is not None
        line.append(continued.successor.instance_id)
    near = [name for _, name in tree(client, line[6], limit=3)]
    assert near == line[5:8]


def test_a_parent_that_is_not_there_and_a_circle_end_the_search(
    client: SessionContinuity, connection: psycopg.Connection[Any]
) -> None:
    orphan = spawn(client, "demo-PS-zzzzzz")
    assert tree(client, orphan) == [(0, orphan)]
    one = new_session(client)
    other = spawn(client, one)
    connection.execute(
        "UPDATE supervisor_sessions SET parent_instance_id = %s WHERE instance_id = %s", [other, one]
    )
    assert {name for _, name in tree(client, one)} == {one, other}


def test_a_standup_tells_the_results_of_one_project_since_a_time(
    client: SessionContinuity, connection: psycopg.Connection[Any]
) -> None:
    ours, theirs = new_session(client, "ours"), new_session(client, "theirs")
    asleep = new_session(client, "ours")
    connection.execute(
        "UPDATE supervisor_sessions SET last_heartbeat = now() - interval '2 days' WHERE instance_id = %s",
        [asleep],
    )
    for session in (ours, theirs):
        client.append_event(session, "commit_created", {"sha": "abc1234"})
        client.append_event(session, "test_started", {"command": "pytest"})  # a step, no result
        client.append_event(session, "epic_completed", {"epic_id": "1"})
    told = client.gather_standup("ours", datetime.now(UTC) - timedelta(hours=1))
    assert [session.instance_id for session in told.sessions] == [ours]
    assert [(event.instance_id, event.event_type) for event in told.events] == [
        (ours, "commit_created"),
        (ours, "epic_completed"),
    ]
    assert told.is_whole
    short = client.gather_standup("ours", datetime.now(UTC) - timedelta(hours=1), limit=1)
    assert ([event.event_type for event in short.events], short.is_whole) == (["epic_completed"], False)
    later = client.gather_standup("ours", datetime.now(UTC) + timedelta(hours=1))
    assert (later.sessions, later.events) == ([], [])
    assert "test_started" not in RESULTS


def test_the_health_counts_what_needs_a_look(
    client: SessionContinuity, connection: psycopg.Connection[Any]
) -> None:
    alive, silent, stale, closed = (new_session(client) for _ in range(4))
    connection.execute(
        "UPDATE supervisor_sessions SET last_heartbeat = now() - interval '31 minutes'"
        " WHERE instance_id = ANY(%s)",
        [[silent, stale]],
    )
    connection.execute("UPDATE supervisor_sessions SET status = 'stale' WHERE instance_id = %s", [stale])
    client.close_session(closed)
    client.record_command(alive, NewCommand(command_type="tool", action="run"))
    slow = NewCommand(command_type="tool", action="run", outcome="failure", execution_time_ms=5_001)
    for session in (alive, new_session(client, "other")):
        client.record_command(session, slow)
        client.record_command(session, NewCommand(command_type="tool", action="run", execution_time_ms=5_000))
    connection.execute(
        "INSERT INTO alerts (rule, subject, project, severity) VALUES ('stale', %s, 'demo', 'warning'),"
        " ('stale', 'elsewhere', 'other', 'warning')",
        [stale],
    )
    health = client.get_system_health(project="demo")
    assert (health.active, health.stale, health.closed, health.silent) == (2, 1, 1, 1)
    assert (health.in_flight, health.failed_last_hour, health.slow_last_hour, health.alerts) == (2, 1, 1, 1)
    everywhere = client.get_system_health()
    assert (everywhere.active, everywhere.slow_last_hour, everywhere.alerts) == (3, 2, 2)
    assert client.get_system_health(silent_for=timedelta(hours=1)).silent == 0
    assert set(health.table_bytes) == {"supervisor_sessions", "command_log", "event_store", "checkpoints"}
    assert all(size > 0 for size in health.table_bytes.values())
