"""What is done to the tables that are updated or deleted from, as a fleet and its services do it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from harness import Options
from session_continuity import SessionContinuity
from session_continuity.domain.session_registry import send_heartbeats
from session_continuity.postgres.statements import statement

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, kw_only=True)
class Churn:
    """What is done to some tables: `fill` once, then `step` so many times. is_set: whether the migrations
    set anything for them. `others` are further settings that are tried, as statements."""

    name: str
    tables: tuple[str, ...]
    fill: Callable[[Connection], object]
    step: Callable[[Connection, SessionContinuity, int], object]
    steps: int
    is_set: bool = True
    others: tuple[tuple[str, str], ...] = ()


def churns(options: Options) -> list[Churn]:
    """Every table that is updated or deleted from."""
    rows, steps = options.rows, 8 if options.small else 30
    sessions, beating = rows(200_000, 2_000), rows(20_000, 1_000)
    each = rows(300_000, 6_000) // _SESSIONS
    return [
        Churn(
            name=f"heartbeats of {beating:,} among {sessions:,} sessions",
            tables=("supervisor_sessions",),
            fill=lambda connection: connection.execute(
                _REGISTRY, {"sessions": sessions, "beating": beating, "start": _START}
            ),
            step=Beats(beating),
            steps=steps,
            others=(
                (
                    "scale factor 0.01",
                    "ALTER TABLE supervisor_sessions SET (autovacuum_vacuum_scale_factor = 0.01,"
                    " autovacuum_vacuum_threshold = 1000)",
                ),
                ("fillfactor 100", "ALTER TABLE supervisor_sessions SET (fillfactor = 100)"),
                ("fillfactor 70", "ALTER TABLE supervisor_sessions SET (fillfactor = 70)"),
            ),
        ),
        Churn(
            name=f"archive, a thirtieth of {rows(300_000, 6_000):,} events and half as many commands a day",
            tables=("event_store", "command_log"),
            fill=lambda connection: _fill_records(connection, each),
            step=lambda connection, _, number: _day_of_archive(connection, each, number),
            steps=steps,
        ),
        Churn(
            name=f"archive, a thirtieth of {_SESSIONS * _STATES:,} checkpoints of 8 KB a day",
            tables=("checkpoints",),
            fill=_fill_checkpoints,
            step=_day_of_checkpoints,
            steps=steps,
        ),
        Churn(
            name="passes of 8 services, 200 a step",
            tables=("service_passes",),
            fill=lambda connection: connection.execute(_PASSES),
            step=_record_passes,
            steps=steps,
            is_set=False,
            others=(("scale factor 0.02", f"ALTER TABLE service_passes SET ({_TIGHT})"),),
        ),
        Churn(
            name="alerts and their deliveries, a fifth a step",
            tables=("alerts", "alert_deliveries"),
            fill=lambda connection: _raise(connection, 1_000, 0),
            step=_turn_alerts_over,
            steps=steps,
            is_set=False,
            others=(
                (
                    "scale factor 0.02",
                    f"ALTER TABLE alerts SET ({_TIGHT}); ALTER TABLE alert_deliveries SET ({_TIGHT})",
                ),
            ),
        ),
        Churn(
            name=f"words of {rows(100_000, 2_000):,} records, finished and replaced",
            tables=("search_documents",),
            fill=lambda connection: connection.execute(_WORDS, {"first": 1, "last": rows(100_000, 2_000)}),
            step=lambda connection, _, number: _index_words(connection, rows(100_000, 2_000), number),
            steps=steps,
            is_set=False,
            others=(
                ("scale factor 0.02", f"ALTER TABLE search_documents SET ({_TIGHT})"),
                ("fastupdate on", "ALTER INDEX search_documents_words SET (fastupdate = on)"),
            ),
        ),
        Churn(
            name=f"search cursors of {rows(20_000, 1_000):,} sessions, 60 of them moved 12 times a step",
            tables=("search_cursors",),
            fill=lambda connection: connection.execute(_CURSORS, {"sessions": rows(20_000, 1_000)}),
            step=_move_cursors,
            steps=steps,
            is_set=False,
            others=(("fillfactor 50", "ALTER TABLE search_cursors SET (fillfactor = 50)"),),
        ),
    ]


_TIGHT = "autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500"

_START = datetime(2026, 1, 1, tzinfo=UTC)
_REGISTRY = """
INSERT INTO supervisor_sessions (instance_id, project, instance_type, status, last_heartbeat, created_at)
SELECT 'bench-PS-' || lpad(to_hex(s), 6, '0'), 'project-' || s %% 50, 'PS',
    CASE WHEN s <= %(beating)s THEN 'active' ELSE 'closed' END,
    %(start)s - CASE WHEN s <= %(beating)s THEN s %% 30 ELSE s END * interval '1 second', %(start)s
