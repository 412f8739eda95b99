"""The servers that are measured, and the databases made on them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from session_continuity.postgres import migrations
from session_continuity.postgres.embedded import EmbeddedServer

SYSTEM_BINARIES = Path("/usr/lib/postgresql/15/bin")
REPORT_SCHEMA = Path(__file__).with_name("report_schema.sql")


@dataclass(frozen=True)
class Server:
    """A running server: `dsn` names one of its databases, in which others are made."""

    name: str
    dsn: str

    @contextmanager
    def database(self, name: str, schema: str = "") -> Iterator[str]:
        """A fresh database with the `library`'s schema, the `report`'s or none; dropped at the end."""
        name = f"continuity_bench_{name}"
        dsn = psycopg.conninfo.make_conninfo(self.dsn, dbname=name)
        self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"CREATE DATABASE {name} TEMPLATE template0")
        try:
            with psycopg.connect(dsn, autocommit=True) as connection:
                if schema == "library":
                    migrations.upgrade(connection)
                elif schema == "report":
                    connection.execute(REPORT_SCHEMA.read_bytes())
            yield dsn
        finally:
            self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def version(self) -> str:
        with psycopg.connect(self.dsn) as connection:
            return str(connection.execute("SHOW server_version").fetchone()[0])

    def _execute(self, *statements: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())


@contextmanager
def open_servers(choice: str) -> Iterator[list[Server]]:
    """`embedded`, `15`, `both`, or the DSN of a server where the role may create databases."""
    if choice not in ("embedded", "15", "both"):
        yield [Server("given", choice)]
        return
    # The server's own user must be able to reach the folder.
    home = Path(tempfile.mkdtemp(prefix="continuity-bench-"))
    home.chmod(0o755)
    servers: dict[str, EmbeddedServer] = {}
    if choice != "15":
        servers["embedded"] = EmbeddedServer(home / "embedded")
    if choice != "embedded":
        servers["15"] = EmbeddedServer(home / "system", binaries=SYSTEM_BINARIES)
    try:
        yield [Server(name, server.ensure_running()) for name, server in servers.items()]
    finally:
        for server in servers.values():
            server.stop()
        shutil.rmtree(home, ignore_errors=True)
