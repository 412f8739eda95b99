"""Servers and databases for the tests: real PostgreSQL, of every version that is at hand.

Tests that take `database` or `client` run once on each server. CONTINUITY_TEST_SERVERS names those wanted,
separated by commas; without it all are. Each worker of pytest-xdist starts its own.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from session_continuity import SessionContinuity
from session_continuity.postgres import migrations
from session_continuity.postgres.embedded import EmbeddedServer

BINARIES = {"embedded": None, "postgresql15": Path("/usr/lib/postgresql/15/bin")}
WANTED = os.environ.get("CONTINUITY_TEST_SERVERS", ",".join(BINARIES)).split(",")
TEMPLATE = "migrated"
MEMORY = Path("/dev/shm")
CLAIM = "in-use"


def new_home() -> Path:
    """A folder for a server, in memory where there is room: a database is then copied in a tenth of the time."""
    roomy = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 2**30
    home = Path(tempfile.mkdtemp(prefix="continuity-", dir=MEMORY if roomy else "/tmp"))
    home.chmod(0o755)
    return home


@contextmanager
def claimed(home: Path) -> Iterator[None]:
    """Marks a home as in use for as long as this process lives, whatever ends it."""
    unlocked = home / "unlocked"
    with unlocked.open("w") as claim:
        fcntl.flock(claim, fcntl.LOCK_EX)
        unlocked.rename(home / CLAIM)
        yield


def clean_after_killed_runs() -> None:
    """Stops the servers of test runs that were killed before they could, and removes their folders."""
    for claim in (*MEMORY.glob(f"continuity-*/{CLAIM}"), *Path("/tmp").glob(f"continuity-*/{CLAIM}")):
        with suppress(OSError), claim.open("r+") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            EmbeddedServer(claim.parent).stop()
            shutil.rmtree(claim.parent)


@dataclass
class RunningServer:
    """A server of our own: we are its superuser, and it belongs to this test run alone."""

    home: Path
    embedded: EmbeddedServer
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def conninfo(self, database: str = "postgres", **options: str) -> str:
        return make_conninfo(self.embedded.conninfo(), dbname=database, **options)

    def execute(self, command: sql.Composable) -> None:
        with psycopg.connect(self.conninfo(), autocommit=True) as connection:
            connection.execute(command)

    def create_database(self, template: str | None = TEMPLATE) -> str:
        """A new database, migrated or with `template` None empty."""
        name = f"test_{next(self.numbers)}"
        command = "CREATE DATABASE {}" if template is None else "CREATE DATABASE {} TEMPLATE {}"
        self.execute(sql.SQL(command).format(sql.Identifier(name), sql.Identifier(template or "")))
        return name

    def drop_database(self, name: str) -> None:
        self.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def require_password(self, role: str) -> None:
        """Lets a role log in with its password; otherwise only the operating system's user is admitted."""
        rules = self.home / "postgres" / "pg_hba.conf"
        rules.write_text(f'local all "{role}" scram-sha-256\n{rules.read_text()}')
        self.execute(sql.SQL("SELECT pg_reload_conf()"))


@pytest.fixture(scope="session", autouse=True)
def _home_of_the_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever a test leaves to the defaults goes into a folder of this run, never to its user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session", params=BINARIES)
def server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """A running server, with a migrated database to copy."""
    binaries = BINARIES[request.param]
    if request.param not in WANTED:
        pytest.skip(f"CONTINUITY_TEST_SERVERS does not name {request.param}")
    if binaries is not None and not binaries.is_dir():
        pytest.skip(f"{request.param} is not installed in {binaries}")
    clean_after_killed_runs()
    home = new_home()
    if binaries is not None:  # the wheel of the embedded one is without it
        (home / "postgresql.conf").write_text("shared_preload_libraries = 'pg_stat_statements'\n")
    embedded = EmbeddedServer(home, binaries=binaries)
    with claimed(home):
        try:
            embedded.ensure_running()
            running = RunningServer(home, embedded)
            running.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
            with psycopg.connect(running.conninfo(TEMPLATE), autocommit=True) as connection:
                migrations.upgrade(connection)
            yield running
        finally:
            embedded.stop()
            shutil.rmtree(home)


@pytest.fixture
def database(server: RunningServer) -> Iterator[str]:
    """The conninfo of a fresh migrated database."""
    name = server.create_database()
    yield server.conninfo(name)
    server.drop_database(name)


@pytest.fixture
def empty_database(server: RunningServer) -> Iterator[str]:
    """The conninfo of a fresh database without our tables."""
    name = server.create_database(template=None)
    yield server.conninfo(name)
    server.drop_database(name)


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the superuser to the fresh database, each statement a transaction of its own."""
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def client(database: str) -> Iterator[SessionContinuity]:
    """The library on the fresh database."""
    with SessionContinuity(dsn=database) as client:
        yield client
