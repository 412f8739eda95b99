"""`continuity db verify` tells the truth: it passes on a sound database, and each thing taken away makes
exactly the line fail that is about it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import sql
from tests.conftest import RunningServer

from session_continuity import SessionContinuity
from session_continuity.domain.errors import Refused
from session_continuity.postgres import verification
from session_continuity.postgres.access_paths import ACCESS_PATHS, TABLES, check_access_paths
from session_continuity.postgres.verification import Verification, verify

Connection = psycopg.Connection[Any]

PATHS_OF = {
    "supervisor_sessions_pkey": [
        "supervisor_sessions PRIMARY KEY (instance_id)",
        "supervisor_sessions (instance_id)",
    ],
    "supervisor_sessions_project_heartbeat": ["supervisor_sessions (project, last_heartbeat DESC)"],
    "supervisor_sessions_heartbeat": ["supervisor_sessions (last_heartbeat DESC)"],
    "supervisor_sessions_project_status": ["supervisor_sessions (project, status)"],
    "supervisor_sessions_active_heartbeat": [],
    "command_log_pkey": ["command_log PRIMARY KEY (id)"],
    "command_log_instance_created": ["command_log (instance_id, created_at DESC)"],
    "event_store_pkey": ["event_store PRIMARY KEY (event_id)"],
    "event_store_instance_sequence_key": [
        "event_store (instance_id, sequence_num)",
        "event_store UNIQUE (instance_id, sequence_num)",
    ],
    "event_store_instance_created": ["event_store (instance_id, created_at DESC)"],
    "event_store_timestamp": ["event_store (timestamp DESC)"],
    "event_store_type_timestamp": ["event_store (event_type, timestamp DESC)"],
    "checkpoints_pkey": ["checkpoints PRIMARY KEY (checkpoint_id)"],
    "checkpoints_instance_timestamp": ["checkpoints (instance_id, timestamp DESC)"],
    "checkpoints_type_created": ["checkpoints (checkpoint_type, created_at DESC)"],
    "checkpoints_instance_sequence": [],
}
DROP = """
SELECT CASE WHEN k.conname IS NULL THEN format('DROP INDEX %%I', i.relname)
    ELSE format('ALTER TABLE %%s DROP CONSTRAINT %%I CASCADE', x.indrelid::regclass, k.conname) END
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
LEFT JOIN pg_constraint k ON k.conindid = i.oid AND k.contype <> 'f'
WHERE i.oid = %s::regclass
"""


def failures(found: Verification) -> list[str]:
    """The lines that did not pass, each by its name."""
    checks = (*found.checks, *found.triggers, *found.durability)
    return [
        *(table.table for table in found.tables if not table.passed),
        *(f"{each.name} {each.state}" for each in found.migrations if each.state != "applied"),
        *(f"{path.table} {path.columns}" for path in found.access_paths if not path.passed),
        *(f"{each.role} {each.relation}" for each in found.permissions if not each.passed),
        *(check.name for check in checks if not check.passed),
    ]


def counts(connection: Connection) -> list[int]:
    tables = (*TABLES, "session_tombstones")
    return [connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchall()[0][0] for table in tables]


@pytest.fixture
def undone(connection: Connection) -> Iterator[Connection]:
    """A connection whose changes to the database, and to the server's roles, are rolled back."""
    with connection.transaction(force_rollback=True):
        yield connection


def test_a_fresh_database_passes_whole(connection: Connection) -> None:
    found = verify(connection)
    assert failures(found) == []
    assert found.passed
    assert len(found.access_paths) == 16
    assert len(found.checks) == 10
    assert [(table.table, table.rows, table.foreign_keys, table.referenced_by) for table in found.tables] == [
        ("supervisor_sessions", 0, 0, 3),
        ("command_log", 0, 1, 0),
        ("event_store", 0, 1, 0),
        ("checkpoints", 0, 1, 0),
    ]
    assert found.checked_as == "supervisor"


def test_it_is_plain_json(connection: Connection) -> None:
    document = json.loads(json.dumps(verify(connection).as_json(), default=str))
    assert document["passed"] is True
    assert len(document["access_paths"]) == 16
    assert all(path["plan"]["Node Type"] for path in document["access_paths"])
    assert all(entry["passed"] for part in document.values() if isinstance(part, list) for entry in part)


