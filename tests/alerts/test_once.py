"""Any number of processes that evaluate at once raise each alert once and deliver it once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg
from tests.services.fleet import many

from session_continuity import SessionContinuity
from session_continuity.domain.alert_rules import RULES, AlertSettings

Connection = psycopg.Connection[Any]
EVALUATORS, SESSIONS = 8, 100

READ_THEN_INSERT = """SELECT instance_id FROM supervisor_sessions s WHERE status = 'stale' AND NOT EXISTS (
    SELECT FROM alerts a WHERE a.rule = 'naive' AND a.subject = s.instance_id)"""


def at_once(work: Callable[[], Any]) -> None:
    barrier = threading.Barrier(EVALUATORS)

    def run() -> None:
        barrier.wait()
        work()

    threads = [threading.Thread(target=run) for _ in range(EVALUATORS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def stale(connection: Connection, prefix: str = "fleet") -> None:
    many(connection, SESSIONS, prefix=prefix)
    connection.execute(
        "UPDATE supervisor_sessions SET status = 'stale', last_heartbeat = now() - interval '1 hour'"
    )


def raised(connection: Connection, rule: str) -> list[int]:
    rows = connection.execute("SELECT count(*) FROM alerts WHERE rule = %s GROUP BY subject", (rule,)).fetchall()
    return [row[0] for row in rows]


def test_eight_evaluators_raise_and_resolve_each_alert_once(database: str, connection: Connection) -> None:
    with SessionContinuity(dsn=database, connections=EVALUATORS) as client:
        told: list[str] = []
        over: list[str] = []

        def evaluate() -> None:
            settled = client.evaluate_rule(RULES["stale_session"], AlertSettings())
            told.extend(settled.raised)
            over.extend(settled.resolved)

        stale(connection)
        at_once(evaluate)
        assert raised(connection, "stale_session") == [1] * SESSIONS
        assert len(told) == len(set(told)) == SESSIONS
        connection.execute("UPDATE supervisor_sessions SET status = 'active', last_heartbeat = now()")
        at_once(evaluate)
        assert len(over) == len(set(over)) == SESSIONS


def test_reading_first_and_inserting_then_raises_several(database: str, connection: Connection) -> None:
    """The control: it needs no more than eight at once."""
    connection.execute("DROP INDEX alerts_open")
    stale(connection)

    def naive() -> None:
        with psycopg.connect(database, autocommit=True) as own:
            for (subject,) in own.execute(READ_THEN_INSERT).fetchall():
                own.execute(
                    "INSERT INTO alerts (rule, subject, severity) VALUES ('naive', %s, 'warning')", (subject,)
                )

    at_once(naive)
    assert max(raised(connection, "naive")) > 1


def test_a_channel_is_told_once_by_whoever_claims_it_first(database: str, connection: Connection) -> None:
    with SessionContinuity(dsn=database, connections=EVALUATORS) as client:
        stale(connection)
        client.evaluate_rule(RULES["stale_session"], AlertSettings())
        claimed: list[str] = []

        def claim(channel: str = "webhook") -> None:
            while delivery := client.claim_delivery(channel):
                claimed.append(delivery.id)

        at_once(claim)
        assert len(claimed) == len(set(claimed)) == SESSIONS
        claim("another")
        assert len(claimed) == 2 * SESSIONS, "each channel is told"
