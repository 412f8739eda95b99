"""Who may do what: every role against every action, exactly the cells written here.

The embedded server's superuser may do everything: there the border is the account of the operating system.
"""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import make_conninfo

from session_continuity import NewCommand, SessionContinuity

Connection = psycopg.Connection[Any]

SESSION, DOOMED = "shop-PS-aaaaaa", "shop-PS-bbbbbb"
RECORDS = ("supervisor_sessions", "command_log", "event_store", "checkpoints")
TABLES = (*RECORDS, "session_tombstones", "schema_migrations", "service_leases", "service_passes")
ROLES = ("supervisor", "continuity_writer", "stranger", "continuity")
INSERTS = {
    "supervisor_sessions": "(instance_id, project, instance_type) VALUES ('shop-MS-cccccc', 'shop', 'MS')",
    "command_log": f"(instance_id, command_type, action) VALUES ('{SESSION}', 'tool', 'ls')",
    "event_store": f"(instance_id, event_type, sequence_num) VALUES ('{SESSION}', 'test_passed', 50)",
    "checkpoints": f"(instance_id, checkpoint_type, sequence_num) VALUES ('{SESSION}', 'manual', 50)",
    "session_tombstones": "VALUES ('x', 'x', gen_random_uuid(), 1, 0, 0, 0, 0, 'x')",
    "schema_migrations": "(version) VALUES ('1')",
    "service_leases": "VALUES ('x', 'x', 1, now(), now())",
    "service_passes": "VALUES (gen_random_uuid(), 'x', 'x', now(), now(), 0, '{}', NULL)",
}
IDENTITY = {
    "supervisor_sessions": "instance_id",
    "command_log": "action",
    "event_store": "event_data",
    "checkpoints": "work_state",
    "session_tombstones": "deleted_by",
    "schema_migrations": "version",
    "service_leases": "expires_at",
    "service_passes": "error",
}
ON_TABLES = {
    "read": "SELECT 1 FROM {table}",
    "insert": "INSERT INTO {table} {values}",
    "rewrite": "UPDATE {table} SET {column} = {column}",
    "delete": "DELETE FROM {table}",
    "truncate": "TRUNCATE {table} CASCADE",
    "drop": "DROP TABLE {table} CASCADE",
    "silence": "ALTER TABLE {table} DISABLE TRIGGER ALL",
    # To grant what one may not is only warned of.
    "share": "DO $$ BEGIN GRANT SELECT ON {table} TO bystander; IF NOT has_table_privilege("
    "'bystander', '{table}', 'SELECT') THEN RAISE insufficient_privilege; END IF; END $$",
}
EVERYTHING = set(ON_TABLES)
LISTS = ("session_tombstones", "schema_migrations")
SERVICES = {
    "service_leases": {"read", "insert", "rewrite"},
    "service_passes": {"read", "insert", "rewrite", "delete"},
}
ALLOWED_ON_TABLES: dict[str, dict[str, set[str]]] = {
    "supervisor": {table: {"read", "insert", "rewrite", "delete"} for table in RECORDS}
    | {table: {"read"} for table in LISTS}
    | SERVICES,
    "continuity_writer": {table: {"read", "insert"} for table in RECORDS}
    | {table: {"read"} for table in LISTS}
    | SERVICES,
    "stranger": {table: set[str]() for table in TABLES},
    "continuity": dict.fromkeys(TABLES, EVERYTHING),
}
ELSEWHERE = {
    "move a heartbeat": "UPDATE supervisor_sessions SET last_heartbeat = now(), context_percent = 5",
    "finish a command": "UPDATE command_log SET outcome = 'success', success = true",
    "hold a session": "UPDATE supervisor_sessions SET legal_hold = true",
    "rename a session's project": "UPDATE supervisor_sessions SET project = 'other'",
    "change an epoch": "UPDATE supervisor_sessions SET owner_epoch = 9",
    "set the sequence back": "SELECT setval('command_log_id_seq', 1)",
    "forget a session": f"SELECT forget_session('{SESSION}')",
    "run a program": "COPY supervisor_sessions TO PROGRAM 'cat > /dev/null'",
    "read a server file": "SELECT pg_read_file('/etc/hostname')",
    "write a server file": "COPY supervisor_sessions TO '/dev/null'",
    "become superuser": "SET ROLE continuity",
    "become the reports role": "SET ROLE supervisor",
    "create a role": "CREATE ROLE intruder",
    "create a table": "CREATE TABLE public.event_store_2 ()",
    "create a function": "CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql RETURN NULL::timestamptz",
    "create a schema to shadow ours": "CREATE SCHEMA shadow",
    "switch the triggers off": "SET session_replication_role = replica",
    "change the server": "ALTER SYSTEM SET work_mem = '5MB'",
    "replace the burial": "CREATE OR REPLACE FUNCTION bury_session() RETURNS trigger"
    " LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'",
}
ALLOWED_ELSEWHERE = {
    "supervisor": {
        "move a heartbeat", "finish a command", "hold a session", "rename a session's project", "change an epoch",
        "become the reports role", "forget a session",
    },
    "continuity_writer": {"move a heartbeat", "finish a command"},
    "stranger": set[str](),
    "continuity": set(ELSEWHERE),
}  # fmt: skip


