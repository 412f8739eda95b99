"""Applies migrations/*.sql in order, each once, step and record in one transaction.

The files have dbmate's form and the table is dbmate's with more columns, so that dbmate can take over. Each
transaction first takes one advisory lock and then looks at the table: processes that upgrade at once take
turns, and a killed one leaves nothing behind, since its transaction ends with it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any, Literal

import psycopg

from session_continuity.domain.errors import InvalidInput, Refused
from session_continuity.postgres.failures import translate

Connection = psycopg.Connection[tuple[Any, ...]]
State = Literal["applied", "pending", "changed", "unknown"]

_LOCK = 0x73_63_6D_67  # "scmg"
_TABLES = {
    "1769700000000": "supervisor_sessions",
    "1769710000000": "command_log",
    "1769720000000": "event_store",
    "1769730000000": "checkpoints",
}
_MAKE_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (version varchar PRIMARY KEY);
ALTER TABLE schema_migrations
    ADD COLUMN IF NOT EXISTS name text,
    ADD COLUMN IF NOT EXISTS checksum text,
    ADD COLUMN IF NOT EXISTS applied_at timestamptz,
    ADD COLUMN IF NOT EXISTS took_ms bigint
"""
# Asked first, since only the owner may alter the table, and others may find that nothing is pending.
_TABLE_IS_READY = """
SELECT count(*) = 5 FROM pg_attribute
WHERE attrelid = to_regclass('public.schema_migrations') AND NOT attisdropped
    AND attname IN ('version', 'name', 'checksum', 'applied_at', 'took_ms')
"""
# dbmate's own table has the version only.
_READ_TABLE = """
SELECT m.version, to_jsonb(m) ->> 'name', to_jsonb(m) ->> 'checksum', (to_jsonb(m) ->> 'applied_at')::timestamptz,
    (to_jsonb(m) ->> 'took_ms')::bigint
FROM public.schema_migrations m
"""
_UP, _DOWN = "-- migrate:up", "-- migrate:down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One file: `up` and `down` are SQL scripts, `checksum` is the SHA-256 of the file."""

    version: str
    name: str
    up: str
    down: str
    checksum: str

    @property
    def file(self) -> str:
        return f"{self.version}_{self.name}.sql"


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationStatus:
    """`changed`: the file differs from what was applied. `unknown`: applied, but not in this release."""

    version: str
    name: str
    state: State
    applied_at: datetime | None
    took_ms: int | None


@cache
def migrations() -> tuple[Migration, ...]:
    """All migrations of this release, oldest first."""
    found: list[Migration] = []
    for file in resources.files("session_continuity.postgres").joinpath("migrations").iterdir():
        if file.name.endswith(".sql"):
            found.append(read_migration(file.name, file.read_bytes()))
    return tuple(sorted(found, key=lambda migration: migration.version))


def read_migration(file_name: str, content: bytes) -> Migration:
    """One migration from its file. Raises ValueError when it lacks a part."""
    version, _, name = file_name.removesuffix(".sql").partition("_")
    before, up_mark, rest = content.decode().partition(_UP)
    up, down_mark, down = rest.partition(_DOWN)
    if not (version.isdigit() and name and up_mark and down_mark) or any(
        line and not line.startswith("--") for line in before.splitlines()
    ):
        raise ValueError(f"{file_name} is not a migration: it needs digits_name.sql, {_UP} and {_DOWN}")
    return Migration(version=version, name=name, up=up, down=down, checksum=hashlib.sha256(content).hexdigest())


def upgrade(connection: Connection, known: tuple[Migration, ...] | None = None) -> list[Migration]:
    """Apply what is pending; returns what this call applied. Raises Refused when an applied file was changed or
    the database is newer than this release, Unavailable when the lock or the server can't be had."""
    known = migrations() if known is None else known
    applied: list[Migration] = []
    while True:
        with _turn(connection):
            done = _standing(connection)
            _refuse_changes(done, known)
            pending = next((migration for migration in known if migration.version not in done), None)
            if pending is None:
                return applied
            started = time.monotonic()
            _script(connection, pending.up)
            connection.execute(
                "INSERT INTO schema_migrations (version, name, checksum, applied_at, took_ms)"
                " VALUES (%s, %s, %s, clock_timestamp(), %s)",
                (pending.version, pending.name, pending.checksum, round(1000 * (time.monotonic() - started))),
            )
            applied.append(pending)


def plan_downgrade(connection: Connection, to: str | None) -> list[Migration]:
    """What downgrade would undo, latest first: everything, or everything after the version (or its name) `to`.
    Raises InvalidInput when there is none, Refused as downgrade does."""
    with _turn(connection):
        return _undone(_standing(connection), to)


