"""The deployment report made live: what it claims of the database is looked up or tried, claim by claim.

Everything runs in transactions that are rolled back, with an instance id of its own, so that a database in
use may be verified, also by several at once. One number of the command log's sequence is spent each time,
since PostgreSQL never takes back what a sequence gave out.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from session_continuity.domain.errors import Refused
from session_continuity.domain.identity import new_instance_id
from session_continuity.postgres import migrations
from session_continuity.postgres.access_paths import TABLES, ServedPath, check_access_paths
from session_continuity.postgres.failures import translate
from session_continuity.postgres.migrations import MigrationStatus
from session_continuity.postgres.statements import statement

Connection = psycopg.Connection[tuple[Any, ...]]

COUNTED_ROWS = 1_000_000
"""Tables with more rows are not counted but estimated."""

_ALL_GRANTS = ("DELETE", "INSERT", "SELECT", "UPDATE")
_OWN_GRANTS: dict[str, tuple[str, ...]] = {
    "alerts": _ALL_GRANTS,
    "alert_deliveries": _ALL_GRANTS,
    "storage_samples": _ALL_GRANTS,
    "search_documents": _ALL_GRANTS,
    "search_cursors": _ALL_GRANTS,
    "search_progress": _ALL_GRANTS,
    "audit_actions": ("INSERT", "SELECT"),
    "service_leases": ("INSERT", "SELECT", "UPDATE"),
    "service_passes": _ALL_GRANTS,
}
_ARCHIVES = ("archives", "archived_sessions")
_RELATIONS = (
    *TABLES,
    *_OWN_GRANTS,
    *_ARCHIVES,
    "session_tombstones",
    "schema_migrations",
    "command_log_id_seq",
)
_TABLE_PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
_READ = ("SELECT",)
_CHANGING_SESSION = (
    "closed_at",
    "context_percent",
    "current_epic",
    "cwd",
    "git_branch",
    "git_head",
    "harness_session_id",
    "heartbeat_interval_seconds",
    "host",
    "last_heartbeat",
    "last_sequence_num",
    "metadata",
    "pid",
    "process_seen_at",
    "status",
    "superseded_by",
)
_CHANGING_COMMAND = (
    "context_data",
    "error_message",
    "execution_time_ms",
    "late",
    "outcome",
    "result",
    "success",
    "tags",
)
_GRANTS: dict[str, dict[str, tuple[str, ...]]] = {
    "supervisor": dict.fromkeys((*TABLES, *_ARCHIVES), _ALL_GRANTS)
    | _OWN_GRANTS
    | {"session_tombstones": _READ, "schema_migrations": _READ, "command_log_id_seq": ("SELECT", "USAGE")},
    "continuity_writer": {
        "supervisor_sessions": ("INSERT", "SELECT", *(f"UPDATE ({name})" for name in _CHANGING_SESSION)),
        "command_log": ("INSERT", "SELECT", *(f"UPDATE ({name})" for name in _CHANGING_COMMAND)),
        "event_store": ("INSERT", "SELECT"),
        "checkpoints": ("INSERT", "SELECT"),
        **_OWN_GRANTS,
        **dict.fromkeys(_ARCHIVES, _READ),
        "session_tombstones": _READ,
        "schema_migrations": _READ,
        "command_log_id_seq": ("USAGE",),
    },
}
_ROLE_RIGHTS = ("USAGE ON SCHEMA public",)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableReport:
    """One of the report's tables; size in bytes with indexes. Foreign keys count if they cascade."""

    table: str
    exists: bool
    size_bytes: int
    rows: int
    estimated: bool
    indexes: int
    foreign_keys: int
    referenced_by: int

    @property
    def passed(self) -> bool:
        wanted = (0, 3) if self.table == "supervisor_sessions" else (1, 0)
        return self.exists and (self.foreign_keys, self.referenced_by) == wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Permissions:
    """What a role may do with one relation, or beyond all (`relation` None), against what it should."""

    role: str
    relation: str | None
    expected: tuple[str, ...]
    found: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return self.expected == self.found


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was tried or looked up. `constraint` is the one that had to refuse it."""

    name: str
    expected: str
    happened: str
    passed: bool
    constraint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The report, live. `checks` are its ten tests, tried as `checked_as`."""

    database: str
    server_version: str
    verified_at: datetime
    checked_as: str
    tables: tuple[TableReport, ...]
    migrations: tuple[MigrationStatus, ...]
    access_paths: tuple[ServedPath, ...]
    permissions: tuple[Permissions, ...]
    checks: tuple[Check, ...]
    triggers: tuple[Check, ...]
    durability: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        entries = (
            *self.tables,
            *self.access_paths,
            *self.permissions,
            *self.checks,
            *self.triggers,
            *self.durability,
        )
        return all(entry.passed for entry in entries) and all(
            migration.state == "applied" for migration in self.migrations
        )

    def as_json(self) -> dict[str, Any]:
        """JSON values but for times; the entries of each part say whether they passed."""
        return {
            "passed": self.passed,
            "database": self.database,
            "server_version": self.server_version,
            "verified_at": self.verified_at,
            "checked_as": self.checked_as,
            "migrations": [asdict(each) | {"passed": each.state == "applied"} for each in self.migrations],
            "access_paths": [path.as_json() for path in self.access_paths],
        } | {
            part: [asdict(entry) | {"passed": entry.passed} for entry in entries]
            for part, entries in (
                ("tables", self.tables),
                ("permissions", self.permissions),
                ("checks", self.checks),
                ("triggers", self.triggers),
                ("durability", self.durability),
            )
        }


