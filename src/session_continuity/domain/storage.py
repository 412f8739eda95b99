"""Storage: how big the tables are and how they grow, how the indexes are used, and the database as a whole
(report: Monitoring Recommendations)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from session_continuity.domain.operation import Operation, Statement, Steps

SLOWEST = 10


class TableFigures(NamedTuple):
    """A table of the product. Sizes in bytes, rows as the server estimates them; `bytes_per_day` is None until a
    sample is six hours old."""

    table: str
    table_bytes: int
    index_bytes: int
    rows: int
    dead_rows: int
    vacuumed_at: datetime | None
    bytes_per_day: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFigures:
    """An index, its bytes, and how often it was scanned since the statistics began."""

    table: str
    index: str
    bytes: int
    scans: int
    valid: bool
    unique: bool


class SlowCommand(NamedTuple):
    """One of the slowest commands of the last day."""

    instance_id: str
    id: int
    tool: str
    action: str
    execution_time_ms: int
    created_at: datetime


class SlowQuery(NamedTuple):
    """One of the slowest queries by its mean time, its values left out."""

    query: str
    calls: int
    mean_ms: float
    longest_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """`connections` counts by state; `oldest_transaction_seconds` is how long the oldest one runs; the statistics
    of the indexes began at `counted_since` (None: with the database). `slowest_queries` are None where the server
    keeps no statistics of queries: its extension pg_stat_statements does."""

    server_version: str
    database_bytes: int
    max_connections: int
    connections: dict[str, int]
    oldest_transaction_seconds: float
    counted_since: datetime | None
    tables: list[TableFigures]
    indexes: list[IndexFigures]
    slowest_commands: list[SlowCommand]
    slowest_queries: list[SlowQuery] | None


def get_storage() -> Operation[Storage]:
    """The figures of now. From catalogs and statistics: no table is read through."""

    def steps() -> Steps[Storage]:
        # A role sees what its own sessions do, and the product's connections belong to the login.
        yield Statement("act_as_login", {})
        figures = yield Statement("get_database_figures", {})
        tables = yield Statement("get_storage", {})
        indexes = yield Statement("get_index_use", {})
        slowest = yield Statement("get_slowest_commands", {"limit": SLOWEST})
        keeps = yield Statement("has_query_statistics", {})
        queries = (yield Statement("get_slowest_queries", {"limit": SLOWEST})) if keeps[0][0] else None
        version, size, most, connections, oldest, since = figures[0]
        return Storage(
            server_version=version,
            database_bytes=size,
            max_connections=most,
            connections=connections,
            oldest_transaction_seconds=oldest,
            counted_since=since,
            tables=[TableFigures._make(row) for row in tables],
            indexes=[IndexFigures(**dict(zip(_INDEX_FIELDS, row, strict=True))) for row in indexes],
            slowest_commands=[SlowCommand._make(row) for row in slowest],
            slowest_queries=None if queries is None else [SlowQuery._make(row) for row in queries],
        )

    return Operation("get_storage", steps, atomic=True)


def sample_storage() -> Operation[None]:
    """Keep the tables' sizes, once in an hour, for ninety days."""

    def steps() -> Steps[None]:
        yield Statement("sample_storage", {})

    return Operation("sample_storage", steps)


_INDEX_FIELDS = tuple(IndexFigures.__dataclass_fields__)
