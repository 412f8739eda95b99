"""The connections of a client: opened when they are needed, closed when they are not any more."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import psycopg
import pytest
from tests.services.test_leases import eventually

from session_continuity import AsyncSessionContinuity, SessionContinuity
from session_continuity.domain.operation import Operation, Statement, Steps
from session_continuity.postgres import database as postgres

Connection = psycopg.Connection[Any]
CALLERS = 6


def others(connection: Connection) -> int:
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    return connection.execute(query).fetchall()[0][0]


def all_at_once(client: SessionContinuity) -> None:
    """So many calls that each needs a connection of its own."""
    together = threading.Barrier(CALLERS)

    def steps() -> Steps[None]:
        together.wait(20)
        yield Statement("list_services", {})

    threads = [
        threading.Thread(target=client.run, args=(Operation("list_services", steps),)) for _ in range(CALLERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(("seconds", "left"), [(0.5, 1), (3_600.0, CALLERS)])
def test_what_a_busy_moment_opened_is_closed_when_nobody_needs_it(
    database: str, connection: Connection, monkeypatch: pytest.MonkeyPatch, seconds: float, left: int
) -> None:
    """With an hour as the control: then all of them are kept."""
    monkeypatch.setattr(postgres, "_UNUSED_SECONDS", seconds)
    with SessionContinuity(dsn=database) as client:
        all_at_once(client)
        assert others(connection) == CALLERS

        def is_left() -> bool:
            client.list_services()
            return others(connection) == left

        eventually(is_left, 20)
        assert client.list_services() == []


def test_the_same_with_an_awaiting_client(
    database: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_UNUSED_SECONDS", 0.5)

    async def use() -> None:
        async with AsyncSessionContinuity(dsn=database) as client:
            await asyncio.gather(*(client.list_services() for _ in range(CALLERS)))
            assert others(connection) == CALLERS
            async with asyncio.timeout(20):
                while others(connection) > 1:
                    await client.list_services()
                    await asyncio.sleep(0.05)
            assert await client.list_services() == []

    asyncio.run(use())
