"""R9, D8: every call ends within its deadline, whatever the network or server does, and later calls work again."""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.client.proxy import Proxy
from tests.client.records import is_whole, new_session, texts, together, waits_for_lock
from tests.faults.killing import kill, own_home, processes_of, wait_until

from session_continuity import AsyncSessionContinuity, DeadlineExceeded, SessionContinuity

DEADLINE = 1.0
GRACE = 1.0

CALLS: dict[str, Callable[[SessionContinuity, str], Any]] = {
    "append_event": lambda c, s: c.append_event(s, "note_recorded", {"text": "late"}, operation="the same"),
    "send_heartbeat": lambda c, s: c.send_heartbeat(s),
    "take_checkpoint": lambda c, s: c.take_checkpoint(s, operation="a checkpoint"),
    "resume_session": lambda c, s: c.resume_session(s),
    "get_session": lambda c, s: c.get_session(s),
}


def ends_in_time(call: Callable[[], Any]) -> None:
    """The call raises DeadlineExceeded, no earlier than its deadline and no later than a second after it."""
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        call()
    assert DEADLINE - 0.1 <= time.monotonic() - started <= DEADLINE + GRACE


@contextmanager
def stopped(home: Path) -> Iterator[None]:
    """All processes of the server hold still."""
    processes = list(processes_of(home))
    try:
        for pid in processes:
            with suppress(ProcessLookupError):  # a backend that was just leaving
                os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in processes:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """An embedded server that may be stopped and killed."""
    with own_home() as home:
        with SessionContinuity(home=home) as client:
            client.find_sessions()
        yield home


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("connected", [True, False], ids=["connected", "new connection"])
def test_a_call_ends_while_the_server_holds_still(home: Path, call: str, connected: bool) -> None:
    with SessionContinuity(home=home) as patient:
        session = new_session(patient)
    with SessionContinuity(home=home, deadline_seconds=DEADLINE) as client:
        if connected:
            client.get_session(session)
        with stopped(home):
            ends_in_time(lambda: CALLS[call](client, session))
            ends_in_time(lambda: CALLS[call](client, session))
        assert wait_until(lambda: client.get_session(session).instance_id == session, 5)
        if call == "append_event":
            CALLS[call](client, session)
            assert texts(client.read_events(session)) == ["late"]
        assert is_whole(client, session)


def test_an_awaited_call_ends_while_the_server_holds_still(home: Path) -> None:
    async def main() -> None:
        async with AsyncSessionContinuity(home=home, deadline_seconds=DEADLINE) as client:
            session = (await client.register_session("demo")).instance_id
            with stopped(home):
                started = time.monotonic()
                answers = await asyncio.gather(
                    *(
                        client.append_event(session, "note_recorded", {"text": "late"}, operation=str(n))
                        for n in range(10)
                    ),
                    client.get_session(session),
                    client.send_heartbeat(session),
                    return_exceptions=True,
                )
                assert time.monotonic() - started <= DEADLINE + GRACE
                assert all(isinstance(answer, DeadlineExceeded) for answer in answers), answers
            for number in range(10):
                await client.append_event(session, "note_recorded", {"text": "late"}, operation=str(number))
            assert texts(await client.read_events(session)) == ["late"] * 10

    asyncio.run(main())