@pytest.fixture
def stocked(connection: Connection, client: SessionContinuity) -> Connection:
    """A database with a session that has a row of everything, and a role without any grant."""
    for instance_id in (SESSION, DOOMED):
        client.register_session("shop", instance_id=instance_id)
        client.record_command(instance_id, NewCommand(command_type="tool", action="ls"))
        client.append_event(instance_id, "test_passed")
        client.take_checkpoint(instance_id)
    connection.execute("DELETE FROM supervisor_sessions WHERE instance_id = %s", (DOOMED,))
    for role in ("stranger", "bystander"):
        if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).fetchall():
            connection.execute(f"CREATE ROLE {role}".encode())
    return connection


def is_allowed(connection: Connection, role: str, command: str) -> bool:
    """Whether the role may do it. ALTER SYSTEM can't be tried in a transaction and leaves its mark: undone."""
    connection.execute(f"SET SESSION AUTHORIZATION {role}".encode())
    try:
        if command.startswith("ALTER SYSTEM"):
            connection.execute(command.encode())
            connection.execute("ALTER SYSTEM RESET work_mem")
        else:
            with connection.transaction(force_rollback=True):
                connection.execute(command.encode())
    except errors.InsufficientPrivilege:
        return False
    finally:
        connection.execute("RESET SESSION AUTHORIZATION")
    return True


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_with_the_tables_exactly_what_is_written_here(stocked: Connection, role: str) -> None:
    found = {
        table: {
            action
            for action, command in ON_TABLES.items()
            if is_allowed(
                stocked,
                role,
                command.format(table=f"public.{table}", values=INSERTS[table], column=IDENTITY[table]),
            )
        }
        for table in TABLES
    }
    assert found == ALLOWED_ON_TABLES[role]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_elsewhere_exactly_what_is_written_here(stocked: Connection, role: str) -> None:
    allowed = {action for action, command in ELSEWHERE.items() if is_allowed(stocked, role, command)}
    assert allowed == ALLOWED_ELSEWHERE[role]


def test_the_matrix_would_show_a_grant_too_many(stocked: Connection) -> None:
    stocked.execute("GRANT UPDATE ON event_store TO continuity_writer")
    with pytest.raises(AssertionError):
        test_a_role_may_do_with_the_tables_exactly_what_is_written_here(stocked, "continuity_writer")


def test_the_product_lives_on_the_writers_rights_alone(database: str) -> None:
    with SessionContinuity(dsn=make_conninfo(database, options="-c role=continuity_writer")) as client:
        session = client.register_session("shop").instance_id
        client.send_heartbeat(session, context_percent=40)
        assert client.send_heartbeats([session]) == [session]
        client.append_event(session, "epic_started", {"epic_id": "1"})
        intent = client.record_command(session, NewCommand(command_type="tool", action="make", tool_call_id="1"))
        client.record_outcome(session, command_id=intent.id, outcome="failure", error_message="no rule")
        client.take_checkpoint(session)
        successor = client.resume_session(session).successor
        assert successor is not None
        client.append_event(successor.instance_id, "epic_completed", {"epic_id": "1"})
        client.fork_session(successor.instance_id)
        client.rewind_session(successor.instance_id, 1)
        assert client.get_timeline(session)
        assert client.search_commands(outcome="failure")
        assert client.close_session(client.register_session("shop").instance_id).status == "closed"


def test_a_temporary_table_can_not_take_the_tombstone(stocked: Connection) -> None:
    stocked.execute("SET SESSION AUTHORIZATION supervisor")
    stocked.execute("CREATE TEMP TABLE session_tombstones (LIKE public.session_tombstones)")
    stocked.execute("DELETE FROM supervisor_sessions WHERE instance_id = %s", (SESSION,))
    buried = "SELECT instance_id, deleted_by FROM public.session_tombstones ORDER BY 1"
    assert stocked.execute(buried).fetchall() == [(SESSION, "supervisor"), (DOOMED, "continuity")]
    assert stocked.execute("SELECT count(*) FROM pg_temp.session_tombstones").fetchone() == (0,)
