"""The plans of the statements that have to stay fast: over some thousands of rows, by index, and reading no
more of them than the answer needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from tests.conftest import RunningServer

from session_continuity.domain.work_state import SCHEMA_VERSION
from session_continuity.postgres.statements import statement

Connection = psycopg.Connection[Any]

SILENT = 30
SEED = (
    # 5,000 sessions: the first 60 active, half of these silent for over an hour, the others closed long ago.
    """INSERT INTO supervisor_sessions
        (instance_id, project, instance_type, status, last_heartbeat, harness_session_id, current_epic)
    SELECT 'p-PS-' || lpad(n::text, 6, '0'), 'project-' || n % 100, 'PS',
        CASE WHEN n <= 60 THEN 'active' ELSE 'closed' END,
        now() - CASE WHEN n <= 30 THEN interval '1 second' ELSE interval '1 hour' + n * interval '1 minute' END,
        'harness-' || n, 'epic-' || n % 500
    FROM generate_series(1, 5000) n""",
    """UPDATE supervisor_sessions SET host = 'build-7', pid = right(instance_id, 6)::integer,
        metadata = jsonb_build_object('process', jsonb_build_object(
            'pid', right(instance_id, 6)::integer, 'started', 'boot:' || right(instance_id, 6)::integer))""",
    """INSERT INTO event_store (instance_id, event_type, sequence_num, timestamp, created_at, owner_epoch)
    SELECT 'p-PS-' || lpad((1 + n % 20)::text, 6, '0'),
        CASE WHEN n % 200 = 0 THEN 'epic_completed' ELSE 'task_spawned' END,
        1 + n / 20, now() - (20000 - n) * interval '1 second', now() - (20000 - n) * interval '1 second', 1
    FROM generate_series(0, 19999) n""",
    """UPDATE supervisor_sessions SET last_sequence_num = 1000 WHERE instance_id IN (
        SELECT instance_id FROM event_store)""",
    """INSERT INTO command_log
        (instance_id, command_type, action, success, outcome, created_at, owner_epoch, operation_id)
    SELECT 'p-PS-' || lpad((1 + n % 20)::text, 6, '0'), 'tool', 'run', n % 200 <> 0,
        CASE WHEN n % 200 = 0 THEN 'failure' ELSE 'success' END, now() - (10000 - n) * interval '1 second', 1,
        gen_random_uuid()
    FROM generate_series(0, 9999) n""",
    f"""INSERT INTO checkpoints (instance_id, checkpoint_type, sequence_num, timestamp, created_at, owner_epoch,
        state_hash, schema_version)
    SELECT 'p-PS-' || lpad((1 + n % 20)::text, 6, '0'), CASE WHEN n % 50 = 0 THEN 'manual' ELSE 'automatic' END,
        10 * (1 + n / 20), now() - (2000 - n) * interval '10 s', now() - (2000 - n) * interval '10 s', 1,
        '\\x00', {SCHEMA_VERSION}
    FROM generate_series(0, 1999) n""",
)
ANY_SESSION = dict.fromkeys(
    ["project", "projects", "status", "instance_type", "thread_id", "harness_session_id", "silent_for", "before"]
) | {"before_id": "", "limit": 20}
ANY_COMMAND = dict.fromkeys(
    [
        "instance_id",
        "project",
        "projects",
        "tool_name",
        "action",
        "command_type",
        "outcome",
        "pattern",
        "tag",
        "slower_than_ms",
        "since",
        "before",
    ]
) | {"before_id": 0, "limit": 20}
FIRST_ID = "00000000-0000-0000-0000-000000000000"
ONE = {"instance_id": "p-PS-000007"}
PAGE = {"after": 900, "until": None, "as_of": None, "event_type": None, "limit": 100}
TIMELINE = dict.fromkeys(["at", "rank", "reference", "kinds", "type", "outcome", "text"]) | {"limit": 20}
OVERVIEW = {
    "project": None, "projects": None, "instance_type": None, "text": None, "before": None, "before_id": "",
    "among": 10_000, "limit": 20,
}  # fmt: skip
NEW_EVENT = {
    "expected": None,
    "event_id": "0190a000-0000-7000-8000-000000000000",
    "event_type": "test_passed",
    "event_data": "{}",
    "metadata": "{}",
    "timestamp": None,
}


@dataclass(frozen=True)
class Case:
    """A statement, the indexes its plan uses, and the most rows it may read of any table."""

    statement: str
    parameters: dict[str, Any]
    indexes: set[str]
    rows: int


CASES = {
    "silent sessions": Case(
        "find_silent_sessions",
        ANY_SESSION | {"silent_for": timedelta(minutes=SILENT), "limit": 1_000},
        {"supervisor_sessions_active_heartbeat"},
        30,
    ),
    "latest sessions": Case("find_sessions", ANY_SESSION, {"supervisor_sessions_heartbeat"}, 60),
    "sessions of a project": Case(
        "find_sessions",
        ANY_SESSION | {"project": "project-7"},
        {"supervisor_sessions_project_heartbeat"},
        40,
    ),
    "sessions of a project by status": Case(
        "find_sessions",
        ANY_SESSION | {"project": "project-7", "status": "active"},
        {"supervisor_sessions_project_status"},
        1,
    ),
    "session of a harness": Case(
        "find_sessions",
        ANY_SESSION | {"harness_session_id": "harness-77"},
        {"supervisor_sessions_harness_session"},
        1,
    ),
    "sessions of a process": Case(
        "find_process_sessions",
        {"host": "build-7", "pid": 7, "process": '{"pid": 7, "started": "boot:7"}', "limit": 100},
        {"supervisor_sessions_process"},
        1,
    ),
    "overview": Case(
        "get_overview",
        OVERVIEW | {"statuses": ["active", "stale", "closed"]},
        {
            "supervisor_sessions_active_heartbeat",
            "supervisor_sessions_stale_heartbeat",
            "supervisor_sessions_closed_heartbeat",
            "command_log_in_flight",
            "event_store_instance_sequence_key",
            "checkpoints_instance_sequence",
        },
        60,
    ),
    "heartbeat": Case(
        "send_heartbeat",
        ONE | {"context_percent": 5, "current_epic": None},
        {"supervisor_sessions_pkey"},
        1,
    ),
    "append": Case("append_event", ONE | NEW_EVENT, {"supervisor_sessions_pkey"}, 1),
    "latest checkpoint": Case("latest_checkpoint", ONE, {"checkpoints_instance_sequence"}, 2),
    "recovery": Case(
        "recover",
        ONE | {"until": None, "schema_version": SCHEMA_VERSION, "page": 1_000},
        {"checkpoints_instance_sequence", "event_store_instance_sequence_key"},
        100,
    ),
    "recovery of the past": Case(
        "recover",
        ONE | {"until": 55, "schema_version": SCHEMA_VERSION, "page": 1_000},
        {"checkpoints_instance_sequence", "event_store_instance_sequence_key"},
        100,
    ),
    "tail of a stream": Case("read_events", ONE | PAGE, {"event_store_instance_sequence_key"}, 100),
    "timeline": Case(
        "get_timeline",
        ONE | TIMELINE,
        {"event_store_instance_created", "command_log_instance_created", "checkpoints_instance_timestamp"},
        80,
    ),
    "timeline back": Case(
        "get_timeline_before",
        ONE | TIMELINE,
        {"event_store_instance_created", "command_log_instance_created", "checkpoints_instance_timestamp"},
        80,
    ),
    "failed commands of a timeline": Case(
        "get_timeline_before",
        ONE | TIMELINE | {"kinds": ["command"], "outcome": "failure"},
        {"command_log_instance_created"},
        1_000,
    ),
    "events of a type": Case(
        "find_events",
        {
            "event_type": "epic_completed",
            "since": None,
            "before": None,
            "before_id": FIRST_ID,
            "project": None,
            "projects": None,
            "limit": 20,
        },
        {"event_store_type_timestamp"},
        25,
    ),
    "failed commands": Case("search_failed_commands", ANY_COMMAND, {"command_log_failed"}, 25),
    "commands of a session": Case("search_commands", ANY_COMMAND | ONE, {"command_log_instance_created"}, 25),
    "outcome of a command": Case(
        "get_command",
        ONE | {"command_id": 77, "operation_id": None},
        {"command_log_pkey"},
        1,
    ),
    "manual checkpoints": Case(
        "list_checkpoints",
        {
            "instance_id": None,
            "checkpoint_type": "manual",
            "projects": None,
            "before": None,
            "before_id": FIRST_ID,
            "limit": 10,
        },
        {"checkpoints_type_created"},
        15,
    ),
}


def seed(connection: Connection) -> None:
    for command in SEED:
        connection.execute(command.encode())


@pytest.fixture(scope="module")
def seeded(server: RunningServer) -> Iterator[Connection]:
    name = server.create_database()
    with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
        seed(connection)
        connection.execute("VACUUM ANALYZE")
        yield connection
    server.drop_database(name)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def analyze(connection: Connection, case: Case) -> tuple[set[str], dict[str, int]]:
    """The indexes of the executed plan, and the rows each table's scan read, fitting or not."""
    with connection.transaction(force_rollback=True):
        explain = f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement(case.statement)}"
        plan = connection.execute(explain.encode(), case.parameters).fetchall()[0][0][0]["Plan"]
    indexes: set[str] = set()
    read: dict[str, int] = {}
    for node in nodes(plan):
        if "Index Name" in node:
            indexes.add(node["Index Name"])
        if "Relation Name" in node and "Scan" in node["Node Type"]:
            rows = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
            read[node["Relation Name"]] = round(rows * node["Actual Loops"])
    return indexes, read


