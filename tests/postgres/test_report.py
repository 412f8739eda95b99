"""Every SQL statement that the deployment report prints runs as it is printed, and mixes with the library.

The report is looked for beside the project (or where CONTINUITY_REPORT says); REPORT is a copy of its blocks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors

from session_continuity import Fenced, InvalidInput, NewCommand, SessionContinuity
from session_continuity.domain.errors import Conflict
from session_continuity.postgres import migrations

Connection = psycopg.Connection[Any]
Rows = list[tuple[Any, ...]]

FILE = Path(
    os.environ.get("CONTINUITY_REPORT", Path(__file__).parents[3] / "shared" / "spec" / "deployment-report.md")
)
INSTANCE = "consilio-PS-abc123"
REPORT = (
    """-- Get active sessions for consilio project
SELECT * FROM supervisor_sessions\x20
WHERE project = 'consilio-s' AND status = 'active';

-- Get stale sessions (no heartbeat for >30min)
SELECT * FROM supervisor_sessions
WHERE last_heartbeat < NOW() - INTERVAL '30 minutes'
AND status = 'active';
""",
    """-- Get all commands for a session
SELECT id, command_type, action, success, execution_time_ms
FROM command_log
WHERE instance_id = 'consilio-PS-abc123'
ORDER BY created_at DESC;

-- Get failed commands
SELECT * FROM command_log
WHERE success = false
ORDER BY created_at DESC
LIMIT 10;
""",
    """-- Reconstruct session state from events
SELECT sequence_num, event_type, event_data
FROM event_store
WHERE instance_id = 'consilio-PS-abc123'
ORDER BY sequence_num;

-- Get events by type
SELECT * FROM event_store
WHERE event_type = 'epic_completed'
ORDER BY created_at DESC;
""",
    """-- Get latest checkpoint for a session
SELECT * FROM checkpoints
WHERE instance_id = 'consilio-PS-abc123'
ORDER BY sequence_num DESC
LIMIT 1;

-- Get automatic checkpoints
SELECT * FROM checkpoints
WHERE checkpoint_type = 'automatic'
ORDER BY created_at DESC
LIMIT 10;
""",
    """GRANT SELECT, INSERT, UPDATE, DELETE ON supervisor_sessions TO supervisor;
GRANT SELECT, INSERT, UPDATE, DELETE ON command_log TO supervisor;
GRANT SELECT, INSERT, UPDATE, DELETE ON event_store TO supervisor;
GRANT SELECT, INSERT, UPDATE, DELETE ON checkpoints TO supervisor;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO supervisor;
""",
    """INSERT INTO supervisor_sessions (
  instance_id, project, instance_type, status, context_percent, current_epic
) VALUES (
  'consilio-PS-abc123', 'consilio-s', 'PS', 'active', 45, 'epic-001'
);
""",
    """INSERT INTO command_log (
  instance_id, command_type, action, tool_name, success, execution_time_ms, parameters, result
) VALUES (
  'consilio-PS-abc123', 'task', 'spawn_subagent', 'general-purpose', true, 1250,
  '{"task":"implementation"}'::jsonb,
  '{"spawned_id":"task-001"}'::jsonb
);
""",
    """INSERT INTO event_store (
  instance_id, event_type, sequence_num, event_data
) VALUES (
  'consilio-PS-abc123', 'epic_started', 1, '{"epic_id":"001","epic_name":"authentication"}'::jsonb
);
""",
    """INSERT INTO checkpoints (
  instance_id, checkpoint_type, sequence_num, context_window_percent, work_state
) VALUES (
  'consilio-PS-abc123', 'manual', 1, 45,\x20
  '{"epic":"001","phase":"implementation","elapsed_minutes":30}'::jsonb
);
""",
    """-- Full session timeline
SELECT\x20
  e.sequence_num,
  e.event_type,
  c.action as last_command,
  cp.context_window_percent
