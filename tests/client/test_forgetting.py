"""A forgotten session has no content left, leaves a tombstone, and takes nothing in again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import make_conninfo

from session_continuity import Fenced, InvalidInput, NewCommand, NewEvent, NotFound, Refused, SessionContinuity
from session_continuity.capture.recorder.transcript_import import import_transcript
from session_continuity.domain.session_registry import Origin

Connection = psycopg.Connection[Any]
MARK = "zebra"


def new_session(client: SessionContinuity, *, closed: bool = True) -> str:
    """A session with its mark in every field that may hold captured text."""
    origin = Origin(
        cwd=f"/srv/{MARK}", git_branch=MARK, git_head=MARK, host=MARK, harness="codex", harness_session_id="h1"
    )
    session = client.register_session("shop", current_epic=MARK, origin=origin, metadata={"a": MARK}).instance_id
    client.append_events(session, [NewEvent(event_type="prompt_submitted", event_data={"text": MARK})] * 3)
    client.record_command(
        session, NewCommand(command_type="tool", action=MARK, parameters={"a": MARK}, tool_call_id="1")
    )
    client.take_checkpoint(session)
    if closed:
        client.close_session(session)
    return session


def rows_with_mark(connection: Connection) -> dict[str, list[str]]:
    """Which sessions still have the mark in which table."""
    tables = ("supervisor_sessions", "event_store", "command_log", "checkpoints", "session_tombstones")
    found: dict[str, list[str]] = {}
    for table in tables:
        query = f"SELECT DISTINCT instance_id FROM {table} t WHERE to_jsonb(t)::text LIKE '%{MARK}%' ORDER BY 1"
        if rows := connection.execute(query.encode()).fetchall():
            found[table] = [row[0] for row in rows]
    return found


def test_a_forgotten_session_leaves_nothing_but_its_row_and_a_tombstone(
    client: SessionContinuity, connection: Connection
) -> None:
    session = new_session(client)
    plan = client.preview_forgetting(session)
    assert (plan.instance_ids, plan.events, plan.commands, plan.checkpoints) == ((session,), 6, 1, 1)
    assert len(rows_with_mark(connection)) == 4
    assert client.forget_session(session) == plan
    assert rows_with_mark(connection) == {}
    kept = client.get_session(session)
    assert (kept.status, kept.project, kept.harness_session_id) == ("closed", "shop", "h1")
    assert (kept.cwd, kept.git_branch, kept.host, kept.current_epic) == (None, None, None, None)
    assert list(kept.metadata) == ["forgotten"]
    tombstone = connection.execute(
        "SELECT instance_id, events, commands, checkpoints, forgotten, deleted_by FROM session_tombstones"
    ).fetchall()
    assert tombstone == [(session, 6, 1, 1, True, "continuity")]
    again = client.forget_session(session)
    assert (again.events, again.commands) == (0, 0)
    assert connection.execute("SELECT count(*) FROM session_tombstones").fetchone() == (1,)


def test_nothing_is_written_to_it_again(client: SessionContinuity, connection: Connection) -> None:
    session = new_session(client)
    client.forget_session(session)
    for write in (
        lambda: client.append_event(session, "note_recorded", {"text": "x"}),
        lambda: client.record_command(session, NewCommand(command_type="tool", action="x")),
        lambda: client.take_checkpoint(session),
        lambda: client.send_heartbeat(session),
        lambda: client.resume_session(session),
        lambda: client.fork_session(session),
    ):
        with pytest.raises(Fenced, match="was forgotten") as refused:
            write()
        assert refused.value.stable_code == "session_forgotten"
    with pytest.raises(NotFound):
        client.record_outcome(session, tool_call_id="1", outcome="success")
    with pytest.raises(NotFound):
        client.find_resumable(session)
    with pytest.raises(errors.RaiseException):
        connection.execute(
            "INSERT INTO event_store (instance_id, event_type) VALUES (%s, 'test_passed')", (session,)
        )
    with pytest.raises(errors.RaiseException):
        connection.execute("UPDATE supervisor_sessions SET current_epic = 'x' WHERE instance_id = %s", (session,))


def test_the_epic_of_a_session_that_was_taken_over_is_erased_too(
    client: SessionContinuity, connection: Connection
) -> None:
    session = new_session(client, closed=False)
    successor = client.resume_session(session).successor
    assert successor is not None
    plan = client.forget_session(session)
    assert plan.still_holding == (successor.instance_id,)
    assert client.get_session(session).superseded_by == successor.instance_id
    assert session not in str(rows_with_mark(connection))


def test_with_its_thread_every_instance_is_forgotten_and_forks_are_named(
    client: SessionContinuity, connection: Connection
) -> None:
    first = new_session(client, closed=False)
    second = client.resume_session(first).successor
    fork = client.fork_session(first).successor
    assert second is not None
    assert fork is not None
    client.close_session(second.instance_id)
    plan = client.forget_session(first, whole_thread=True)
    assert plan.instance_ids == (first, second.instance_id)
    assert plan.still_holding == (fork.instance_id,)
    left = {instance for instances in rows_with_mark(connection).values() for instance in instances}
    assert left == {fork.instance_id}
    client.close_session(fork.instance_id)
    assert client.forget_session(fork.instance_id).still_holding == ()
    assert rows_with_mark(connection) == {}


def test_an_active_session_and_one_that_is_held_are_refused(
    client: SessionContinuity, connection: Connection
) -> None:
    session = new_session(client, closed=False)
    with pytest.raises(Refused) as refused:
        client.forget_session(session)
    assert refused.value.stable_code == "session_active"
    client.close_session(session)
    connection.execute("UPDATE supervisor_sessions SET legal_hold = true WHERE instance_id = %s", (session,))
    with pytest.raises(Refused) as refused:
        client.forget_session(session)
    assert refused.value.stable_code == "legal_hold"
    with pytest.raises(errors.RaiseException, match="legal hold"):
        connection.execute("SELECT forget_session(%s)", (session,))
    assert len(rows_with_mark(connection)) == 4
    assert connection.execute("SELECT count(*) FROM session_tombstones").fetchone() == (0,)
    with pytest.raises(NotFound):
        client.forget_session("shop-PS-zzzzzz")


def test_the_writers_role_alone_may_not_forget(
    client: SessionContinuity, connection: Connection, database: str
) -> None:
    session = new_session(client)
    connection.execute("CREATE ROLE forgetful LOGIN IN ROLE continuity_writer")
    try:
        connection.execute("SET SESSION AUTHORIZATION forgetful")
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute("SELECT forget_session(%s)", (session,))
    finally:
        connection.execute("RESET SESSION AUTHORIZATION")
        connection.execute("DROP ROLE forgetful")
    assert len(rows_with_mark(connection)) == 4
    with SessionContinuity(dsn=make_conninfo(database, options="-c role=continuity_writer")) as writer:
        writer.forget_session(session)  # the login is the owner, and takes its own rights for that alone
        other = writer.register_session("shop").instance_id
        with pytest.raises(Refused):
            writer.run(_delete(other))
    assert rows_with_mark(connection) == {}


def _delete(session: str) -> Any:
    from session_continuity.domain.operation import Operation, Statement

    def steps() -> Any:
        return (yield Statement("forget_sessions", {"instance_ids": [session]}))

    return Operation("forget", steps)


def test_the_recording_of_a_forgotten_session_is_not_imported_again(
    client: SessionContinuity, tmp_path: Path
) -> None:
    script = Path(__file__).parents[2] / "demo" / "session.jsonl"
    recording = tmp_path / "session.jsonl"
    text = script.read_text("utf-8").replace("{cwd}", "/srv/shop").replace("{sha}", "abc1234")
    recording.write_text(text.replace("{session}", "5e55104e-0000-4000-8000-000000000001"), "utf-8")
    session = import_transcript(client, "claude-code", recording).instance_id
    client.forget_session(session)
    with pytest.raises(InvalidInput, match="was forgotten") as refused:
        import_transcript(client, "claude-code", recording)
    assert refused.value.stable_code == "session_forgotten"
    assert client.read_events(session) == []