FROM generate_series(1, %(sessions)s) s"""


class Beats:
    """Two heartbeats of each session a step, thirty seconds apart on a clock of its own: each twentieth heartbeat
    comes into the next bucket of ten minutes, by and by over the fleet as it is in life."""

    def __init__(self, sessions: int) -> None:
        ids = [f"bench-PS-{number:06x}" for number in range(1, sessions + 1)]
        self._batches = [ids[first : first + 1_000] for first in range(0, sessions, 1_000)]
        asked = next(send_heartbeats(ids[:1]).steps())
        self._text = statement(asked.name).replace("now()", "%(now)s::timestamptz")
        self._parameters = asked.parameters

    def __call__(self, connection: Connection, _: SessionContinuity, number: int) -> None:
        pause = timedelta(seconds=30 / len(self._batches))
        for beat in (2 * number, 2 * number + 1):
            for place, ids in enumerate(self._batches):
                connection.execute(
                    self._text.encode(),
                    {
                        **self._parameters,
                        "instance_ids": ids,
                        "context_percents": [None] * len(ids),
                        "now": _START + timedelta(seconds=30) * (beat + 1) + place * pause,
                    },
                )


_SESSIONS = 300
_DAILY = _SESSIONS // 30
_OWNERS = """
INSERT INTO supervisor_sessions (instance_id, project, instance_type)
SELECT 'bench-PS-' || lpad(to_hex(s), 6, '0'), 'bench', 'PS'
FROM generate_series(%(first)s::int, %(last)s::int) s"""
_EVENTS = """
INSERT INTO event_store (event_id, instance_id, event_type, sequence_num, event_data, owner_epoch)
SELECT gen_random_uuid(), 'bench-PS-' || lpad(to_hex(s), 6, '0'), 'commit_created', n, jsonb_build_object(
    'sha', md5(n::text), 'message', 'Step ' || n, 'files', jsonb_build_array('src/a' || n, 'tests/b' || n)), 1
FROM generate_series(%(first)s::int, %(last)s::int) s, generate_series(1, %(each)s) n"""
_COMMANDS = """
INSERT INTO command_log
    (instance_id, command_type, action, outcome, success, parameters, operation_id, owner_epoch)
SELECT 'bench-PS-' || lpad(to_hex(s), 6, '0'), 'tool', 'run', 'success', true,
    jsonb_build_object('command', 'pytest -q tests/test_' || n), gen_random_uuid(), 1
FROM generate_series(%(first)s::int, %(last)s::int) s, generate_series(1, %(each)s / 2) n"""


def _fill_records(connection: Connection, each: int, first: int = 1, last: int = _SESSIONS) -> None:
    for fill in (_OWNERS, _EVENTS, _COMMANDS):
        connection.execute(fill, {"first": first, "last": last, "each": each})


def _day_of_archive(connection: Connection, each: int, number: int) -> None:
    """A day's sessions come, the oldest day's are deleted, as the archive deletes what it has compared."""
    first = 1 + number * _DAILY
    _fill_records(connection, each, first + _SESSIONS, first + _SESSIONS + _DAILY - 1)
    oldest = [f"bench-PS-{session:06x}" for session in range(first, first + _DAILY)]
    for table in ("event_store", "command_log"):
        connection.execute(f"DELETE FROM {table} WHERE instance_id = ANY(%s)".encode(), (oldest,))


_STATES = 4
_CHECKPOINTS = """
INSERT INTO checkpoints (instance_id, checkpoint_type, sequence_num, work_state, owner_epoch)
SELECT 'bench-PS-' || lpad(to_hex(s), 6, '0'), 'automatic', n, jsonb_build_object('notes', (
    SELECT string_agg(md5((s * 1000 + n * 300 + w)::text), ' ') FROM generate_series(1, 250) w)), 1
