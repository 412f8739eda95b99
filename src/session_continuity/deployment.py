"""Administers the database that the settings name: set up, upgrade, roll back, verify (report: Migration Files,
Test Results, Rollback Plan)."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from session_continuity.domain.errors import Refused
from session_continuity.postgres import migrations, provisioning, verification
from session_continuity.postgres.database import connect
from session_continuity.postgres.embedded import EmbeddedServer
from session_continuity.postgres.migrations import Migration, MigrationStatus
from session_continuity.postgres.provisioning import Deployed
from session_continuity.postgres.verification import Verification
from session_continuity.settings import Settings

ServerKind = Literal["embedded", "dsn"]

_SCHEMA_CHANGE_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentStatus:
    """Where the records are kept. `state` is absent, stopped, starting or running; a server that is not running
    shows no migrations. The paths are those of the embedded server."""

    server: ServerKind
    state: str
    server_version: str | None
    database: str | None
    pid: int | None
    data_folder: Path | None
    log_file: Path | None
    migrations: tuple[MigrationStatus, ...]

    @property
    def is_current(self) -> bool:
        """Whether every migration is applied, and none that this release does not know."""
        return bool(self.migrations) and all(each.state == "applied" for each in self.migrations)

    def as_json(self) -> dict[str, Any]:
        """JSON values but for times and paths."""
        return asdict(self) | {"is_current": self.is_current}


class Deployment:
    """The database of the settings, for administration. Every method raises Unavailable besides what it says."""

    def __init__(self, settings: Settings) -> None:
        self._dsn = settings.dsn
        self._embedded = EmbeddedServer(settings.home, binaries=settings.postgres_binaries)

    def upgrade(self) -> list[Migration]:
        """Apply what is pending; returns what was applied. Raises Refused when an applied migration was changed
        or is newer than this release."""
        with self._connection() as connection:
            return migrations.upgrade(connection)

    def plan_downgrade(self, to: str | None = None) -> list[Migration]:
        """What downgrade would undo, latest first. Raises InvalidInput when there is no migration `to`."""
        with self._connection() as connection:
            return migrations.plan_downgrade(connection, to)

    def downgrade(self, to: str | None = None) -> list[Migration]:
        """Undo the migrations after `to`, or all: the report's rollback plan, which drops every record. Returns
        what was undone, latest first. Raises InvalidInput, Refused."""
        with self._connection() as connection:
            return migrations.downgrade(connection, to)

    def status(self) -> DeploymentStatus:
        """What is there. Starts, makes and changes nothing."""
        if self._dsn is None:
            embedded = self._embedded.status()
            found = DeploymentStatus(
                server="embedded",
                state=embedded.state,
                server_version=embedded.data_version,
                database=None,
                pid=embedded.pid,
                data_folder=embedded.data_folder,
                log_file=embedded.log_file,
                migrations=(),
            )
            if embedded.state != "running":
                return found
        else:
            found = DeploymentStatus(
                server="dsn",
                state="running",
                server_version=None,
                database=None,
                pid=None,
                data_folder=None,
                log_file=None,
                migrations=(),
            )
        return self._with_database(found)

    def _with_database(self, found: DeploymentStatus) -> DeploymentStatus:
        with connect(self._dsn or self._embedded.conninfo()) as connection:
            return replace(
                found,
                server_version=connection.info.parameter_status("server_version"),
                database=connection.info.dbname,
                migrations=tuple(migrations.status(connection)),
            )

    def data_folder(self) -> Path | None:
        """Where the embedded server keeps its data; None with a DSN. Touches nothing. Raises Refused."""
        return None if self._dsn is not None else self._embedded.data_folder()

    def is_up(self) -> bool:
        """Whether there is a server to ask, as far as can be told without asking it: that of a DSN, or the
        embedded one while it runs. Starts nothing."""
        return self._dsn is not None or self._embedded.status().state == "running"

    def url(self) -> str:
        """The URL for psql and other clients, with the password if the DSN holds one. Starts the embedded
        server."""
        return provisioning.connection_url(self._conninfo())

    def stop(self) -> bool:
        """Stop the embedded server; False when it was not running. Raises Refused for a DSN."""
        if self._dsn is not None:
            raise Refused("the server of a DSN is not ours to stop", code="server_not_ours")
        return self._embedded.stop()

    def verify(self) -> Verification:
        """The deployment report, live. Leaves nothing behind. Raises Refused when nothing is set up."""
        with self._connection() as connection:
            if self._dsn is None and all(each.state == "pending" for each in migrations.status(connection)):
                migrations.upgrade(connection)
            return verification.verify(connection)

    def delete_session(self, instance_id: str) -> bool:
        """Delete a session with all its rows; a tombstone says that it was there. False when there was none.
        Raises Refused when the role of the DSN may not delete, InvalidInput under legal hold."""
        with self._connection() as connection:
            return provisioning.delete_session(connection, instance_id)

    @staticmethod
    def deploy(
        admin_dsn: str,
        *,
        database: str = "supervisor_meta",
        role: str = "supervisor",
        password: str | None = None,
    ) -> Deployed:
        """Set up a server from nothing: the database, the roles, the tables, each only if it is missing. Raises
        Refused naming the privilege that the administrator lacks, InvalidInput."""
        return provisioning.deploy(admin_dsn, database=database, role=role, password=password)

    def _conninfo(self) -> str:
        return self._dsn or self._embedded.ensure_running()

    @contextmanager
    def _connection(self) -> Generator[migrations.Connection]:
        with connect(self._conninfo(), _SCHEMA_CHANGE_SECONDS) as connection:
            yield connection