def test_the_sixteen_paths_are_the_reports() -> None:
    per_table = [sum(path.table == table for path in ACCESS_PATHS) for table in TABLES]
    assert per_table == [5, 2, 6, 3]


def test_each_path_names_the_index_that_serves_it(connection: Connection) -> None:
    serving: dict[str, list[str]] = {index: [] for index in PATHS_OF}
    for path in check_access_paths(connection):
        for index in path.indexes:
            serving[index].append(f"{path.table} {path.columns}")
    assert serving == PATHS_OF


@pytest.mark.parametrize("index", PATHS_OF)
def test_without_an_index_exactly_its_paths_fail(undone: Connection, index: str) -> None:
    undone.execute(undone.execute(DROP, (index,)).fetchall()[0][0])
    failed = [path for path in check_access_paths(undone) if not path.passed]
    assert [f"{path.table} {path.columns}" for path in failed] == PATHS_OF[index]
    assert all(path.problem and not path.indexes for path in failed)


def test_an_invalid_index_does_not_count(undone: Connection) -> None:
    undone.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'event_store_timestamp'::regclass")
    failed = [path.columns for path in check_access_paths(undone) if not path.passed]
    assert failed == ["(timestamp DESC)"]


@pytest.mark.parametrize(
    ("table", "constraint", "check"),
    [
        ("event_store", "event_store_instance_sequence_key", "Unique Sequence Constraint"),
        ("supervisor_sessions", "supervisor_sessions_instance_id_format", "instance_id Format Validation"),
        ("supervisor_sessions", "supervisor_sessions_context_percent_range", "context_percent Range"),
        ("supervisor_sessions", "supervisor_sessions_instance_type_enum", "instance_type Enum"),
    ],
)
def test_without_a_constraint_its_check_fails(undone: Connection, table: str, constraint: str, check: str) -> None:
    undone.execute(f"ALTER TABLE {table} DROP CONSTRAINT {constraint}".encode())
    failed = [each for each in verify(undone).checks if not each.passed]
    assert [(each.name, each.happened) for each in failed] == [(check, "accepted")]
    assert failed[0].expected == f"refused by {constraint}"


def test_a_refusal_by_another_constraint_is_no_pass(undone: Connection) -> None:
    rename = "ALTER TABLE supervisor_sessions RENAME CONSTRAINT supervisor_sessions_context_percent_range TO other"
    undone.execute(rename)
    failed = [(each.name, each.happened) for each in verify(undone).checks if not each.passed]
    assert failed == [("context_percent Range", "refused by other")]


def test_without_the_cascade_table_and_check_fail(undone: Connection) -> None:
    undone.execute(
        "ALTER TABLE checkpoints DROP CONSTRAINT checkpoints_instance_id_fkey, ADD CONSTRAINT"
        " checkpoints_instance_id_fkey FOREIGN KEY (instance_id) REFERENCES supervisor_sessions (instance_id)"
    )
    assert failures(verify(undone)) == ["supervisor_sessions", "checkpoints", "CASCADE DELETE"]


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        ("REVOKE DELETE ON event_store FROM supervisor", "supervisor event_store"),
        ("REVOKE USAGE ON command_log_id_seq FROM continuity_writer", "continuity_writer command_log_id_seq"),
        ("GRANT TRUNCATE ON checkpoints TO supervisor", "supervisor checkpoints"),
        ("GRANT UPDATE ON event_store TO continuity_writer", "continuity_writer event_store"),
        ("GRANT UPDATE (legal_hold) ON supervisor_sessions TO PUBLIC", "continuity_writer supervisor_sessions"),
        ("GRANT CREATE ON SCHEMA public TO PUBLIC", "supervisor None"),
        ("ALTER ROLE supervisor CREATEDB", "supervisor None"),
        ("GRANT pg_read_server_files TO continuity_writer", "continuity_writer None"),
        ("ALTER TABLE event_store DISABLE TRIGGER admit_plain_event", "admit_plain_event"),
        ("DROP TRIGGER bury_session ON supervisor_sessions", "bury_session"),
        ("SET LOCAL synchronous_commit = off", "synchronous_commit"),
        ("ALTER ROLE supervisor SET synchronous_commit = off", "synchronous_commit of role supervisor"),
        ("DELETE FROM schema_migrations WHERE name = 'roles'", "roles pending"),
        ("UPDATE schema_migrations SET checksum = '0' WHERE name = 'roles'", "roles changed"),
        ("INSERT INTO schema_migrations (version) VALUES ('9')", "? unknown"),
    ],
)  # fmt: skip
def test_what_was_changed_is_named(undone: Connection, change: str, failed: str) -> None:
    undone.execute(change.encode())
    found = verify(undone)
    assert not found.passed
    assert failed in failures(found)


