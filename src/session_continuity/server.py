"""Which database a client talks to: the DSN's, or the embedded server of the data folder."""

from __future__ import annotations

from dataclasses import dataclass

from session_continuity.postgres.database import Limits, Server, connect
from session_continuity.settings import Settings


@dataclass(frozen=True, slots=True)
class RemoteServer:
    """A server that others run; all that can be done about an outage is to wait."""

    dsn: str

    def conninfo(self, timeout: float) -> str:  # noqa: ARG002
        return self.dsn

    def revive(self, timeout: float) -> None:
        """Nothing that we could do."""


class LocalServer:
    """The embedded server of the data folder: started, migrated and started again on demand."""

    def __init__(self, settings: Settings) -> None:
        # Loaded here since a DSN needs none of it: a tenth of a command's start-up.
        from session_continuity.postgres.embedded import EmbeddedServer

        self._embedded = EmbeddedServer(settings.home, binaries=settings.postgres_binaries)
        self._migrated = False

    def conninfo(self, timeout: float) -> str:
        from session_continuity.postgres import migrations

        conninfo = self._embedded.ensure_running(timeout)
        if not self._migrated:
            with connect(conninfo, timeout) as connection:
                if not migrations.is_current(connection):
                    migrations.upgrade(connection)
            self._migrated = True
        return conninfo

    def revive(self, timeout: float) -> None:
        self._embedded.ensure_running(timeout)


def choose_server(settings: Settings) -> Server:
    """The server that the settings name."""
    return RemoteServer(settings.dsn) if settings.dsn else LocalServer(settings)


def limits(settings: Settings) -> Limits:
    """The limits that the settings name."""
    return Limits(
        deadline=settings.deadline_seconds,
        connections=settings.connections,
        prepared=settings.prepared_statements,
        role=None if settings.dsn else "continuity_writer",
    )
