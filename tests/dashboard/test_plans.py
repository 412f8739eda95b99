"""No statement behind a page, an alert or a metric reads through one of the large tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from tests.conftest import RunningServer
from tests.postgres.test_query_plans import ONE, OVERVIEW, TIMELINE, nodes, seed

from session_continuity.domain.alert_rules import DATABASE_RULES, USUAL_ALERTS
from session_continuity.postgres.statements import statement

Connection = psycopg.Connection[Any]
LARGE = {"supervisor_sessions", "event_store", "command_log", "checkpoints", "search_documents"}
EVERYBODY = {"project": None, "projects": None, "counted": 10_000}
NOWHERE = {"before": None, "before_id": "00000000-0000-0000-0000-000000000000", "limit": 50, "projects": None}

STATEMENTS: dict[str, dict[str, Any]] = {
    "get_overview": OVERVIEW | {"statuses": ["active", "stale", "closed"]},
    "get_system_health": EVERYBODY | {"silent_for": "30 minutes"},
    "get_fleet_metrics": {"counted": 10_000, "named": 50},
    "count_events_by_minute": EVERYBODY | {"minutes": 120},
    "list_projects": {"projects": None, "limit": 100},
    "get_timeline": ONE | TIMELINE,
    "get_timeline_before": ONE | TIMELINE,
    "find_timeline_entry": ONE | {"kind": "event", "reference": 7},
    "get_context_points": ONE | {"most": 400},
    "get_check_points": ONE | {"most": 400},
    "get_tool_figures": ONE | {"most": 40},
    "list_alerts": NOWHERE | {"is_open": True, "rule": None},
    "list_actions": NOWHERE | {"subject": None},
    "get_slowest_commands": {"limit": 10},
    "search_records": NOWHERE
    | {"query": "'word7'", "kinds": None, "instance_id": None, "project": None, "before_id": 0},
}
RULES = {
    rule.statement or "": {
        "rule": rule.name, "severity": rule.severity, "most": 1_000, "archive_is_set": True,
        **USUAL_ALERTS.values_of(rule),
    }
    for rule in DATABASE_RULES
}  # fmt: skip
MAY_READ_THROUGH = {"evaluate_archive_overdue": {"supervisor_sessions"}}
"""It stops at the first row that it finds."""


@pytest.fixture(scope="module")
def filled(server: RunningServer) -> Iterator[Connection]:
    name = server.create_database()
    with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
        seed(connection)
        connection.execute(
            "INSERT INTO search_documents (kind, instance_id, reference, at, words)"
            " SELECT 'event', 'p-PS-000007', n, now(), search_vector('word' || n) FROM generate_series(1, 20000) n"
        )
        connection.execute("VACUUM ANALYZE")
        yield connection
    server.drop_database(name)


def read_through(connection: Connection, name: str, parameters: dict[str, Any]) -> set[str]:
    """The large tables of which the plan of a statement is a sequential scan."""
    explain = f"EXPLAIN (FORMAT JSON) {statement(name)}"
    plan = connection.execute(explain.encode(), parameters).fetchall()[0][0][0]["Plan"]
    return {node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan"} & LARGE


@pytest.mark.parametrize("name", [*STATEMENTS, *RULES])
def test_no_large_table_is_read_through(filled: Connection, name: str) -> None:
    found = read_through(filled, name, {**STATEMENTS, **RULES}[name])
    assert found <= MAY_READ_THROUGH.get(name, set())


def test_without_the_indexes_they_would_be(filled: Connection) -> None:
    """The control."""
    with filled.transaction(force_rollback=True):
        filled.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indrelid IN ('event_store'::regclass,"
            " 'command_log'::regclass, 'supervisor_sessions'::regclass, 'search_documents'::regclass)"
        )
        read = {name: read_through(filled, name, parameters) for name, parameters in STATEMENTS.items()}
    assert read["count_events_by_minute"] == {"event_store"}
    assert read["get_overview"] >= {"supervisor_sessions"}
    assert read["search_records"] >= {"search_documents"}