def test_a_server_that_does_not_flush_is_not_called_durable(server: RunningServer, database: str) -> None:
    def set_fsync(command: str, wanted: str) -> None:
        server.execute(sql.SQL(command))
        server.execute(sql.SQL("SELECT pg_reload_conf()"))
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with psycopg.connect(database) as fresh:
                if fresh.execute("SHOW fsync").fetchone() == (wanted,):
                    return
            time.sleep(0.05)
        pytest.fail(f"fsync does not become {wanted}")

    try:
        set_fsync("ALTER SYSTEM SET fsync = off", "off")
        with psycopg.connect(database, autocommit=True) as connection:
            assert failures(verify(connection)) == ["fsync"]
    finally:
        set_fsync("ALTER SYSTEM RESET fsync", "on")


def test_a_missing_table_is_reported_and_not_an_error(undone: Connection) -> None:
    undone.execute("DROP TABLE checkpoints CASCADE")
    found = verify(undone)
    assert not next(table for table in found.tables if table.table == "checkpoints").exists
    failed = [path.table for path in found.access_paths if not path.passed]
    assert failed.count("checkpoints") == 3


def test_a_database_without_tables_is_refused_with_what_to_do(empty_database: str) -> None:
    with (
        psycopg.connect(empty_database, autocommit=True) as connection,
        pytest.raises(Refused, match="continuity db upgrade"),
    ):
        verify(connection)


def test_it_leaves_nothing_behind_but_one_spent_number(connection: Connection, client: SessionContinuity) -> None:
    client.register_session("consilio-s", instance_id="consilio-PS-abc123")
    before, number = counts(connection), "SELECT nextval('command_log_id_seq')"
    spent = connection.execute(number).fetchall()[0][0]
    assert verify(connection).passed
    assert counts(connection) == before
    assert connection.execute(number).fetchall()[0][0] == spent + 2
    assert connection.execute("SELECT count(*) FROM pg_class WHERE relpersistence = 't'").fetchone() == (0,)


def test_several_verify_a_database_in_use_at_once(database: str, client: SessionContinuity) -> None:
    session = client.register_session("consilio-s").instance_id
    stop = threading.Event()

    def write() -> int:
        appended = 0
        while not stop.is_set():
            client.append_event(session, "task_spawned")
            appended += 1
        return appended

    def check(_: int) -> bool:
        with psycopg.connect(database, autocommit=True) as connection:
            return verify(connection).passed

    with ThreadPoolExecutor(4) as pool:
        writing = pool.submit(write)
        try:
            assert list(pool.map(check, range(3))) == [True] * 3
        finally:
            stop.set()
        assert writing.result() > 0
    assert [event.sequence_num for event in client.read_events(session, limit=10_000)] == list(
        range(1, writing.result() + 2)
    )


def test_the_reports_own_role_can_verify(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SET SESSION AUTHORIZATION supervisor")
        assert failures(verify(connection)) == []


def test_a_role_that_may_not_delete_is_told_so(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SET SESSION AUTHORIZATION continuity_writer")
        found = verify(connection)
    assert found.checked_as == "continuity_writer"
    failed = [check for check in found.checks if not check.passed]
    assert [(check.name, check.happened) for check in failed] == [
        ("CASCADE DELETE", "refused: permission denied for table supervisor_sessions")
    ]


def test_large_tables_are_estimated(
    connection: Connection, client: SessionContinuity, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        client.register_session("consilio-s")
    monkeypatch.setattr(verification, "COUNTED_ROWS", 2)
    connection.execute("ANALYZE supervisor_sessions")
    sessions, commands, *_ = verify(connection).tables
    assert (sessions.rows, sessions.estimated) == (3, True)
    assert (commands.rows, commands.estimated) == (0, False)