@pytest.mark.parametrize("name", CASES)
def test_the_statement_is_served_by_its_index(seeded: Connection, name: str) -> None:
    case = CASES[name]
    indexes, read = analyze(seeded, case)
    assert indexes == case.indexes
    assert max(read.values()) <= case.rows, read


@pytest.mark.parametrize("name", CASES)
def test_without_its_index_the_statement_reads_more_or_otherwise(seeded: Connection, name: str) -> None:
    case = CASES[name]
    with seeded.transaction(force_rollback=True):
        seeded.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = ANY(%s::regclass[])",
            (sorted(case.indexes),),
        )
        indexes, read = analyze(seeded, case)
    assert not indexes & case.indexes
    assert max(read.values()) > case.rows


@pytest.mark.parametrize("name", CASES)
def test_a_statement_that_runs_often_keeps_its_index(seeded: Connection, name: str) -> None:
    """From the sixth run on PostgreSQL may choose a plan that knows none of the values."""
    case = CASES[name]
    seeded.execute("DEALLOCATE ALL")
    with seeded.transaction(force_rollback=True):
        for run in range(10):
            again = {"event_id": UUID(int=run)} if "event_id" in case.parameters else {}
            seeded.execute(statement(case.statement).encode(), case.parameters | again, prepare=True)
        chosen = seeded.execute(
            "SELECT name, generic_plans, cardinality(parameter_types) FROM pg_prepared_statements"
            " WHERE NOT from_sql AND starts_with(statement, left(%s, 40))",
            (statement(case.statement),),
        ).fetchall()
        prepared, generic_plans, parameters = chosen[0]
        if generic_plans:
            seeded.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            values = ", ".join(["NULL"] * parameters)
            explain = f'EXPLAIN (FORMAT JSON) EXECUTE "{prepared}" ({values})'
            plan = seeded.execute(explain.encode()).fetchall()[0][0][0]["Plan"]
            assert {node["Index Name"] for node in nodes(plan) if "Index Name" in node} == case.indexes
