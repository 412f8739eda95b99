"""What the services ask for in a large registry: by index, and reading no more than there is to do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from tests.conftest import RunningServer
from tests.postgres.test_query_plans import Case, nodes
from tests.services.fleet import many

from session_continuity.postgres.statements import statement

Connection = psycopg.Connection[Any]
LIVING, SILENT, CLOSED = 3_000, 20, 10_000
DECLARING = LIVING // 10
ACTIVE, DECLARED = "supervisor_sessions_active_heartbeat", "supervisor_sessions_declared_heartbeat"
RUNNING, PRIMARY = "supervisor_sessions_running", "supervisor_sessions_pkey"
LIMITS = {"stale_after": timedelta(minutes=30), "missed_beats": 3, "shortest_seconds": 60, "limit": 500}
ID = "00000000-0000-0000-0000-000000000000"

CASES = {
    # Of those who declared an interval of minutes, the living are read, too: they share a bucket with the silent.
    "silent sessions": Case("find_silent", LIMITS, {ACTIVE, DECLARED}, DECLARING + SILENT),
    "count of the silent ones": Case("count_silent", LIMITS, {ACTIVE, DECLARED}, DECLARING + 2 * SILENT),
    "sessions from the future": Case("bring_back_from_future", {"limit": 500}, {ACTIVE, PRIMARY}, 0),
    "stale sessions without a checkpoint": Case(
        "find_stale_unsaved",
        {"limit": 500},
        {"event_store_type_timestamp", PRIMARY, "checkpoints_instance_sequence"},
        SILENT,
    ),
    "processes of a host": Case(
        "find_processes", {"host": "host-7", "due_after": timedelta(seconds=15), "limit": 100}, {RUNNING}, 40
    ),
    "checkpoints that are due": Case(
        "find_checkpoints_due",
        {
            "threshold": 80,
            "idle_after": timedelta(minutes=10),
            "most_events": 100,
            "after_host": "host-5",
            "after_thread": ID,
            "page": 50,
        },
        {RUNNING, "checkpoints_instance_sequence", "event_store_instance_sequence_key"},
        50,
    ),
}

MARKING = Case(
    "mark_silent",
    LIMITS | {"event_ids": [UUID(int=0x0190A000_0000_7000_8000 << 48 | number) for number in range(500)]},
    {ACTIVE, DECLARED},
    DECLARING + 2 * SILENT,
)


@pytest.fixture(scope="module")
def seeded(server: RunningServer) -> Iterator[Connection]:
    """Living sessions on a hundred hosts, each with a checkpoint; a few silent ones of both kinds; many closed."""
    name = server.create_database()
    with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
        many(connection, LIVING, silent=SILENT, prefix="living")
        many(connection, CLOSED, silent=CLOSED, prefix="closed")
        connection.execute("UPDATE supervisor_sessions SET status = 'closed' WHERE project = 'closed'")
        connection.execute(
            """UPDATE supervisor_sessions SET host = 'host-' || right(instance_id, 2)::int,
                metadata = '{"process": {"pid": 1, "started": "x"}}',
                heartbeat_interval_seconds = CASE WHEN right(instance_id, 1) = '7' THEN 1200 END"""
        )
        connection.execute(
            """INSERT INTO checkpoints (instance_id, checkpoint_type, sequence_num, owner_epoch)
            SELECT instance_id, 'automatic', 1, 1 FROM supervisor_sessions"""
        )
        connection.execute(
            """INSERT INTO event_store (instance_id, event_type, sequence_num, owner_epoch)
            SELECT instance_id, CASE WHEN n = 2 AND right(instance_id, 3) = '001' THEN 'instance_stale'
                ELSE 'test_passed' END, n, 1
            FROM supervisor_sessions, generate_series(2, 4) n WHERE project = 'living'"""
        )
        connection.execute("UPDATE supervisor_sessions SET last_sequence_num = 4 WHERE project = 'living'")
        connection.execute("VACUUM ANALYZE")
        yield connection
    server.drop_database(name)


def analyze(connection: Connection, case: Case) -> tuple[set[str], dict[str, int]]:
    """The indexes of the executed plan, and the rows read of each table over all its scans, fitting or not."""
    with connection.transaction(force_rollback=True):
        explain = f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement(case.statement)}"
        plan = connection.execute(explain.encode(), case.parameters).fetchall()[0][0][0]["Plan"]
    indexes = {node["Index Name"] for node in nodes(plan) if "Index Name" in node}
    read: dict[str, int] = {}
    for node in nodes(plan):
        if "Relation Name" in node and "Scan" in node["Node Type"]:
            rows = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
            read[node["Relation Name"]] = read.get(node["Relation Name"], 0) + round(rows)
    return indexes, read


@pytest.mark.parametrize("name", CASES)
def test_what_a_service_asks_for_is_found_by_index(seeded: Connection, name: str) -> None:
    case = CASES[name]
    indexes, read = analyze(seeded, case)
    assert indexes == case.indexes
    assert max(count for table, count in read.items() if table != "event_store") <= case.rows, read
    assert read.get("event_store", 0) <= 4 * case.rows, read


# Of the future any index of the buckets knows that there is nothing.
@pytest.mark.parametrize("name", sorted(CASES.keys() - {"sessions from the future"}))
def test_without_its_index_more_is_read(seeded: Connection, name: str) -> None:
    case = CASES[name]
    with seeded.transaction(force_rollback=True):
        seeded.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = ANY(%s::regclass[])",
            (sorted(case.indexes),),
        )
        _, read = analyze(seeded, case)
    assert max(read.values()) > 2 * case.rows


@pytest.mark.parametrize("name", [*CASES, "marking"])
def test_a_plan_that_knows_no_values_reads_no_table_through(seeded: Connection, name: str) -> None:
    """PostgreSQL may settle on one from the sixth run on."""
    case = CASES.get(name) or MARKING
    with seeded.transaction(force_rollback=True):
        seeded.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        seeded.execute("DEALLOCATE ALL")
        seeded.execute(statement(case.statement).encode(), case.parameters, prepare=True)
        prepared = "SELECT name, cardinality(parameter_types) FROM pg_prepared_statements WHERE NOT from_sql"
        ((named, parameters),) = seeded.execute(f"{prepared} AND length(statement) > 200".encode()).fetchall()
        values = ", ".join(["NULL"] * parameters)
        explain = f'EXPLAIN (FORMAT JSON) EXECUTE "{named}" ({values})'
        plan = seeded.execute(explain.encode()).fetchall()[0][0][0]["Plan"]
    scanned = {node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan"}
    assert scanned <= {"command_log"}, "which is empty here"


def test_what_marks_silent_sessions_reads_just_these(seeded: Connection) -> None:
    indexes, read = analyze(seeded, MARKING)
    assert indexes >= MARKING.indexes
    assert read["supervisor_sessions"] <= MARKING.rows, read
    assert read["supervisor_sessions"] >= SILENT