def downgrade(connection: Connection, to: str | None) -> list[Migration]:
    """Undo migrations, latest first, all in one transaction; returns what was undone. Raises InvalidInput when
    there is no `to`, Refused when the database is newer than this release."""
    with _turn(connection):
        undone = _undone(_standing(connection), to)
        for migration in undone:
            _script(connection, migration.down)
            connection.execute("DELETE FROM schema_migrations WHERE version = %s", (migration.version,))
        return undone


def is_current(connection: Connection) -> bool:
    """Whether every migration of this release is applied, and no other. Changes nothing."""
    return all(migration.state == "applied" for migration in status(connection))


def status(connection: Connection) -> list[MigrationStatus]:
    """Every migration of this release and of the database, oldest first. Changes nothing."""
    done: dict[str, tuple[Any, ...]] = {}
    if connection.execute("SELECT to_regclass('public.schema_migrations')").fetchone() != (None,):
        done = _applied(connection)
    known = {migration.version: migration for migration in migrations()}
    found: list[MigrationStatus] = []
    for version in sorted(known.keys() | done.keys()):
        row, migration = done.get(version), known.get(version)
        state: State = "applied"
        if row is None:
            state = "pending"
        elif migration is None:
            state = "unknown"
        elif row[2] not in (None, migration.checksum):
            state = "changed"
        name = migration.name if migration else (row[1] if row and row[1] else "?")
        found.append(
            MigrationStatus(
                version=version,
                name=name,
                state=state,
                applied_at=row[3] if row else None,
                took_ms=row[4] if row else None,
            )
        )
    return found


@contextmanager
def _turn(connection: Connection) -> Generator[None]:
    """One transaction under the lock, with the table there. Only the schema public counts, whatever else the
    role's search path names."""
    try:
        with connection.transaction():
            connection.execute("SET LOCAL search_path = public, pg_temp")
            connection.execute("SET LOCAL lock_timeout = '60s'")
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            connection.execute("SET LOCAL lock_timeout = '10s'")
            connection.execute("SET LOCAL client_min_messages = warning")
            if connection.execute(_TABLE_IS_READY).fetchone() != (True,):
                _script(connection, _MAKE_TABLE)
            yield
    except psycopg.Error as error:
        raise translate(error) from None


def _applied(connection: Connection) -> dict[str, tuple[Any, ...]]:
    rows = connection.execute(_READ_TABLE).fetchall()
    return {row[0]: row for row in rows}


def _standing(connection: Connection) -> dict[str, tuple[Any, ...]]:
    """What is applied, once it is known that its tables are there. The report's rollback plan, run by hand,
    drops them and leaves their records: these go, too."""
    done = _applied(connection)
    made = [table for version, table in _TABLES.items() if version in done]
    find = "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass('public.' || name) IS NULL"
    missing = [row[0] for row in connection.execute(find, (made,))]
    if made and missing == made:
        connection.execute("DELETE FROM schema_migrations")
        return {}
    if missing:
        raise Refused(
            f"the tables {', '.join(missing)} were dropped by hand and the others were not: restore them, or drop"
            " all four as the rollback plan does, then upgrade",
            code="tables_missing",
            tables=missing,
        )
    return done


def _refuse_changes(done: dict[str, tuple[Any, ...]], known: tuple[Migration, ...]) -> None:
    for migration in known:
        row = done.get(migration.version)
        if row is not None and row[2] not in (None, migration.checksum):
            raise Refused(
                f"{migration.file} was changed after it was applied ({row[3]:%Y-%m-%d %H:%M %Z}): "
                "restore the file, and put the change into a new migration",
                code="migration_changed",
                file=migration.file,
            )
    _refuse_unknown(done, known)


def _refuse_unknown(done: dict[str, tuple[Any, ...]], known: tuple[Migration, ...]) -> None:
    unknown = sorted(done.keys() - {migration.version for migration in known})
    if unknown:
        raise Refused(
            f"the database has migrations that this release does not know ({', '.join(unknown)}): "
            "use the release that applied them, or a newer one",
            code="migration_unknown",
            versions=unknown,
        )


def _undone(done: dict[str, tuple[Any, ...]], to: str | None) -> list[Migration]:
    known = migrations()
    _refuse_unknown(done, known)
    target = None
    if to is not None:
        target = next((m for m in known if to in (m.version, m.name, m.file)), None)
        if target is None:
            raise InvalidInput(f"no migration {to!r}; `continuity db status` lists them", code="migration_unknown")
    return [m for m in reversed(known) if m.version in done and (target is None or m.version > target.version)]


def _script(connection: Connection, sql: str) -> None:
    # Without parameters psycopg sends the text as it is, so a script may hold many statements.
    connection.execute(sql.encode())
