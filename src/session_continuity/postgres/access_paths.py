"""Shows by query plan that each of the report's sixteen access paths is served by an index.

A plan over the live tables would prove little: over few rows no index is worth its while, and over many the
choice depends on what they hold. So the tables are copied with their indexes as they are now into temporary
ones of the same names, filled with the same rows each time, and the planner is asked there, no setting of it
touched. Indexes of the copies are then named by what they were copied from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import psycopg

from session_continuity.postgres.statements import statement

Connection = psycopg.Connection[tuple[Any, ...]]
Plan = dict[str, Any]

_SAMPLES = {
    "supervisor_sessions": "sample_sessions",
    "command_log": "sample_commands",
    "event_store": "sample_events",
    "checkpoints": "sample_checkpoints",
}
TABLES = tuple(_SAMPLES)

_BY_INDEX = ("Index Scan", "Index Only Scan", "Bitmap Heap Scan")
_INSTANCE = "sample-PS-000001"
_UUID = UUID(int=1)
_ANY_SESSION = {
    "project": None,
    "projects": None,
    "status": None,
    "instance_type": None,
    "thread_id": None,
    "harness_session_id": None,
    "silent_for": None,
    "before": None,
    "before_id": "",
    "limit": 100,
}
_ANY_COMMAND = {
    "instance_id": None,
    "project": None,
    "projects": None,
    "tool_name": None,
    "action": None,
    "command_type": None,
    "outcome": None,
    "pattern": None,
    "tag": None,
    "slower_than_ms": None,
    "since": None,
    "before": None,
    "before_id": 0,
    "limit": 100,
}
_FIRST_ID = "00000000-0000-0000-0000-000000000000"
_ONE_SESSION = {"instance_id": _INSTANCE}
_TIMELINE = {
    "instance_id": _INSTANCE,
    "at": None,
    "rank": None,
    "reference": None,
    "kinds": None,
    "type": None,
    "outcome": None,
    "text": None,
    "limit": 100,
}
_EVENTS = {"instance_id": _INSTANCE, "after": 0, "until": None, "as_of": None, "event_type": None, "limit": 9}
_BEAT = {"instance_id": _INSTANCE, "context_percent": None, "current_epic": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessPath:
    """One of the report's paths. `statement` needs it; the index has to answer the `conditions`, and to give
    the order if it is `ordered`: by the columns of the path, rows of one time sorted among themselves."""

    table: str
    columns: str
    purpose: str
    statement: str
    parameters: Mapping[str, Any]
    conditions: tuple[str, ...] = ()
    ordered: bool = False


ACCESS_PATHS = (
    AccessPath(
        table="supervisor_sessions",
        columns="PRIMARY KEY (instance_id)",
        purpose="Uniqueness of instance ids",
        statement="send_heartbeat",
        parameters=_BEAT,
        conditions=("instance_id",),
    ),
    AccessPath(
        table="supervisor_sessions",
        columns="(project, last_heartbeat DESC)",
        purpose="Fast stale session detection",
        statement="find_sessions",
        parameters=_ANY_SESSION | {"project": "sample-1", "limit": 10},
        conditions=("project",),
        ordered=True,
    ),
    AccessPath(
        table="supervisor_sessions",
        columns="(instance_id)",
        purpose="Session lookups",
        statement="get_session",
        parameters=_ONE_SESSION,
        conditions=("instance_id",),
    ),
    AccessPath(
        table="supervisor_sessions",
        columns="(last_heartbeat DESC)",
        purpose="Heartbeat monitoring",
        statement="find_sessions",
        parameters=_ANY_SESSION,
        ordered=True,
    ),
    AccessPath(
        table="supervisor_sessions",
        columns="(project, status)",
        purpose="Project-based filtering",
        statement="find_sessions",
        parameters=_ANY_SESSION | {"project": "sample-4", "status": "active", "limit": 10_000},
        conditions=("project", "status"),
    ),
    AccessPath(
        table="command_log",
        columns="PRIMARY KEY (id)",
        purpose="Uniqueness of command ids",
        statement="find_command",
        parameters={"command_id": 1},
        conditions=("id",),
    ),
    AccessPath(
        table="command_log",
        columns="(instance_id, created_at DESC)",
        purpose="Session command history",
        statement="search_commands",
        parameters=_ANY_COMMAND | _ONE_SESSION,
        conditions=("instance_id",),
        ordered=True,
    ),
    AccessPath(
        table="event_store",
        columns="PRIMARY KEY (event_id)",
        purpose="Uniqueness of event ids",
        statement="find_event",
        parameters={"event_ids": [_UUID]},
        conditions=("event_id",),
    ),
    AccessPath(
        table="event_store",
        columns="(instance_id, sequence_num)",
        purpose="Event ordering",
        statement="read_events",
        parameters=_EVENTS,
        conditions=("instance_id", "sequence_num"),
        ordered=True,
    ),
    AccessPath(
        table="event_store",
        columns="(instance_id, created_at DESC)",
        purpose="Recent events",
        statement="get_timeline",
        parameters=_TIMELINE,
        conditions=("instance_id",),
        ordered=True,
    ),
    AccessPath(
        table="event_store",
        columns="(timestamp DESC)",
        purpose="Timeline queries",
        statement="find_latest_events",
        parameters={"limit": 100},
        ordered=True,
    ),
    AccessPath(
        table="event_store",
        columns="(event_type, timestamp DESC)",
        purpose="Event type filtering",
        statement="find_events",
        parameters={
            "event_type": "epic_completed",
            "since": None,
            "before": None,
            "before_id": _FIRST_ID,
            "project": None,
            "projects": None,
            "limit": 10,
        },
        conditions=("event_type",),
        ordered=True,
    ),
    AccessPath(
        table="event_store",
        columns="UNIQUE (instance_id, sequence_num)",
        purpose="Duplicate prevention",
        statement="prevent_duplicate",
        parameters=_ONE_SESSION,
        conditions=("instance_id", "sequence_num"),
    ),
    AccessPath(
        table="checkpoints",
        columns="PRIMARY KEY (checkpoint_id)",
        purpose="Uniqueness of checkpoint ids",
        statement="get_checkpoint",
        parameters={"checkpoint_id": _UUID},
        conditions=("checkpoint_id",),
    ),
    AccessPath(
        table="checkpoints",
        columns="(instance_id, timestamp DESC)",
        purpose="Recent checkpoints",
        statement="get_timeline",
        parameters=_TIMELINE,
        conditions=("instance_id",),
        ordered=True,
    ),
    AccessPath(
        table="checkpoints",
        columns="(checkpoint_type, created_at DESC)",
        purpose="Type-based filtering",
        statement="list_checkpoints",
        parameters={
            "instance_id": None,
            "checkpoint_type": "manual",
            "projects": None,
            "before": None,
            "before_id": _FIRST_ID,
            "limit": 10,
        },
        conditions=("checkpoint_type",),
        ordered=True,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedPath:
    """What became of a path: `indexes` that served it, by their names in the database; `plan` as PostgreSQL
    gives it, over the copy; `problem` when the path is not served."""

    table: str
    columns: str
    purpose: str
    statement: str
    query: str
    indexes: tuple[str, ...]
    plan: Plan | None
    problem: str | None

    @property
    def passed(self) -> bool:
        return self.problem is None

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"passed": self.passed}


def check_access_paths(connection: Connection) -> list[ServedPath]:
    """Every path with the plan of the statement that needs it. Leaves nothing behind."""
    with connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL lock_timeout = '10s'")
        connection.execute("SET LOCAL search_path = pg_temp, public")
        missing = {table: problem for table in TABLES if (problem := _copy(connection, table))}
        originals = _names_of_copies(connection)
        return [_serve(connection, path, originals, missing.get(path.table)) for path in ACCESS_PATHS]


def _copy(connection: Connection, table: str) -> str | None:
    """Copies one table and fills the copy; what prevented it, if anything did."""
    try:
        with connection.transaction():
            connection.execute(f"CREATE TEMP TABLE {table} (LIKE public.{table} INCLUDING ALL)".encode())
            connection.execute(statement(_SAMPLES[table]).encode())
            connection.execute(f"ANALYZE pg_temp.{table}".encode())
    except psycopg.Error as error:
        return error.diag.message_primary or str(error)
    return None


def _names_of_copies(connection: Connection) -> dict[str, str]:
    """The index that each index of the copies was copied from. Two of a kind have the first one's name."""
    wanted = {"relations": list(TABLES)}
    describe = statement("describe_indexes").encode()
    names: dict[tuple[str, str], str] = {}
    for table, index, definition in connection.execute(describe, wanted | {"copies": False}):
        names.setdefault((table, definition), index)
    copies = connection.execute(describe, wanted | {"copies": True}).fetchall()
    return {index: names.get((table, definition), "") for table, index, definition in copies}


