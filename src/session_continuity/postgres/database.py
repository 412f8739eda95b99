"""Runs operations: a blocking and an awaiting runner over the same steps.

Connections are opened by the caller that needs one and kept for the next, so that after an outage the first
call finds the server as soon as it is back; a pool that reconnects in the background with growing pauses made
callers wait for seconds. Those that a busy moment opened and nobody needs any more are closed: all clients share
what the server has. Every wait ends at the call's deadline, whatever the network or server does:
statement_timeout does not help against a server that is stopped.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

import orjson
import psycopg
from psycopg import AsyncConnection, Connection, sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.json import set_json_loads

from session_continuity.domain.errors import (
    DeadlineExceeded,
    InvalidInput,
    SessionContinuityError,
    Unavailable,
)
from session_continuity.domain.operation import Contended, Operation, Rows, Statement, Steps
from session_continuity.postgres.failures import deadline_exceeded, translate
from session_continuity.postgres.statements import statement

T = TypeVar("T")
C = TypeVar("C", "_BoundConnection", "_BoundAsyncConnection")
PQGen = Any

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5
_KEPT_ROWS = 200
_UNUSED_SECONDS = 60.0


class Server(Protocol):
    """Where the database is; both may start the server if it is ours, and take `timeout` seconds at most.
    `revive` is called after a lost connection."""

    def conninfo(self, timeout: float) -> str: ...

    def revive(self, timeout: float) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`deadline` seconds for each call, at most `connections` at once, `prepared` statements off behind a
    PgBouncer in transaction mode, `role` to take on after connecting (embedded server only)."""

    deadline: float = 30.0
    connections: int = 16
    prepared: bool = True
    role: str | None = None


_connecting_until: ContextVar[float] = ContextVar("connecting_until", default=math.inf)


