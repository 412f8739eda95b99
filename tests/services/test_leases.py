"""Leases: one holder at a time, by a row and the database clock; given up in time when that is unsure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from session_continuity import SessionContinuity
from session_continuity.domain.errors import InvalidInput, Unavailable
from session_continuity.services.leadership import Leadership
from session_continuity.services.service import BoundClient

Connection = psycopg.Connection[Any]


def eventually(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def epoch_and_rest(connection: Connection, name: str = "sweep") -> tuple[int, bool]:
    query = "SELECT epoch, expires_at > now() FROM service_leases WHERE name = %s"
    return connection.execute(query, (name,)).fetchall()[0]


def test_one_holds_a_lease_and_the_other_gets_it_when_it_is_released(client: SessionContinuity) -> None:
    assert client.hold_leases(["archive", "sweep"], holder="one") == {"archive": 1, "sweep": 1}
    assert client.hold_leases(["archive", "sweep"], holder="two") == {}
    assert client.hold_leases(["sweep"], holder="one") == {"sweep": 1}
    assert sorted(client.release_leases(holder="one")) == ["archive", "sweep"]
    assert client.hold_leases(["archive", "sweep"], holder="two") == {"archive": 2, "sweep": 2}
    assert client.hold_leases(["sweep"], holder="one") == {}


def test_a_lease_that_ran_out_is_taken_and_its_epoch_grows(
    client: SessionContinuity, connection: Connection
) -> None:
    client.hold_leases(["sweep"], holder="one")
    connection.execute("UPDATE service_leases SET expires_at = now() - interval '1 ms'")
    assert client.hold_leases(["sweep"], holder="two") == {"sweep": 2}
    connection.execute("UPDATE service_leases SET expires_at = now() - interval '1 ms'")
    assert client.hold_leases(["sweep"], holder="two") == {"sweep": 3}, "it was not his in between"


@pytest.mark.parametrize("days", [1, 30])
def test_a_lease_of_a_clock_that_was_set_back_holds_nobody_off(
    client: SessionContinuity, connection: Connection, days: int
) -> None:
    client.hold_leases(["sweep"], holder="dead")
    connection.execute("UPDATE service_leases SET expires_at = expires_at + %s * interval '1 day'", (days,))
    assert client.hold_leases(["sweep"], holder="living") == {"sweep": 2}


def test_of_many_who_ask_at_once_one_gets_it(database: str, connection: Connection) -> None:
    line = threading.Barrier(8)
    with SessionContinuity(dsn=database) as client:

        def ask(number: int) -> bool:
            line.wait()
            return bool(client.hold_leases(["sweep"], holder=f"process {number}"))

        for _ in range(20):
            with ThreadPoolExecutor(8) as threads:
                assert sum(threads.map(ask, range(8))) == 1
            connection.execute("UPDATE service_leases SET expires_at = now()")


def test_read_then_write_would_give_it_to_several(database: str, connection: Connection) -> None:
    """The control of the test above."""
    line = threading.Barrier(8)
    connection.execute("INSERT INTO service_leases VALUES ('sweep', 'nobody', 1, now(), now())")

    def ask(number: int) -> bool:
        with psycopg.connect(database, autocommit=True) as own:
            free = own.execute("SELECT expires_at <= now() FROM service_leases").fetchall()[0][0]
            line.wait()
            if free:
                own.execute("UPDATE service_leases SET holder = %s, expires_at = now() + '30 s'", (str(number),))
            return free

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(ask, range(8))) > 1


def test_a_lease_works_where_every_statement_has_another_connection(database: str) -> None:
    """As behind a pooler in transaction mode, where a session advisory lock is anybody's."""
    clients = [SessionContinuity(dsn=database, prepared_statements=False) for _ in range(6)]
    try:
        for turn in range(12):
            holder = clients[turn % 6]
            assert holder.hold_leases(["sweep"], holder="one") == {"sweep": 1}
            assert clients[(turn + 1) % 6].hold_leases(["sweep"], holder="two") == {}
    finally:
        for each in clients:
            each.close()


def test_a_name_or_a_time_that_makes_no_sense_is_refused(client: SessionContinuity) -> None:
    for bad in ({"seconds": 0}, {"seconds": 601}, {"holder": ""}, {"holder": "a\0"}):
        with pytest.raises(InvalidInput):
            client.hold_leases(["sweep"], **({"holder": "one"} | bad))


def test_a_leader_that_can_not_renew_gives_up_before_its_lease_ends(
    client: SessionContinuity, connection: Connection
) -> None:
    away = threading.Event()

    def reached() -> bool:
        if away.is_set():
            raise Unavailable("away")
        return True

    leading = Leadership(BoundClient(client, reached), ["sweep"], holder="one", seconds=1.5)
    leading.start()
    eventually(lambda: leading.holds("sweep"))
    away.set()
    eventually(lambda: not leading.holds("sweep"))
    assert epoch_and_rest(connection) == (1, True), "the row must outlast the belief"
    away.clear()
    eventually(lambda: leading.holds("sweep"))
    leading.stop(5)
    assert not leading.holds("sweep")
    assert not epoch_and_rest(connection)[1], "given up, so that nobody waits for its end"


def test_a_leader_learns_that_another_one_took_over(client: SessionContinuity, connection: Connection) -> None:
    told: list[tuple[str, str]] = []
    leading = Leadership(
        client, ["sweep"], holder="one", seconds=0.6, tell=lambda change, name: told.append((change, name))
    )
    leading.start()
    eventually(lambda: leading.holds("sweep"))
    connection.execute("UPDATE service_leases SET holder = 'two', epoch = 2, expires_at = now() + '5 minutes'")
    eventually(lambda: not leading.holds("sweep"))
    leading.stop(5)
    assert told == [("lease_taken", "sweep"), ("lease_lost", "sweep")]
    assert epoch_and_rest(connection) == (2, True), "what is another's is not given up"