FROM generate_series(%(first)s::int, %(last)s::int) s, generate_series(1, %(each)s) n"""


def _fill_checkpoints(connection: Connection, first: int = 1, last: int = _SESSIONS) -> None:
    for fill in (_OWNERS, _CHECKPOINTS):
        connection.execute(fill, {"first": first, "last": last, "each": _STATES})


def _day_of_checkpoints(connection: Connection, _: SessionContinuity, number: int) -> None:
    first = 1 + number * _DAILY
    _fill_checkpoints(connection, first + _SESSIONS, first + _SESSIONS + _DAILY - 1)
    oldest = [f"bench-PS-{session:06x}" for session in range(first, first + _DAILY)]
    connection.execute("DELETE FROM checkpoints WHERE instance_id = ANY(%s)", (oldest,))


_PASSES = """
INSERT INTO service_passes (pass_id, service, holder, started_at, finished_at, done, report)
SELECT gen_random_uuid(), 'service-' || s, 'host:1:a', now() - n * interval '15 seconds',
    now() - n * interval '15 seconds', 1, '{"marked": 1}'
FROM generate_series(1, 8) s, generate_series(1, 1000) n"""


def _record_passes(_: Connection, client: SessionContinuity, number: int) -> None:
    """Half of them did nothing: the next one takes their place."""
    for turn in range(200):
        client.record_pass(
            f"service-{1 + turn % 8}", holder="host:1:a", seconds=0.1, done=turn % 16 // 8, report={"step": number}
        )


_ALERTS = """
INSERT INTO alerts (rule, subject, project, severity, details)
SELECT 'stale_session', 'bench-PS-' || lpad(to_hex(%(first)s + s), 6, '0'), 'bench', 'warning',
    jsonb_build_object('last_heartbeat', now(), 'host', 'host-1')
FROM generate_series(1, %(count)s) s"""
_DELIVERIES = """
INSERT INTO alert_deliveries (alert_id, channel, news)
SELECT alert_id, channel, news FROM alerts, unnest('{webhook,notify}'::text[]) channel,
    unnest('{raised,resolved}'::text[]) news
ON CONFLICT DO NOTHING"""


def _raise(connection: Connection, count: int, first: int) -> None:
    connection.execute(_ALERTS, {"first": first, "count": count})
    connection.execute(_DELIVERIES)


def _turn_alerts_over(connection: Connection, _: SessionContinuity, number: int) -> None:
    """A fifth is raised, delivered at the second attempt, resolved; the oldest fifth is dropped."""
    _raise(connection, 200, 1_000 + 200 * number)
    for change in ("attempts = 1", "attempts = 2, delivered_at = now()"):
        connection.execute(f"UPDATE alert_deliveries SET {change} WHERE delivered_at IS NULL".encode())
    connection.execute("UPDATE alerts SET resolved_at = now() WHERE resolved_at IS NULL")
    connection.execute(
        "DELETE FROM alerts WHERE alert_id IN (SELECT alert_id FROM alerts ORDER BY raised_at LIMIT 200)"
    )


_WORDS = """
INSERT INTO search_documents (kind, instance_id, reference, at, is_final, words)
SELECT CASE WHEN n %% 50 = 0 THEN 'checkpoint' ELSE 'command' END,
    'bench-PS-' || lpad(to_hex(n %% 500), 6, '0'), n, now(), n <= %(last)s - 1000, search_vector(text)
FROM generate_series(%(first)s::int, %(last)s::int) n
CROSS JOIN LATERAL (SELECT string_agg('word' || (n * 7919 + w * w * 104729) %% 50000, ' ') AS text
    FROM generate_series(1, 40) w) words"""


def _index_words(connection: Connection, rows: int, number: int) -> None:
    """A thousand commands come while they are in flight, those before have ended; checkpoints are replaced."""
    connection.execute("UPDATE search_documents SET is_final = true, words = words || 'done' WHERE NOT is_final")
    first = rows + 1 + number * 1_000
    connection.execute(_WORDS, {"first": first, "last": first + 999})
    connection.execute(
        "DELETE FROM search_documents WHERE kind = 'checkpoint' AND reference BETWEEN %s AND %s",
        (number * 1_000, number * 1_000 + 999),
    )


_CURSORS = """
INSERT INTO search_cursors (instance_id, sequence_num, checkpoint_num)
SELECT 'bench-PS-' || lpad(to_hex(s), 6, '0'), 100, 50 FROM generate_series(1, %(sessions)s) s"""


def _move_cursors(connection: Connection, _: SessionContinuity, number: int) -> None:
    """Sessions come and go: another sixty each ten steps."""
    first = number // 10 * 60
    ids = [f"bench-PS-{session:06x}" for session in range(first, first + 60)]
    for _turn in range(12):
        connection.execute(
            "UPDATE search_cursors SET sequence_num = sequence_num + 5 WHERE instance_id = ANY(%s)", (ids,)
        )