def verify(connection: Connection) -> Verification:
    """Verify the database of an autocommit connection. Works for every role that may read the four tables
    and make temporary ones; what the role may not do is reported as failed. Raises Refused when nothing is set
    up, Unavailable."""
    try:
        if connection.execute("SELECT to_regclass('public.supervisor_sessions')").fetchone() == (None,):
            raise Refused("the database has no tables yet; run `continuity db upgrade`", code="not_set_up")
        about = connection.execute(
            "SELECT current_database(), current_setting('server_version'), now()"
        ).fetchall()[0]
        checked_as, checks = _run_checks(connection)
        return Verification(
            database=about[0],
            server_version=about[1],
            verified_at=about[2],
            checked_as=checked_as,
            tables=_describe_tables(connection),
            migrations=tuple(migrations.status(connection)),
            access_paths=tuple(check_access_paths(connection)),
            permissions=_compare_permissions(connection),
            checks=checks,
            triggers=_check_triggers(connection),
            durability=_check_durability(connection),
        )
    except psycopg.Error as error:
        raise translate(error) from None


def _query(connection: Connection, name: str, **parameters: Any) -> list[tuple[Any, ...]]:
    cursor = connection.execute(statement(name).encode(), parameters)
    return cursor.fetchall() if cursor.description else []


def _describe_tables(connection: Connection) -> tuple[TableReport, ...]:
    described: list[TableReport] = []
    for table, size, guess, indexes, foreign_keys, referenced_by in _query(connection, "describe_tables"):
        rows, estimated = 0, False
        if size is not None:
            bounded = f"SELECT count(*) FROM (SELECT FROM public.{table} LIMIT {COUNTED_ROWS + 1}) AS counted"  # noqa: S608
            rows = connection.execute(bounded.encode()).fetchall()[0][0]
            estimated = rows > COUNTED_ROWS
        described.append(
            TableReport(
                table=table,
                exists=size is not None,
                size_bytes=size or 0,
                rows=max(rows, guess) if estimated else rows,
                estimated=estimated,
                indexes=indexes,
                foreign_keys=foreign_keys,
                referenced_by=referenced_by,
            )
        )
    return tuple(described)


def _compare_permissions(connection: Connection) -> tuple[Permissions, ...]:
    privileges = [*_TABLE_PRIVILEGES, *(["MAINTAIN"] if connection.info.server_version >= 170_000 else [])]
    roles = list(_GRANTS)
    found: dict[tuple[str, str | None], tuple[str, ...]] = {}
    for role, rights in _query(connection, "describe_roles", roles=roles):
        found[role, None] = tuple(sorted(rights))
    asked = {"roles": roles, "relations": list(_RELATIONS), "table_privileges": privileges}
    for role, relation, rights in _query(connection, "describe_privileges", **asked):
        found[role, relation] = tuple(sorted(rights))
    expected = {(role, None): _ROLE_RIGHTS for role in roles} | {
        (role, relation): rights for role, grants in _GRANTS.items() for relation, rights in grants.items()
    }
    return tuple(
        Permissions(role=role, relation=relation, expected=wanted, found=found.get((role, relation), ()))
        for (role, relation), wanted in expected.items()
    )


def _check_triggers(connection: Connection) -> tuple[Check, ...]:
    return tuple(
        Check(name=name, expected="enabled", happened=state, passed=state == "enabled")
        for name, state in _query(connection, "describe_triggers")
    )