FROM event_store e
LEFT JOIN command_log c ON c.instance_id = e.instance_id
LEFT JOIN checkpoints cp ON cp.instance_id = e.instance_id
WHERE e.instance_id = 'consilio-PS-abc123'
ORDER BY e.sequence_num;
""",
    """DROP TABLE IF EXISTS checkpoints CASCADE;
DROP TABLE IF EXISTS command_log CASCADE;
DROP TABLE IF EXISTS event_store CASCADE;
DROP TABLE IF EXISTS supervisor_sessions CASCADE;
""",
)
SESSIONS, COMMANDS, EVENTS, CHECKPOINTS, GRANTS, *INSERTS, TIMELINE, ROLLBACK = REPORT


def run(connection: Connection, block: str, role: str = "supervisor") -> list[list[dict[str, Any]]]:
    """The rows of each query of a block, run as a role."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL ROLE {role}".encode() if role else b"SELECT")
        cursor.execute(block.encode())
        found: list[list[dict[str, Any]]] = []
        while True:
            if cursor.description:
                names = [column.name for column in cursor.description]
                found.append([dict(zip(names, row, strict=True)) for row in cursor.fetchall()])
            if not cursor.nextset():
                return found


def insert_event(connection: Connection, session: str, number: int | None, **more: Any) -> int:
    values = {"instance_id": session, "event_type": "task_spawned", "sequence_num": number, **more}
    values = {name: value for name, value in values.items() if value is not None}
    columns, marks = ", ".join(values), ", ".join(f"%({name})s" for name in values)
    command = f"INSERT INTO event_store ({columns}) VALUES ({marks}) RETURNING sequence_num"
    with connection.transaction():
        connection.execute("SET LOCAL ROLE supervisor")
        return connection.execute(command.encode(), values).fetchall()[0][0]


def numbers(client: SessionContinuity, session: str) -> list[int]:
    return [event.sequence_num for event in client.read_events(session)]


@pytest.fixture
def filled(connection: Connection) -> Connection:
    """The database after the report's usage examples."""
    for block in INSERTS:
        run(connection, block)
    return connection


@pytest.mark.skipif(not FILE.is_file(), reason=f"the report is not in {FILE}")
def test_the_copy_in_this_test_is_what_the_report_prints() -> None:
    printed = re.findall(r"(?ms)^```sql\n(.*?)^```$", FILE.read_text("utf-8"))
    assert tuple(printed) == REPORT


def test_every_block_runs_unchanged_in_the_printed_order(connection: Connection) -> None:
    for block in REPORT:
        run(connection, block, role="" if block in (GRANTS, ROLLBACK) else "supervisor")
    tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    assert tables.fetchall() == [
        ("alert_deliveries",),
        ("alerts",),
        ("archived_sessions",),
        ("archives",),
        ("audit_actions",),
        ("schema_migrations",),
        ("search_cursors",),
        ("search_documents",),
        ("search_progress",),
        ("service_leases",),
        ("service_passes",),
        ("session_tombstones",),
        ("storage_samples",),
    ]


def test_upgrade_brings_everything_back_after_the_printed_rollback(filled: Connection) -> None:
    run(filled, ROLLBACK, role="")
    assert len(migrations.upgrade(filled)) == len(migrations.migrations())
    for block in INSERTS:
        run(filled, block)
    assert len(run(filled, TIMELINE)[0]) == 1


def test_the_session_queries_find_the_printed_session(filled: Connection) -> None:
    active, stale = run(filled, SESSIONS)
    assert [(row["instance_id"], row["current_epic"], row["context_percent"]) for row in active] == [
        (INSTANCE, "epic-001", 45)
    ]
    assert stale == []
    filled.execute("UPDATE supervisor_sessions SET last_heartbeat = now() - interval '31 minutes'")
    assert [row["instance_id"] for row in run(filled, SESSIONS)[1]] == [INSTANCE]