def _bound(connecting: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """The steps of connecting, ended at the deadline: connect_timeout has whole seconds, two at least, and counts
    anew for each host."""
    until = _connecting_until.get()
    try:
        asked = next(connecting)
        while True:
            ready = yield asked
            if time.monotonic() >= until:
                connecting.close()
                raise psycopg.errors.ConnectionTimeout("connection timeout expired")
            asked = connecting.send(ready)
    except StopIteration as done:
        return done.value


class _BoundConnection(Connection[tuple[Any, ...]]):
    """Waits no longer than until `until` (monotonic seconds)."""

    until: float = 0.0
    idle_since: float = 0.0
    _steady: psycopg.Cursor[tuple[Any, ...]] | None = None

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> Generator[Any, Any, Any]:
        return _bound(super()._connect_gen(conninfo))

    def rows(self, asked: Statement) -> Rows:
        """The statement's rows. One cursor reads them all: a new one for each statement costs 10 microseconds."""
        cursor = self._steady or self.cursor()
        rows = cursor.execute(statement(asked.name), asked.parameters).fetchall()
        self._steady = cursor if len(rows) <= _KEPT_ROWS else None  # a cursor holds on to its last result
        return rows

    def wait(self, gen: PQGen, interval: float = 0.1, timeout: float | None = None) -> Any:  # noqa: ARG002
        return super().wait(gen, interval, max(0.001, self.until - time.monotonic()))


class _BoundAsyncConnection(AsyncConnection[tuple[Any, ...]]):
    until: float = 0.0
    idle_since: float = 0.0
    _steady: psycopg.AsyncCursor[tuple[Any, ...]] | None = None

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> Generator[Any, Any, Any]:
        return _bound(super()._connect_gen(conninfo))

    async def rows(self, asked: Statement) -> Rows:
        cursor = self._steady or self.cursor()
        rows = await (await cursor.execute(statement(asked.name), asked.parameters)).fetchall()
        self._steady = cursor if len(rows) <= _KEPT_ROWS else None
        return rows

    async def wait(self, gen: PQGen, interval: float = 0.1, timeout: float | None = None) -> Any:  # noqa: ARG002
        return await super().wait(gen, interval, max(0.001, self.until - time.monotonic()))


def _connect_options(conninfo: str, limits: Limits, remaining: float) -> dict[str, Any]:
    try:
        given = conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError as error:
        raise InvalidInput(f"the DSN can't be read: {str(error).strip()}", code="dsn") from None
    _connecting_until.set(time.monotonic() + remaining)
    options: dict[str, Any] = {
        "autocommit": True,
        "prepare_threshold": 5 if limits.prepared else None,
        "connect_timeout": max(2, min(10, round(remaining))),
        "application_name": given.get("application_name") or "session-continuity",
        "tcp_user_timeout": str(given.get("tcp_user_timeout") or int(limits.deadline * 1000)),
        "keepalives_idle": str(given.get("keepalives_idle") or 10),
        "keepalives_interval": str(given.get("keepalives_interval") or 5),
        "keepalives_count": str(given.get("keepalives_count") or 3),
    }
    return options


def _failure(error: psycopg.Error, limits: Limits, until: float) -> SessionContinuityError:
    timed_out = type(error).__name__ == "_WaitTimeout" or isinstance(error, psycopg.errors.ConnectionTimeout)
    if timed_out and time.monotonic() >= until - 0.01:
        return deadline_exceeded(limits.deadline)
    return translate(error)


@contextmanager
def connect(conninfo: str, timeout: float = 30.0) -> Generator[_BoundConnection]:
    """A connection of its own for set-up work, its waits bounded by `timeout` seconds. Raises Unavailable."""
    limits, until = Limits(deadline=timeout), time.monotonic() + timeout
    try:
        with _BoundConnection.connect(conninfo, **_connect_options(conninfo, limits, timeout)) as connection:
            connection.until = until
            yield connection
    except psycopg.Error as error:
        raise _failure(error, limits, until) from None


class _Retries:
    """Decides whether a failed attempt is made again: an outage of a server that answered before, or one that
    we can start. Every operation is idempotent, so a lost answer is no reason to give up."""

    def __init__(self, limits: Limits, until: float, worth_waiting: Callable[[], bool]) -> None:
        self._limits, self._until, self._worth_waiting = limits, until, worth_waiting
        self._pause = _FIRST_PAUSE

    def pause_after(self, error: Unavailable) -> float:
        """Seconds to wait before the next attempt; raises the error when there is none."""
        pause, self._pause = self._pause, min(_LONGEST_PAUSE, self._pause * 2)
        starting = error.stable_code == "starting"  # or recovering: it will answer soon
        if isinstance(error, DeadlineExceeded) or not (starting or self._worth_waiting()):
            raise error
        if time.monotonic() + pause >= self._until:
            raise DeadlineExceeded(
                f"{error.message} (tried for {self._limits.deadline:g} s); retry with the same operation id"
            ) from None
        return pause


class Database:
    """Runs operations on a blocking connection; may be used from many threads."""

    def __init__(self, server: Server, limits: Limits | None = None) -> None:
        self._server, self._limits = server, limits or Limits()
        self._idle: deque[_BoundConnection] = deque()
        self._free = threading.BoundedSemaphore(self._limits.connections)
        self._answered = False
        self._closed = False

    def run(self, operation: Operation[T]) -> T:
        """The operation's result. Raises what its steps raise, Unavailable, DeadlineExceeded."""
        until = time.monotonic() + self._limits.deadline
        retries = _Retries(self._limits, until, lambda: self._answered)
        while True:
            try:
                connection = self._take(until)
                try:
                    if not operation.atomic:
                        return self._drive(connection, operation.steps(), until)
                    with connection.transaction():
                        result = self._drive(connection, operation.steps(), until)
                    return result
                finally:
                    self._give_back(connection)
            except Contended:
                operation = operation.under_lock()
                continue
            except psycopg.Error as error:
                failed = _failure(error, self._limits, until)
                if not isinstance(failed, Unavailable):
                    raise failed from None
            except Unavailable as error:
                failed = error
            time.sleep(retries.pause_after(failed))
            self._drop_idle()
            self._server.revive(max(0.05, until - time.monotonic()))

    def close(self) -> None:
        """Close idle connections; connections in use are closed when they come back."""
        self._closed = True
        self._drop_idle()

    def _drop_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _drive(self, connection: _BoundConnection, steps: Steps[T], until: float) -> T:
        try:
            asked = next(steps)
            while True:
                try:
                    rows = connection.rows(asked)
                except UnicodeEncodeError:
                    raise InvalidInput("a text holds half a surrogate pair", code="text_lone_surrogate") from None
                except psycopg.Error as error:
                    asked = steps.throw(_failure(error, self._limits, until))
                else:
                    asked = steps.send(rows)
        except StopIteration as done:
            return cast("T", done.value)
        finally:
            steps.close()

    def _take(self, until: float) -> _BoundConnection:
        if not self._free.acquire(timeout=max(0.0, until - time.monotonic())):
            raise DeadlineExceeded(f"all {self._limits.connections} connections were busy for the whole deadline")
        try:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connect(until)
        except BaseException:
            self._free.release()
            raise
        connection.until = until
        return connection

    def _give_back(self, connection: _BoundConnection) -> None:
        try:
            if self._closed or connection.closed or connection.pgconn.transaction_status != 0:
                connection.close()
            else:
                connection.idle_since = time.monotonic()
                self._idle.append(connection)
                for unused in _unused(self._idle):
                    unused.close()
        finally:
            self._free.release()

    def _connect(self, until: float) -> _BoundConnection:
        conninfo = self._server.conninfo(max(0.05, until - time.monotonic()))
        options = _connect_options(conninfo, self._limits, until - time.monotonic())
        connection = _BoundConnection.connect(conninfo, **options)
        connection.until = until
        set_json_loads(_loads, connection)
        if self._limits.role:
            connection.execute(_set_role(self._limits.role))
        self._answered = True
        return connection


class AsyncDatabase:
    """Runs operations on awaiting connections of one event loop."""

    def __init__(self, server: Server, limits: Limits | None = None) -> None:
        self._server, self._limits = server, limits or Limits()
        self._idle: deque[_BoundAsyncConnection] = deque()
        self._free = asyncio.BoundedSemaphore(self._limits.connections)
        self._answered = False
        self._closed = False

    async def run(self, operation: Operation[T]) -> T:
        """The operation's result. Raises what its steps raise, Unavailable, DeadlineExceeded."""
        until = time.monotonic() + self._limits.deadline
        retries = _Retries(self._limits, until, lambda: self._answered)
        while True:
            try:
                connection = await self._take(until)
                try:
                    if not operation.atomic:
                        return await self._drive(connection, operation.steps(), until)
                    async with connection.transaction():
                        result = await self._drive(connection, operation.steps(), until)
                    return result
                finally:
                    await self._give_back(connection)
            except Contended:
                operation = operation.under_lock()
                continue
            except psycopg.Error as error:
                failed = _failure(error, self._limits, until)
                if not isinstance(failed, Unavailable):
                    raise failed from None
            except Unavailable as error:
                failed = error
            await asyncio.sleep(retries.pause_after(failed))
            await self._drop_idle()
            await asyncio.to_thread(self._server.revive, max(0.05, until - time.monotonic()))

    async def close(self) -> None:
        """Close idle connections; connections in use are closed when they come back."""
        self._closed = True
        await self._drop_idle()

    async def _drop_idle(self) -> None:
        with suppress(IndexError):
            while True:
                await self._idle.pop().close()

    async def _drive(self, connection: _BoundAsyncConnection, steps: Steps[T], until: float) -> T:
        try:
            asked = next(steps)
            while True:
                try:
                    rows = await connection.rows(asked)
                except UnicodeEncodeError:
                    raise InvalidInput("a text holds half a surrogate pair", code="text_lone_surrogate") from None
                except psycopg.Error as error:
                    asked = steps.throw(_failure(error, self._limits, until))
                else:
                    asked = steps.send(rows)
        except StopIteration as done:
            return cast("T", done.value)
        finally:
            steps.close()

    async def _take(self, until: float) -> _BoundAsyncConnection:
        try:
            async with asyncio.timeout(max(0.001, until - time.monotonic())):
                await self._free.acquire()
        except TimeoutError:
            raise DeadlineExceeded(
                f"all {self._limits.connections} connections were busy for the whole deadline"
            ) from None
        try:
            connection = self._idle.pop() if self._idle else await self._connect(until)
        except BaseException:
            self._free.release()
            raise
        connection.until = until
        return connection

    async def _give_back(self, connection: _BoundAsyncConnection) -> None:
        try:
            if self._closed or connection.closed or connection.pgconn.transaction_status != 0:
                await connection.close()
            else:
                connection.idle_since = time.monotonic()
                self._idle.append(connection)
                for unused in _unused(self._idle):
                    await unused.close()
        finally:
            self._free.release()

    async def _connect(self, until: float) -> _BoundAsyncConnection:
        conninfo = await asyncio.to_thread(self._server.conninfo, max(0.05, until - time.monotonic()))
        options = _connect_options(conninfo, self._limits, until - time.monotonic())
        connection = await _BoundAsyncConnection.connect(conninfo, **options)
        connection.until = until
        set_json_loads(_loads, connection)
        if self._limits.role:
            await connection.execute(_set_role(self._limits.role))
        self._answered = True
        return connection


def _unused(idle: deque[C]) -> Generator[C]:
    """The connections that were not needed for too long, taken out; the last one given back is the next one to be
    used, so they stand at the front."""
    with suppress(IndexError):  # another thread has taken the last one
        while idle[0].idle_since < time.monotonic() - _UNUSED_SECONDS:
            yield idle.popleft()


def _loads(text: str | bytes) -> Any:
    """A stored JSON value. What plain SQL stored may be beyond every reader (numbers beyond every double, nesting
    beyond 1,024): such a value must not keep the rows around it from being read, and says what it is."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            return json.loads(text)
        except (RecursionError, ValueError):
            return {"unreadable_json_bytes": len(text)}


def _set_role(role: str) -> sql.Composed:
    return sql.SQL("SET ROLE {}").format(sql.Identifier(role))