def _check_durability(connection: Connection) -> tuple[Check, ...]:
    # All values of synchronous_commit but off wait until the write is on this server's disk.
    return tuple(
        Check(
            name=name,
            expected="not off" if name.startswith("synchronous_commit") else "on",
            happened=setting,
            passed=setting.lower() not in ("off", "false", "no", "0"),
        )
        for name, setting in _query(connection, "describe_durability")
    )


def _run_checks(connection: Connection) -> tuple[str, tuple[Check, ...]]:
    """The report's ten tests in one transaction, as its role supervisor where we may take that on."""
    no_such_role = (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidParameterValue)
    with connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL lock_timeout = '10s'")
        with suppress(*no_such_role), connection.transaction():
            connection.execute("SET LOCAL ROLE supervisor")
        role = connection.execute("SELECT current_user").fetchall()[0][0]
        return role, _Trial(connection).run()


class _Trial:
    """The report's ten tests over one session of their own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._instance_id = new_instance_id("consilio", "PS")

    def run(self) -> tuple[Check, ...]:
        return (
            self._accepted("Insert supervisor_sessions", "stored", self._register),
            self._accepted("Insert event_store", "stored with a UUID", self._store_event),
            self._accepted("Insert command_log", "stored with a number", self._log_command),
            self._accepted("Insert checkpoints", "stored, phase reads implementation", self._save_state),
            self._accepted("Foreign Key Relationships", "1 row of 3 tables", self._join),
            self._accepted("CASCADE DELETE", "4 rows before, 0 after", self._delete),
            self._refused(
                "Unique Sequence Constraint",
                "event_store_instance_sequence_key",
                self._store_event,
            ),
            self._refused(
                "instance_id Format Validation",
                "supervisor_sessions_instance_id_format",
                lambda: self._register(instance_id=f"INVALID-{secrets.token_hex(4)}"),
            ),
            self._refused(
                "context_percent Range",
                "supervisor_sessions_context_percent_range",
                lambda: self._register(instance_id=new_instance_id("consilio", "PS"), context_percent=150),
            ),
            self._refused(
                "instance_type Enum",
                "supervisor_sessions_instance_type_enum",
                lambda: self._register(instance_id=new_instance_id("consilio", "PS"), instance_type="XX"),
            ),
        )

    def _ask(self, name: str, **parameters: Any) -> list[tuple[Any, ...]]:
        return _query(self._connection, name, **({"instance_id": self._instance_id} | parameters))

    def _register(self, **changed: Any) -> str:
        self._ask("check_session", **({"instance_type": "PS", "context_percent": 45} | changed))
        return "stored"

    def _store_event(self) -> str:
        event_id = self._ask("check_event")[0][0]
        return "stored with a UUID" if isinstance(event_id, UUID) else f"stored as {event_id}"

    def _log_command(self) -> str:
        number = self._ask("check_command")[0][0]
        return "stored with a number" if number > 0 else f"stored as {number}"

    def _save_state(self) -> str:
        phase = self._ask("check_checkpoint")[0][0]
        return f"stored, phase reads {phase}"

    def _join(self) -> str:
        rows = self._ask("check_relationships")
        whole = rows == [(1, "epic_started", "spawn_subagent", 45)]
        return "1 row of 3 tables" if whole else f"unexpected rows: {rows}"

    def _delete(self) -> str:
        """Tried on a savepoint that is given up: the tests that follow need the session."""
        with self._connection.transaction(force_rollback=True):
            before = self._ask("check_left_over")[0][0]
            self._ask("check_delete")
            after = self._ask("check_left_over")[0][0]
            return f"{before} rows before, {after} after"

    def _accepted(self, name: str, expected: str, act: Callable[[], str]) -> Check:
        try:
            with self._connection.transaction():
                happened = act()
        except psycopg.Error as error:
            happened = f"refused: {_words(error)}"
        return Check(name=name, expected=expected, happened=happened, passed=happened == expected)

    def _refused(self, name: str, constraint: str, act: Callable[[], Any]) -> Check:
        by = None
        try:
            with self._connection.transaction(force_rollback=True):
                act()
            happened = "accepted"
        except psycopg.Error as error:
            by = error.diag.constraint_name
            happened = f"refused by {by}" if by else f"refused: {_words(error)}"
        return Check(
            name=name,
            expected=f"refused by {constraint}",
            happened=happened,
            passed=by == constraint,
            constraint=constraint,
        )


def _words(error: psycopg.Error) -> str:
    return error.diag.message_primary or type(error).__name__
