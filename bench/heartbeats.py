"""Heartbeats in batches, the query for stale sessions, and what a sweep costs in a large registry."""

from __future__ import annotations

import statistics
import time
from contextlib import contextmanager
from datetime import timedelta
from itertools import cycle

import psycopg

from harness import Bench, Figures, repeat
from session_continuity import SessionContinuity
from session_continuity.domain.stale_sweep import find_silent
from session_continuity.postgres.statements import statement
from workload import connect

BATCH = 1_000
STALE = 500
MARKED = 100
SILENT_FOR = timedelta(minutes=30)

_REPORT_BEAT = "UPDATE supervisor_sessions SET last_heartbeat = now(), status = 'active' WHERE instance_id = %b"
_REPORT_BATCH = """
UPDATE supervisor_sessions s SET last_heartbeat = now(), status = 'active'
FROM unnest(%b::text[]) AS b (instance_id) WHERE s.instance_id = b.instance_id"""
_REPORT_STALE = """
SELECT * FROM supervisor_sessions
WHERE last_heartbeat < NOW() - INTERVAL '30 minutes'
AND status = 'active'"""
_REPORT_COLUMNS = """
SELECT instance_id, project, instance_type, status, context_percent, current_epic, last_heartbeat, created_at,
    closed_at
FROM supervisor_sessions
WHERE last_heartbeat < NOW() - INTERVAL '30 minutes'
AND status = 'active'
AND heartbeat_bucket <= date_bin('10 minutes', NOW() - INTERVAL '30 minutes', '2000-01-01 00:00:00+00')"""
_FILL = """
INSERT INTO supervisor_sessions (instance_id, project, instance_type, last_heartbeat)
SELECT 'bench-PS-' || lpad(to_hex(s), 6, '0'), 'project-' || s %% 50, 'PS',
    now() - CASE WHEN s <= %(stale)s THEN interval '2 hours' + s * interval '1 second'
        ELSE (s %% 600) * interval '1 second' END
FROM generate_series(1, %(sessions)s) s"""
_NEXT_BUCKET = "UPDATE supervisor_sessions SET last_heartbeat = now() - interval '11 minutes'"


def run(bench: Bench) -> None:
    beats(bench)
    stale_query(bench, bench.options.rows(100_000))
    stale_sweep(bench, bench.options.rows(1_000_000, 20_000))


@contextmanager
def _registry(bench: Bench, name: str, schema: str, sessions: int, stale: int = 0):
    with bench.server.database(name, schema) as dsn:
        with connect(dsn) as connection:
            connection.execute(_FILL, {"sessions": sessions, "stale": stale})
            connection.execute("VACUUM ANALYZE supervisor_sessions")
        yield dsn


def _ids(count: int) -> list[str]:
    return [f"bench-PS-{number:06x}" for number in range(1, count + 1)]


def beats(bench: Bench) -> None:
    """1,000 sessions. One batch in twenty crosses into the next bucket, as with a beat every 30 seconds."""
    ids = _ids(BATCH)
    with (
        _registry(bench, "beats", "library", BATCH) as ours,
        _registry(bench, "report", "report", BATCH) as report,
        SessionContinuity(dsn=ours) as client,
        connect(ours) as shifter,
        connect(report) as plain,
    ):
        turn, one = cycle(range(20)), cycle(ids)
        wal = {"product": Wal(plain), "report, one by one": Wal(plain), "report, batch": Wal(plain)}

        def batches(seconds: float) -> float:
            spent, done = 0.0, 0
            while spent < seconds:
                if next(turn) == 0:
                    shifter.execute(_NEXT_BUCKET)
                start = time.perf_counter()
                with wal["product"].counting(BATCH):
                    client.send_heartbeats(ids)
                spent += time.perf_counter() - start
                done += BATCH
            return done / spent

        def counted(name, subject, units):
            def run(seconds: float) -> float:
                with wal[name].counting(0) as count:
                    rate = subject(seconds)
                    count(round(rate * seconds) or units)
                return rate

            return run

        figures = bench.measure(
            {
                "product": batches,
                "report, one by one": counted(
                    "report, one by one", repeat(lambda: plain.execute(_REPORT_BEAT, (next(one),))), 1
                ),
                "report, batch": counted(
                    "report, batch", repeat(lambda: plain.execute(_REPORT_BATCH, (ids,)), BATCH), BATCH
                ),
            }
        )
        bench.compare("heartbeats, batches of 1,000", figures, "product", "report, one by one", at_least=50)
        bench.compare("heartbeats, batches of 1,000", figures, "product", "report, batch")
        bytes_each: Figures = {name: [each.bytes_each] for name, each in wal.items()}
        what = "heartbeats, WAL bytes each"
        bench.compare(what, bytes_each, "product", "report, one by one", at_most=0.25)
        bench.compare(what, bytes_each, "product", "report, batch", at_most=0.25)


