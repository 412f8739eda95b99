"""Write-ahead log of an event after a database checkpoint, against the report's schema as printed.

After a checkpoint the first change of a page logs the whole page: random keys touch as many pages as there are
events, ordered ones touch a few.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle

import orjson
import psycopg

from harness import Bench, Subject
from session_continuity import SessionContinuity
from workload import EVENT, EVENT_TYPE, INSERT_ON_REPORT, connect

SESSIONS = (16, 64)
"""Each session has its own place in two indexes, whose page the first event after a checkpoint logs."""

EVENTS_BEFORE = 200_000
EVENTS = 2_000

_FILL_SESSIONS = """
INSERT INTO supervisor_sessions (instance_id, project, instance_type)
SELECT 'bench-PS-' || lpad(to_hex(s), 6, '0'), 'bench', 'PS' FROM generate_series(1, %(sessions)s) s"""
_FILL_EVENTS = """
INSERT INTO event_store (instance_id, event_type, sequence_num, event_data, timestamp, created_at {columns})
SELECT 'bench-PS-' || lpad(to_hex(1 + e %% %(sessions)s), 6, '0'), %(event_type)s, 1 + e / %(sessions)s,
    %(event_data)s::jsonb, now() - (%(events)s - e) * interval '1 second',
    now() - (%(events)s - e) * interval '1 second' {values}
FROM generate_series(0, %(events)s - 1) e"""
_ORDERED_KEY = """, (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - 1000 * (%(events)s - e)), 12, '0')
    || '7000' || '8000' || lpad(to_hex(e), 12, '0'))::uuid, 1"""


def run(bench: Bench) -> None:
    for sessions in SESSIONS:
        one_caller(bench, sessions)


def one_caller(bench: Bench, sessions: int) -> None:
    events = bench.options.rows(EVENTS_BEFORE)
    ids = [f"bench-PS-{number:06x}" for number in range(1, sessions + 1)]
    with bench.server.database("wal", "library") as ours, bench.server.database("report", "report") as report:
        with connect(ours) as connection:
            _fill(connection, sessions, events, ", event_id, owner_epoch", _ORDERED_KEY)
            connection.execute(
                "UPDATE supervisor_sessions s SET last_sequence_num ="
                " (SELECT max(sequence_num) FROM event_store e WHERE e.instance_id = s.instance_id)"
            )
            connection.execute("VACUUM ANALYZE")
        with connect(report) as connection:
            _fill(connection, sessions, events)
            connection.execute("VACUUM ANALYZE")
        with SessionContinuity(dsn=ours) as client, connect(report) as plain, connect(report) as observer:
            product = cycle(
                [lambda session=session: client.append_event(session, EVENT_TYPE, EVENT) for session in ids]
            )
            numbered = cycle([(session, number) for number in range(10**6, 10**6 + 10**5) for session in ids])

            def insert() -> None:
                session, number = next(numbered)
                plain.execute(INSERT_ON_REPORT, (session, EVENT_TYPE, number, orjson.dumps(EVENT).decode()))

            figures = bench.measure(
                {
                    "product": _wal_of(observer, lambda: next(product)()),
                    "the report's schema": _wal_of(observer, insert),
                }
            )
            what = f"WAL bytes an event, {EVENTS:,} of {sessions} sessions after a checkpoint, {events:,} before"
            bench.compare(what, figures, "product", "the report's schema", at_most=0.35)


def _fill(connection: psycopg.Connection, sessions: int, events: int, columns: str = "", values: str = "") -> None:
    parameters = {
        "sessions": sessions,
        "events": events,
        "event_type": EVENT_TYPE,
        "event_data": orjson.dumps(EVENT).decode(),
    }
    connection.execute(_FILL_SESSIONS, parameters)
    connection.execute(_FILL_EVENTS.format(columns=columns, values=values), parameters)


def _wal_of(observer: psycopg.Connection, step: Callable[[], object]) -> Subject:
    """Bytes a step; the time given is not used, as the bytes depend on how many steps there are."""

    def run(_: float) -> float:
        observer.execute("CHECKPOINT")
        before = observer.execute("SELECT pg_current_wal_insert_lsn()").fetchone()[0]
        for _ in range(EVENTS):
            step()
        after = observer.execute("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s)", (before,)).fetchone()[
            0
        ]
        return float(after) / EVENTS

    return run