def _serve(connection: Connection, path: AccessPath, originals: dict[str, str], missing: str | None) -> ServedPath:
    query = statement(path.statement)
    plan: Plan | None = None
    used: list[str] = []
    problem = missing
    if missing is None:
        try:
            with connection.transaction():
                explain = f"EXPLAIN (FORMAT JSON) {query}".encode()
                rows = connection.execute(explain, path.parameters).fetchall()
            plan = rows[0][0][0]["Plan"]
        except psycopg.Error as error:
            problem = error.diag.message_primary or str(error)
    if plan is not None:
        used = [index for index in _serving(plan, path) if originals.get(index)]
        problem = None if used else _explain(plan, path)
    return ServedPath(
        table=path.table,
        columns=path.columns,
        purpose=path.purpose,
        statement=path.statement,
        query=query,
        indexes=tuple(originals[index] for index in used),
        plan=plan,
        problem=problem,
    )


def _serving(plan: Plan, path: AccessPath) -> Iterator[str]:
    """The indexes of the path's table that answer its conditions and give its order."""
    for node, above in _nodes(plan):
        if "Conflict Arbiter Indexes" in node and node.get("Relation Name") == path.table:
            yield from node["Conflict Arbiter Indexes"]
        if node.get("Relation Name") != path.table or node["Node Type"] not in _BY_INDEX:
            continue
        for scan in _index_scans(node):
            answered = all(_has(scan.get("Index Cond", ""), column) for column in path.conditions)
            if answered and not (path.ordered and (scan is not node or _is_sorted(above))):
                yield scan["Index Name"]


def _has(condition: str, column: str) -> bool:
    return re.search(rf"\b{column}\b", condition) is not None


def _index_scans(node: Plan) -> Iterator[Plan]:
    for scan, _ in _nodes(node):
        if "Index Name" in scan:
            yield scan


def _is_sorted(above: tuple[str, ...]) -> bool:
    """Whether all rows are sorted before the first is handed on; an incremental sort is no such sort."""
    for kind in reversed(above):
        if kind == "Sort":
            return True
        if kind == "Limit":
            return False
    return False


def _nodes(plan: Plan, above: tuple[str, ...] = ()) -> Iterator[tuple[Plan, tuple[str, ...]]]:
    yield plan, above
    for child in plan.get("Plans", ()):
        yield from _nodes(child, (*above, plan["Node Type"]))


def _explain(plan: Plan, path: AccessPath) -> str:
    kinds = [node["Node Type"] for node, _ in _nodes(plan) if node.get("Relation Name") == path.table]
    order = " and give its order" if path.ordered else ""
    return f"no index can answer {path.statement}{order}; the plan has: {', '.join(kinds) or 'no scan'}"