def test_the_command_queries_find_the_printed_command(filled: Connection) -> None:
    commands, failed = run(filled, COMMANDS)
    assert [{**row, "id": "?"} for row in commands] == [
        {
            "id": "?",
            "command_type": "task",
            "action": "spawn_subagent",
            "success": True,
            "execution_time_ms": 1250,
        }
    ]
    assert failed == []


def test_the_event_queries_find_the_printed_event(filled: Connection) -> None:
    events, completed = run(filled, EVENTS)
    assert events == [
        {
            "sequence_num": 1,
            "event_type": "epic_started",
            "event_data": {"epic_id": "001", "epic_name": "authentication"},
        }
    ]
    assert completed == []


def test_the_checkpoint_queries_find_the_printed_checkpoint(filled: Connection) -> None:
    latest, automatic = run(filled, CHECKPOINTS)
    assert [(row["sequence_num"], row["work_state"]) for row in latest] == [
        (1, {"epic": "001", "phase": "implementation", "elapsed_minutes": 30})
    ]
    assert automatic == []


def test_the_timeline_query_joins_the_printed_rows(filled: Connection) -> None:
    assert run(filled, TIMELINE) == [
        [
            {
                "sequence_num": 1,
                "event_type": "epic_started",
                "last_command": "spawn_subagent",
                "context_window_percent": 45,
            }
        ]
    ]


def test_the_library_reads_what_the_printed_statements_wrote(
    filled: Connection, client: SessionContinuity
) -> None:
    assert client.get_session(INSTANCE).current_epic == "epic-001"
    assert client.recover_state(INSTANCE).work_state["epic"]
    assert client.search_commands(instance_id=INSTANCE)[0].outcome == "success"
    assert client.latest_checkpoint(INSTANCE).work_state["phase"] == "implementation"
    kinds = {entry.kind for entry in client.get_timeline(INSTANCE)}
    assert kinds == {"event", "command", "checkpoint"}


def test_numbers_go_on_between_plain_inserts_and_the_library(
    filled: Connection, client: SessionContinuity
) -> None:
    assert client.append_event(INSTANCE, "epic_planned", {"epic_id": "2"}).last_sequence_num == 2
    assert insert_event(filled, INSTANCE, 3) == 3
    assert client.append_event(INSTANCE, "epic_planned", {"epic_id": "3"}).last_sequence_num == 4
    assert insert_event(filled, INSTANCE, None) == 5
    assert client.append_event(INSTANCE, "epic_planned", {"epic_id": "4"}).last_sequence_num == 6
    assert numbers(client, INSTANCE) == [1, 2, 3, 4, 5, 6]


def test_a_taken_number_is_refused_and_the_library_goes_on(filled: Connection, client: SessionContinuity) -> None:
    with pytest.raises(errors.UniqueViolation) as caught:
        insert_event(filled, INSTANCE, 1)
    assert caught.value.diag.constraint_name == "event_store_instance_sequence_key"
    assert client.append_event(INSTANCE, "epic_planned", {"epic_id": "2"}).last_sequence_num == 2


def test_a_gap_of_plain_inserts_is_accepted_and_the_library_goes_on_after_it(
    filled: Connection, client: SessionContinuity
) -> None:
    assert insert_event(filled, INSTANCE, 10) == 10
    assert insert_event(filled, INSTANCE, 7) == 7
    assert client.append_event(INSTANCE, "epic_planned", {"epic_id": "2"}).last_sequence_num == 11
    assert numbers(client, INSTANCE) == [1, 7, 10, 11]


def test_a_plain_insert_under_a_checkpoint_is_refused(filled: Connection, client: SessionContinuity) -> None:
    insert_event(filled, INSTANCE, 10)
    covered = client.take_checkpoint(INSTANCE).sequence_num
    with pytest.raises(errors.RaiseException) as caught:
        insert_event(filled, INSTANCE, 5)
    assert caught.value.diag.constraint_name == "event_store_under_checkpoint"
    assert caught.value.diag.message_hint == f"Use {covered + 1} or leave sequence_num out."
    assert client.recover_state(INSTANCE).work_state == client.replay_events(INSTANCE).work_state