class Wal:
    """Bytes of write-ahead log over many stretches of work."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection, self._bytes, self._units = connection, 0, 0

    @contextmanager
    def counting(self, units: int):
        before = self._position()
        self._units += units
        yield self._add
        self._bytes += self._position() - before

    @property
    def bytes_each(self) -> float:
        return self._bytes / self._units

    def _add(self, units: int) -> None:
        self._units += units

    def _position(self) -> int:
        row = self._connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
        return int(row[0])


def stale_query(bench: Bench, sessions: int) -> None:
    """The report's query with the bucket's condition, on our tables; the sweep's own, as typed records through the
    library; and whole sessions, 27 columns in order, which the report's query does not give."""
    with (
        _registry(bench, "stale", "library", sessions, STALE) as ours,
        _registry(bench, "report", "report", sessions, STALE) as report,
        SessionContinuity(dsn=ours) as client,
        connect(ours) as bare,
        connect(report) as plain,
    ):
        figures = bench.measure(
            {
                "the report's columns": repeat(lambda: bare.execute(_REPORT_COLUMNS).fetchall()),
                "find_silent": repeat(lambda: client.find_silent(limit=10_000)),
                "find_sessions": repeat(
                    lambda: client.find_sessions(status="active", silent_for=SILENT_FOR, limit=10_000)
                ),
                "report": repeat(lambda: plain.execute(_REPORT_STALE).fetchall()),
            }
        )
        times: Figures = {name: [1 / rate for rate in rates] for name, rates in figures.items()}
        what = f"stale query, {sessions:,} sessions, {STALE} stale, time"
        bench.compare(f"{what}, the report's columns", times, "the report's columns", "report", at_most=1.7)
        bench.compare(f"{what}, find_silent, typed records", times, "find_silent", "report", at_most=1.7)
        bench.compare(f"{what}, find_sessions, whole sessions in order", times, "find_sessions", "report")
        asked = next(find_silent(limit=10_000).steps())
        rounds = range(bench.options.rounds)
        in_server: Figures = {
            "the report's columns": [_executed(bare, _REPORT_COLUMNS) for _ in rounds],
            "find_silent": [_executed(bare, statement(asked.name), asked.parameters) for _ in rounds],
            "report": [_executed(plain, _REPORT_STALE) for _ in rounds],
        }
        bench.compare(f"{what}, in the server", in_server, "the report's columns", "report", at_most=1.7)
        bench.compare(f"{what}, find_silent, in the server", in_server, "find_silent", "report")


def _executed(connection: psycopg.Connection, query: str, parameters: object = None, turns: int = 20) -> float:
    """Seconds of execution as the server tells it, without sending and reading the rows."""
    explain = f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {query}"
    times = [connection.execute(explain, parameters).fetchone()[0][0]["Execution Time"] for _ in range(turns)]
    return statistics.median(times) / 1_000


def stale_sweep(bench: Bench, sessions: int) -> None:
    """Looking for the silent ones, and marking 100 of them with their events."""
    with _registry(bench, "sweep", "library", sessions, STALE) as dsn, connect(dsn) as connection:
        plan = _generic_plan(connection)
        with SessionContinuity(dsn=dsn) as client:
            few = _median_time(client.find_silent)
            counting = _median_time(client.count_silent)
            connection.execute(
                "UPDATE supervisor_sessions SET last_heartbeat = now() - interval '2 hours' * (1 + random())"
                " WHERE instance_id = ANY(%s)",
                (_ids(STALE * 10),),
            )
            connection.execute("VACUUM ANALYZE supervisor_sessions")
            many = _median_time(lambda: client.find_silent(limit=10_000))
            marking = _median_time(lambda: client.mark_silent(limit=MARKED))
        with (
            _registry(bench, "small", "library", sessions // 10, STALE) as small,
            SessionContinuity(dsn=small) as client,
        ):
            times = {
                "few": [few],
                "many": [many],
                "counting": [counting],
                "a tenth of the sessions": [_median_time(client.find_silent)],
                "counting in a tenth": [_median_time(client.count_silent)],
                "marking": [marking],
                "marking in a tenth": [_median_time(lambda: client.mark_silent(limit=MARKED), STALE // MARKED)],
            }
        uses_index = "supervisor_sessions_active_heartbeat" in plan and "Seq Scan" not in plan
        what = f"stale sweep, {sessions:,} sessions"
        bench.check(f"{what}: plan", uses_index, "index, no sequential scan")
        tenfold = f"{what}, time, ten times the sessions"
        bench.compare(f"{tenfold}, find", times, "few", "a tenth of the sessions", at_most=1.5)
        bench.compare(f"{tenfold}, count", times, "counting", "counting in a tenth", at_most=1.5)
        bench.compare(f"{tenfold}, mark {MARKED}", times, "marking", "marking in a tenth", at_most=1.5)
        bench.compare(f"{what}, time, ten times the stale ones, find", times, "many", "few")


def _generic_plan(connection: psycopg.Connection) -> str:
    """The plan that a prepared statement settles on."""
    connection.execute("SET plan_cache_mode = force_generic_plan")
    asked = next(find_silent().steps())
    rows = connection.execute("EXPLAIN " + statement(asked.name), asked.parameters).fetchall()
    connection.execute("RESET plan_cache_mode")
    return "\n".join(row[0] for row in rows)


def _median_time(step, rounds: int = 15) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
