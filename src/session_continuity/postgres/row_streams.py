"""Rows in bulk between tables and files: streamed out, compared and deleted, and staged and inserted again.

Rows travel by COPY in one of two wires, each written and read by PostgreSQL itself, so nothing is lost on the way:
CSV with every value quoted (an empty field is NULL), or JSON, one object for each row.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal, TypeAlias

import psycopg
from psycopg import Connection, Copy, sql
from psycopg.abc import Buffer, PQGen

from session_continuity.domain.errors import Conflict
from session_continuity.domain.operation import Rows, Statement
from session_continuity.postgres.database import connect
from session_continuity.postgres.row_kinds import KINDS, RowKind
from session_continuity.postgres.statements import statement

Wire: TypeAlias = Literal["csv", "json"]

_OUT = {
    "csv": sql.SQL("COPY ({}) TO STDOUT (FORMAT csv, FORCE_QUOTE *)"),
    "json": sql.SQL("COPY (SELECT row_to_json(r) FROM ({}) r) TO STDOUT"),
}
_WRITTEN_ALIKE = (
    "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, MDY'; SET LOCAL bytea_output = 'hex';"
    " SET LOCAL IntervalStyle = 'postgres'"
)
"""In each transaction, since the next one may have another connection behind a PgBouncer in transaction mode."""

BATCH_ROWS, BATCH_BYTES = 20_000, 8 * 2**20
"""A batch, which is compared and deleted in one transaction, ends at whatever comes first."""

_SHOWN_CONFLICTS = 5
_TRIES = 5


def batches(rows: Iterable[Buffer]) -> Generator[bytes]:
    """Rows, each with its end of line, put together to batches."""
    held: list[Buffer] = []
    size = 0
    for row in rows:
        held.append(row)
        size += len(row)  # pyright: ignore[reportArgumentType]
        if size >= BATCH_BYTES or len(held) >= BATCH_ROWS:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _read_batch(copy: Copy) -> PQGen[bytes]:
    """The next batch of a COPY, empty at its end. It is waited for once: a wait for each row takes as long as the
    row itself."""
    held: list[Buffer] = []
    size = 0
    while size < BATCH_BYTES and len(held) < BATCH_ROWS:
        row = yield from copy._read_gen()  # pyright: ignore[reportPrivateUsage]
        if not row:
            break
        held.append(row)
        size += len(row)  # pyright: ignore[reportArgumentType]
    return b"".join(held)


class RowStreams:
    """Bulk work on one connection; `renew` puts its deadline off, at each step that went well."""

    def __init__(self, connection: Connection[tuple[Any, ...]], renew: Callable[[], None]) -> None:
        self._connection, self._renew = connection, renew

    def rows(self, asked: Statement) -> Rows:
        """The rows of one statement."""
        self._renew()
        return self._connection.execute(statement(asked.name), asked.parameters).fetchall()

    def copy_out(self, asked: Statement, wire: Wire) -> Iterator[bytes]:
        """The rows of a statement on the wire, in batches, each row with its end of line."""
        command = _OUT[wire].format(sql.SQL(statement(asked.name)))
        with self._connection.cursor() as cursor, cursor.copy(command, asked.parameters) as copy:
            while batch := self._connection.wait(_read_batch(copy)):
                self._renew()
                yield batch if wire == "csv" else batch.replace(b"\\\\", b"\\")

    @contextmanager
    def transaction(self, *, snapshot: bool = False) -> Generator[None]:
        """Everything within at once or not at all; as a `snapshot`, all of it sees the tables as its first
        statement did, and changes no row that was changed since."""
        self._renew()
        with self._connection.transaction():
            if snapshot:
                self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            self._connection.execute(_WRITTEN_ALIKE)
            yield

    def prune(
        self, kind: RowKind, keys: Mapping[str, Any], copies: bytes, wire: Wire, claim: Statement, rows: int
    ) -> bool:
        """Delete the rows of these keys if they are the `copies`, byte for byte, of sessions that may be pruned;
        comparing and deleting are one transaction. False when they are not, or when they never stood still. Raises
        Conflict (archive_taken_over) when the claim does not hold any more."""
        for attempt in range(_TRIES):
            try:
                return self._prune(kind, keys, copies, wire, claim, rows)
            except (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected):
                time.sleep(0.02 * 2**attempt)
        return False

    def _prune(
        self, kind: RowKind, keys: Mapping[str, Any], copies: bytes, wire: Wire, claim: Statement, rows: int
    ) -> bool:
        sessions = sorted(set(keys["instance_ids"]))
        with self.transaction(snapshot=True):
            free = self.rows(Statement("lock_prunable", {"instance_ids": sessions}))
            if not self.rows(claim):
                raise Conflict("another process took this archive over", code="archive_taken_over")
            live = b"".join(self.copy_out(Statement(kind.stream, keys), wire))
            if not live:
                return True  # deleted before, by a run that was cut short
            if len(free) != len(sessions) or live != copies:
                return False
            deleted = self._connection.execute(statement(kind.prune or ""), keys).rowcount
            if deleted != rows:
                raise psycopg.errors.SerializationFailure("rows changed while they were deleted")
        return True

    def stage(self, kind: RowKind, columns: Sequence[str], chunks: Iterable[bytes], wire: Wire) -> None:
        """The rows of a file in a temporary table of this transaction."""
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        staged, table = _staged(kind), sql.Identifier("public", kind.table)
        self._connection.execute(
            sql.SQL("CREATE TEMP TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING GENERATED) ON COMMIT DROP").format(
                staged, table
            )
        )
        if wire == "csv":
            self._copy_in(sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(staged, names), chunks)
            return
        lines = sql.Identifier("pg_temp", f"lines_{kind.name}")
        self._connection.execute(sql.SQL("CREATE TEMP TABLE {} (line json) ON COMMIT DROP").format(lines))
        escaped = (chunk.replace(b"\\", b"\\\\") for chunk in chunks)
        self._copy_in(sql.SQL("COPY {} (line) FROM STDIN").format(lines), escaped)
        row_values = sql.SQL(", ").join(sql.Identifier("r", name) for name in columns)
        self._connection.execute(
            sql.SQL(
                "INSERT INTO {staged} ({names}) SELECT {values} FROM {lines} l,"
                " LATERAL json_populate_record(NULL::{staged}, l.line) r"
            ).format(staged=staged, names=names, values=row_values, lines=lines)
        )

    def drop_staged_of(self, instance_ids: Sequence[str]) -> None:
        """Leave out what was staged of these sessions."""
        for kind in KINDS.values():
            command = sql.SQL("DELETE FROM {} WHERE instance_id = ANY (%s)").format(_staged(kind))
            self._connection.execute(command, (list(instance_ids),))

    def insert_staged(self, kind: RowKind, columns: Sequence[str], *, keep_live: bool = False) -> int:
        """Insert the staged rows that are missing, and return how many. Raises Conflict when another row stands in
        a row's place, unless `keep_live` leaves such rows as they are. A session's row is never replaced."""
        self._renew()
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        # The triggers for plain SQL fire where there is no epoch, and would refuse a closed past: it follows.
        values = sql.SQL(", ").join(
            sql.SQL("coalesce(owner_epoch, 0)") if name == "owner_epoch" else sql.Identifier(name)
            for name in columns
        )
        parts = {
            "table": sql.Identifier("public", kind.table),
            "staged": _staged(kind),
            "key": sql.Identifier(kind.key),
            "names": names,
            "values": values,
        }
        insert = sql.SQL("INSERT INTO {table} ({names}) SELECT {values} FROM {staged}").format(**parts)
        inserted = self._insert_missing(kind, insert)
        if kind.name == "sessions":
            return inserted
        staged = self._connection.execute(
            sql.SQL("SELECT count(*), count(owner_epoch) FROM {staged}").format(**parts)
        ).fetchall()[0]
        if staged == (inserted, inserted):
            return inserted
        self._connection.execute(
            sql.SQL(
                "UPDATE {table} t SET owner_epoch = NULL FROM {staged} s"
                " WHERE t.{key} = s.{key} AND s.owner_epoch IS NULL AND t.owner_epoch = 0"
            ).format(**parts)
        )
        if not keep_live:
            others = self._connection.execute(
                sql.SQL(
                    "SELECT s.{key}::text FROM {staged} s LEFT JOIN {table} t ON t.{key} = s.{key}"
                    " WHERE t.{key} IS NULL OR NOT t *= s ORDER BY 1 LIMIT %s"
                ).format(**parts),
                (_SHOWN_CONFLICTS,),
            ).fetchall()
            if others:
                shown = ", ".join(row[0] for row in others)
                raise Conflict(
                    f"{kind.name} are there with another content ({shown}); nothing was restored. With --keep-live"
                    " those stay as they are and the others are restored",
                    code="restore_conflict",
                    kind=kind.name,
                    keys=[row[0] for row in others],
                )
        return inserted

    def _insert_missing(self, kind: RowKind, insert: sql.Composed) -> int:
        # Mostly none is there, and ON CONFLICT, which first looks into every unique index, takes a quarter longer.
        if kind.name != "sessions":
            with suppress(psycopg.errors.UniqueViolation), self._connection.transaction():
                return self._connection.execute(insert).rowcount
            self._renew()
        return self._connection.execute(insert + sql.SQL(" ON CONFLICT DO NOTHING")).rowcount

    def _copy_in(self, command: sql.Composed, chunks: Iterable[bytes]) -> None:
        with self._connection.cursor() as cursor, cursor.copy(command) as copy:
            for chunk in chunks:
                self._renew()
                copy.write(chunk)


def _staged(kind: RowKind) -> sql.Identifier:
    return sql.Identifier("pg_temp", f"staged_{kind.name}")


@contextmanager
def open_row_streams(conninfo: str, seconds: float) -> Generator[RowStreams]:
    """A connection of its own, as its login, for bulk work; each step of it has `seconds`. Raises Unavailable."""
    with connect(conninfo, seconds) as connection:
        connection.prepare_threshold = None  # a batch is long, and a PgBouncer may be between

        def renew() -> None:
            connection.until = time.monotonic() + seconds

        yield RowStreams(connection, renew)