PLAIN_WRITES: dict[str, Callable[[str], str]] = {
    "event": lambda i: (
        f"INSERT INTO event_store (instance_id, event_type, sequence_num) VALUES ('{i}', 'test_passed', 90)"
    ),
    "checkpoint": lambda i: (
        "INSERT INTO checkpoints (instance_id, checkpoint_type, sequence_num, work_state)"
        f" VALUES ('{i}', 'manual', 90, '{{}}')"
    ),
    "heartbeat": lambda i: f"UPDATE supervisor_sessions SET last_heartbeat = now() WHERE instance_id = '{i}'",
    "context": lambda i: f"UPDATE supervisor_sessions SET context_percent = 9 WHERE instance_id = '{i}'",
    "lifted fence": lambda i: f"UPDATE supervisor_sessions SET superseded_by = NULL WHERE instance_id = '{i}'",
}


@pytest.mark.parametrize("write", PLAIN_WRITES)
def test_plain_sql_of_a_fenced_session_is_refused(
    filled: Connection, client: SessionContinuity, write: str
) -> None:
    command = PLAIN_WRITES[write](INSTANCE)
    if write != "lifted fence":
        with filled.transaction(force_rollback=True):
            run(filled, command)
    successor = client.resume_session(INSTANCE).successor
    assert successor is not None
    with pytest.raises(errors.RaiseException, match=f"taken over by {successor.instance_id}") as caught:
        run(filled, command)
    assert caught.value.diag.constraint_name == "supervisor_sessions_fence"
    with pytest.raises(Fenced):
        client.append_event(INSTANCE, "test_passed")


def test_a_plain_command_of_a_fenced_session_is_kept_as_late(
    filled: Connection, client: SessionContinuity
) -> None:
    client.resume_session(INSTANCE)
    run(filled, INSERTS[1])
    client.record_command(INSTANCE, NewCommand(command_type="tool", action="ls", outcome="success"))
    assert [command.late for command in client.search_commands(instance_id=INSTANCE)] == [True, True, False]


def test_a_temporary_table_can_not_stand_in_for_the_registry(
    filled: Connection, client: SessionContinuity
) -> None:
    client.resume_session(INSTANCE)
    filled.execute("CREATE TEMP TABLE supervisor_sessions (LIKE public.supervisor_sessions INCLUDING ALL)")
    filled.execute(
        "INSERT INTO supervisor_sessions (instance_id, project, instance_type)"
        f" VALUES ('{INSTANCE}', 'forged', 'PS')".encode()
    )
    filled.execute("GRANT ALL ON supervisor_sessions TO supervisor")
    for write in ("event", "checkpoint"):
        with pytest.raises(errors.RaiseException, match="taken over by"):
            run(filled, PLAIN_WRITES[write](INSTANCE))


def test_an_event_that_pretends_to_be_the_librarys_is_noticed(
    filled: Connection, client: SessionContinuity
) -> None:
    insert_event(filled, INSTANCE, 2, owner_epoch=1)
    with pytest.raises(Conflict):
        client.append_event(INSTANCE, "epic_planned", {"epic_id": "2"})


def test_plain_values_that_break_a_rule_reach_no_table(filled: Connection, client: SessionContinuity) -> None:
    for values in ("'MS-abc123', 'p', 'MS'", "'p-MS-abc123', 'p', 'XX'"):
        with pytest.raises(errors.CheckViolation):
            run(
                filled,
                f"INSERT INTO supervisor_sessions (instance_id, project, instance_type) VALUES ({values})",
            )
    with pytest.raises(InvalidInput):
        client.append_event(INSTANCE, "lunch")
    with pytest.raises(errors.CheckViolation):
        insert_event(filled, INSTANCE, 0)