def test_a_call_ends_while_another_process_keeps_the_dead_server_from_starting(home: Path) -> None:
    with SessionContinuity(home=home, deadline_seconds=DEADLINE) as client:
        session = new_session(client)
        with (home / "postgres.lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for pid in processes_of(home):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            ends_in_time(lambda: client.get_session(session))
            with SessionContinuity(home=home, deadline_seconds=DEADLINE) as other:
                ends_in_time(lambda: other.get_session(session))
    with SessionContinuity(home=home) as client:
        assert client.get_session(session).instance_id == session


@pytest.mark.parametrize("mode", ["black hole", "swallow"])
@pytest.mark.parametrize("connected", [True, False], ids=["connected", "new connection"])
def test_a_call_ends_when_the_network_swallows_everything(
    client: SessionContinuity, database: str, mode: Any, connected: bool
) -> None:
    session = new_session(client)
    with Proxy(database) as proxy, SessionContinuity(dsn=proxy.conninfo, deadline_seconds=DEADLINE) as through:
        if connected:
            through.get_session(session)
        proxy.mode = mode
        for name, call in CALLS.items():
            if name != "resume_session":
                ends_in_time(lambda call=call: call(through, session))
        proxy.mode = "pass"
        CALLS["append_event"](through, session)
    assert texts(client.read_events(session)) == ["late"]
    assert is_whole(client, session)


@contextmanager
def row_locked(database: str, session: str) -> Iterator[None]:
    with psycopg.connect(database) as holder:
        holder.execute("SELECT 1 FROM supervisor_sessions WHERE instance_id = %s FOR UPDATE", (session,))
        yield
        holder.rollback()


@pytest.mark.parametrize("call", [call for call in CALLS if call != "get_session"])
def test_a_call_ends_while_somebody_keeps_the_row_locked(
    client: SessionContinuity, database: str, call: str
) -> None:
    session = new_session(client)
    with SessionContinuity(dsn=database, deadline_seconds=DEADLINE) as hurried:
        with row_locked(database, session):
            ends_in_time(lambda: CALLS[call](hurried, session))
        assert wait_until(lambda: waits_for_lock(database) == 0, 5)
        hurried.get_session(session)
    assert is_whole(client, session)


def test_calls_beyond_the_connections_end_too(client: SessionContinuity, database: str) -> None:
    session = new_session(client)
    with SessionContinuity(dsn=database, deadline_seconds=DEADLINE, connections=2) as hurried:
        started = time.monotonic()
        with row_locked(database, session):
            answers = together([lambda: hurried.send_heartbeat(session)] * 8)
        assert time.monotonic() - started <= DEADLINE + GRACE + 0.5
        assert all(isinstance(answer, DeadlineExceeded) for answer in answers), answers
        assert hurried.send_heartbeat(session).instance_id == session


def test_an_append_that_waits_behind_a_blocked_flush_ends_by_its_own_deadline(
    client: SessionContinuity, database: str
) -> None:
    session = new_session(client)

    async def main() -> None:
        async with AsyncSessionContinuity(dsn=database, deadline_seconds=DEADLINE) as hurried:
            await hurried.get_session(session)

            async def timed(after: float) -> float:
                await asyncio.sleep(after)
                started = time.monotonic()
                with pytest.raises(DeadlineExceeded):
                    await hurried.append_event(session, "note_recorded", {"text": str(after)})
                return time.monotonic() - started

            lasted = await asyncio.gather(*(timed(after) for after in (0, 0.05, 0.3, 0.6, 0.9)))
            assert max(lasted) <= DEADLINE + 0.3, lasted

    with row_locked(database, session):
        asyncio.run(main())
    assert wait_until(lambda: waits_for_lock(database) == 0, 5)
    assert is_whole(client, session)


def test_a_killed_server_is_started_again_within_the_call(home: Path) -> None:
    with SessionContinuity(home=home, deadline_seconds=20) as client:
        session = new_session(client)
        kill(home, "tree", random.Random(0))
        client.append_event(session, "note_recorded", {"text": "after"})
        assert texts(client.read_events(session)) == ["after"]


def test_the_driver_alone_would_wait_for_ever(database: str) -> None:
    """Control: without a deadline of our own the same black hole holds a plain call much longer."""
    with Proxy(database) as proxy, psycopg.connect(proxy.conninfo, autocommit=True) as connection:
        connection.execute("SET statement_timeout = '500ms'")
        proxy.mode = "swallow"
        results = []

        def ask() -> None:
            with suppress(psycopg.Error):
                connection.execute("SELECT 1")
                results.append("answered")
            results.append("ended")

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(DEADLINE + GRACE)
        assert results == []
        proxy.cut()
        thread.join(5)
        assert results == ["ended"]
