"""Deleting a session: everything of it goes, who did it stays on record, and a legal hold refuses it."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import errors

from session_continuity import NewCommand, NewEvent, SessionContinuity

Connection = psycopg.Connection[Any]
DELETE = "DELETE FROM supervisor_sessions WHERE instance_id = %s"
ROWS = """
SELECT (SELECT count(*) FROM event_store WHERE instance_id = %(id)s),
    (SELECT count(*) FROM command_log WHERE instance_id = %(id)s),
    (SELECT count(*) FROM checkpoints WHERE instance_id = %(id)s)
"""


@pytest.fixture
def session(client: SessionContinuity) -> str:
    """A session of seven events (with its registration and two checkpoints), three commands, two checkpoints."""
    session = client.register_session("shop").instance_id
    client.append_events(session, [NewEvent(event_type="task_spawned")] * 4)
    client.record_commands(session, [NewCommand(command_type="tool", action=f"step {n}") for n in range(3)])
    client.take_checkpoint(session)
    client.take_checkpoint(session)
    return session


def test_a_deleted_session_takes_all_its_rows_and_leaves_a_tombstone(
    connection: Connection, client: SessionContinuity, session: str
) -> None:
    kept = client.register_session("shop").instance_id
    was = client.get_session(session)
    assert connection.execute(ROWS, {"id": session}).fetchone() == (7, 3, 2)
    connection.execute("SET SESSION AUTHORIZATION supervisor")
    connection.execute(DELETE, (session,))
    assert connection.execute(ROWS, {"id": session}).fetchone() == (0, 0, 0)
    assert connection.execute(ROWS, {"id": kept}).fetchone() == (1, 0, 0)
    tombstones = connection.execute(
        "SELECT instance_id, project, thread_id, owner_epoch, events, commands, checkpoints, last_sequence_num,"
        " deleted_by, deleted_at > now() - interval '1 minute' FROM session_tombstones"
    ).fetchall()
    assert tombstones == [(session, "shop", was.thread_id, 1, 7, 3, 2, 7, "supervisor", True)]


def test_every_session_of_one_delete_has_its_tombstone(
    connection: Connection, client: SessionContinuity, session: str
) -> None:
    others = [client.register_session("shop").instance_id for _ in range(2)]
    connection.execute("DELETE FROM supervisor_sessions WHERE project = 'shop'")
    buried = connection.execute("SELECT instance_id FROM session_tombstones").fetchall()
    assert sorted(row[0] for row in buried) == sorted([session, *others])


def test_a_held_session_can_not_be_deleted_nor_any_with_it(
    connection: Connection, client: SessionContinuity, session: str
) -> None:
    client.register_session("shop")
    connection.execute("UPDATE supervisor_sessions SET legal_hold = true WHERE instance_id = %s", (session,))
    with pytest.raises(errors.RaiseException, match="legal hold") as caught:
        connection.execute("DELETE FROM supervisor_sessions")
    assert caught.value.diag.constraint_name == "supervisor_sessions_legal_hold"
    assert connection.execute("SELECT count(*) FROM supervisor_sessions").fetchone() == (2,)
    assert connection.execute("SELECT count(*) FROM session_tombstones").fetchone() == (0,)
    connection.execute("UPDATE supervisor_sessions SET legal_hold = false")
    connection.execute(DELETE, (session,))
    assert connection.execute("SELECT count(*) FROM session_tombstones").fetchone() == (1,)


def test_the_writer_may_not_delete(connection: Connection, session: str) -> None:
    connection.execute("SET SESSION AUTHORIZATION continuity_writer")
    with pytest.raises(errors.InsufficientPrivilege):
        connection.execute(DELETE, (session,))
    assert connection.execute(ROWS, {"id": session}).fetchone() == (7, 3, 2)


def test_without_its_trigger_a_deletion_would_be_silent(connection: Connection, session: str) -> None:
    connection.execute("ALTER TABLE supervisor_sessions DISABLE TRIGGER bury_session")
    connection.execute("UPDATE supervisor_sessions SET legal_hold = true")
    connection.execute(DELETE, (session,))
    assert connection.execute("SELECT count(*) FROM session_tombstones").fetchone() == (0,)
