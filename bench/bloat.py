"""Bloat of tables and indexes under their usual churn: our settings of autovacuum against the server's own.

A minute of the server's naptime is a second here, and what is written in a minute of a fleet's life, or in a day
of an archive's, is one step. Both sides get the same steps, each in a fresh database, at the same pace.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from churns import Churn, churns
from harness import Bench, Figures
from session_continuity import SessionContinuity
from workload import connect

BASE = "the server's own settings"
OURS = "ours"
PAUSE = 1.2
"""Seconds of a step at least: a little more than the shortened naptime, so that autovacuum looks once in each."""

SETTINGS = (
    "autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, autovacuum_vacuum_insert_scale_factor,"
    " autovacuum_analyze_scale_factor, toast.autovacuum_vacuum_scale_factor"
)
_SIZES = """
SELECT sum(pg_table_size(relid)), sum(pg_indexes_size(relid)), sum(n_dead_tup), sum(autovacuum_count),
    sum(n_tup_upd), sum(n_tup_hot_upd)
FROM pg_stat_user_tables WHERE relname = ANY(%s)"""
_VISIBLE = "SELECT avg(relallvisible::float / greatest(relpages, 1)) FROM pg_class WHERE relname = ANY(%s)"
_WAL = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Multiples of the sizes after the fill; the most dead rows at once; seconds and megabytes of log of the
    writes; heap-only and all-visible shares."""

    table: float
    indexes: float
    dead: float
    vacuums: float
    seconds: float
    wal: float
    hot: float
    visible: float


def run(bench: Bench) -> None:
    with short_naptime(bench.server.dsn):
        for churn in churns(bench.options):
            sides = {BASE: "", **({OURS: ""} if churn.is_set else {}), **dict(churn.others)}
            outcomes = {name: lived(bench, churn, name, change) for name, change in sides.items()}
            for name in sides:
                if name != BASE:
                    tell(bench, churn, name, outcomes)


@contextmanager
def short_naptime(dsn: str) -> Iterator[None]:
    """Autovacuum looks each second, on the server for all databases alike."""
    with connect(dsn) as connection:
        connection.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
        connection.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            connection.execute("ALTER SYSTEM RESET autovacuum_naptime")
            connection.execute("SELECT pg_reload_conf()")


def lived(bench: Bench, churn: Churn, side: str, change: str) -> Outcome:
    """The churn on a fresh database with the settings of one side."""
    tables = list(churn.tables)
    with (
        bench.server.database("bloat", "library") as dsn,
        connect(dsn) as connection,
        connect(dsn) as observer,
        SessionContinuity(dsn=dsn) as client,
    ):
        if side == BASE:
            for table in tables:
                connection.execute(f"ALTER TABLE {table} RESET ({SETTINGS})".encode())
        if change:
            connection.execute(change.encode(), prepare=False)  # may be several statements
        churn.fill(connection)
        for table in tables:
            connection.execute(f"VACUUM (FULL, ANALYZE) {table}".encode())
            connection.execute(f"VACUUM {table}".encode())
        table, indexes, *_ = observer.execute(_SIZES, (tables,)).fetchone() or ()
        (log,) = observer.execute(_WAL).fetchone() or (0,)
        spent, most_dead = 0.0, 0
        for number in range(churn.steps):
            began = time.perf_counter()
            churn.step(connection, client, number)
            taken = time.perf_counter() - began
            spent += taken
            time.sleep(max(0.0, PAUSE - taken))
            most_dead = max(most_dead, (observer.execute(_SIZES, (tables,)).fetchone() or ())[2])
        (log_end,) = observer.execute(_WAL).fetchone() or (0,)
        table_end, indexes_end, _, vacuums, updated, hot = observer.execute(_SIZES, (tables,)).fetchone() or ()
        (visible,) = observer.execute(_VISIBLE, (tables,)).fetchone() or (0,)
    return Outcome(
        table=float(table_end / table),
        indexes=float(indexes_end / indexes),
        dead=float(most_dead),
        vacuums=float(vacuums),
        seconds=spent,
        wal=float(log_end - log) / 1e6,
        hot=float(hot / updated) if updated else 1.0,
        visible=float(visible),
    )


def tell(bench: Bench, churn: Churn, side: str, outcomes: dict[str, Outcome]) -> None:
    """The rows of one side against the server's own settings."""
    for what, goal in (("table", 1.02), ("indexes", 1.02), ("seconds", None), ("wal", None)):
        figures: Figures = {name: [getattr(one, what)] for name, one in outcomes.items()}
        bench.compare(f"{churn.name}, {side}: {what}", figures, side, BASE, at_most=goal if side == OURS else None)
    ours, theirs = outcomes[side], outcomes[BASE]
    bench.check(
        f"{churn.name}, {side}: vacuumed {ours.vacuums:.0f} times (against {theirs.vacuums:.0f}),"
        f" most dead rows {ours.dead:,.0f} ({theirs.dead:,.0f}),"
        f" heap-only {ours.hot:.0%} ({theirs.hot:.0%}), all-visible {ours.visible:.0%} ({theirs.visible:.0%}),"
        f" table x {ours.table:.2f} ({theirs.table:.2f}), indexes x {ours.indexes:.2f} ({theirs.indexes:.2f})",
        True,
        "told",
    )
