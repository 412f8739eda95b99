"""Batches over the same sessions never wait for each other in a circle."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
from tests.services.fleet import event_types, many

from session_continuity import SessionContinuity
from session_continuity.domain.event_store import append_together, prepare_event

Connection = psycopg.Connection[Any]
ROUNDS = 25


def deadlocks(connection: Connection) -> int:
    connection.execute("SELECT pg_stat_clear_snapshot()")
    query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    return connection.execute(query).fetchall()[0][0]


def test_heartbeats_appends_and_sweeps_of_the_same_sessions_do_not_deadlock(
    database: str, connection: Connection, client: SessionContinuity
) -> None:
    ids = many(connection, 300)
    connection.execute("ANALYZE")

    def beat(seed: int) -> None:
        for turn in range(ROUNDS):
            mixed = random.Random(seed * ROUNDS + turn).sample(ids, len(ids))
            assert len(client.send_heartbeats(mixed)) == len(ids)

    def append(seed: int) -> None:
        for turn in range(ROUNDS):
            mixed = random.Random(seed * ROUNDS + turn).sample(ids, 100)
            client.run(append_together([prepare_event(instance_id, "test_passed") for instance_id in mixed]))

    def sweep(_: int) -> None:
        for _ in range(ROUNDS):
            client.mark_silent()

    with ThreadPoolExecutor(6) as threads:
        work = [threads.submit(step, seed) for seed, step in enumerate((beat, beat, append, append, sweep, beat))]
        for each in work:
            each.result()
    assert deadlocks(connection) == 0
    assert len(event_types(connection, ids[0])) >= 1


def test_an_update_in_the_order_given_would_deadlock(database: str, connection: Connection) -> None:
    """The control."""
    ids = many(connection, 300)
    update = "UPDATE supervisor_sessions SET last_heartbeat = now() WHERE instance_id = %s"

    def beat(seed: int) -> int:
        failed = 0
        with psycopg.connect(database) as own:
            own.execute("SET deadlock_timeout = '10ms'")
            for turn in range(ROUNDS):
                try:
                    with own.transaction():
                        for instance_id in random.Random(seed * ROUNDS + turn).sample(ids, len(ids)):
                            own.execute(update, (instance_id,))
                except psycopg.errors.DeadlockDetected:
                    failed += 1
        return failed

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(beat, range(4))) > 0
