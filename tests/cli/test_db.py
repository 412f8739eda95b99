"""The database's commands."""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from .conftest import Continuity


def test_status_shows_the_migrations(continuity: Continuity) -> None:
    status = continuity("db", "status", "--json").document
    assert (status["server"], status["state"], status["is_current"]) == ("dsn", "running", True)
    assert {each["state"] for each in status["migrations"]} == {"applied"}
    assert "session_registry" in continuity("db", "status").out


def test_status_of_nothing_starts_nothing(offline: Continuity, home: Path) -> None:
    status = offline("db", "status", "--json").document
    assert (status["server"], status["state"], status["migrations"]) == ("embedded", "absent", [])
    assert not home.exists()
    assert offline("db", "stop", "--json").document == {"stopped": False}


def test_upgrade_applies_what_is_pending_once(offline: Continuity, empty_database: str) -> None:
    first = offline("--dsn", empty_database, "db", "upgrade", "--json").document["applied"]
    assert first[0] == {"version": "1769700000000", "name": "session_registry"}
    again = offline("--dsn", empty_database, "db", "upgrade")
    assert (again.code, again.out, again.err) == (0, "", "everything is applied already\n")


def test_downgrade_shows_its_plan_and_needs_a_word(continuity: Continuity, session: str) -> None:
    planned = continuity("db", "downgrade", "--to", "threads")
    assert planned.code == 2
    assert [line.split()[1] for line in planned.out.splitlines()[1:]][-1] == "tombstones"
    assert "--yes" in planned.err
    document = continuity("db", "downgrade", "--to", "threads", "--json")
    assert (document.code, document.document["error"]) == (2, "not_confirmed")
    assert [each["name"] for each in document.document["plan"]][-1] == "tombstones"
    assert continuity("db", "status", "--json").document["is_current"] is True
    undone = continuity("db", "downgrade", "--to", "threads", "--yes", "--json").document["undone"]
    assert undone == document.document["plan"]
    assert continuity("db", "status", "--json").document["is_current"] is False
    assert continuity("db", "upgrade").code == 0
    assert continuity("sessions", "show", session).code == 0


@pytest.mark.parametrize(("typed", "undone"), [("y\n", True), ("n\n", False), ("", False)])
def test_downgrade_asks_on_a_terminal(
    continuity: Continuity, monkeypatch: pytest.MonkeyPatch, typed: str, undone: bool
) -> None:
    monkeypatch.setattr("session_continuity.cli.confirmation.is_terminal", lambda _: True)
    answer = continuity("db", "downgrade", "--to", "threads", stdin=typed)
    assert answer.code == (0 if undone else 2)
    assert continuity("db", "status", "--json").document["is_current"] is not undone


def test_verify_holds_and_fails_when_something_is_gone(continuity: Continuity, database: str) -> None:
    good = continuity("db", "verify", "--json")
    failed = [
        each
        for part in good.document.values()
        if isinstance(part, list)
        for each in part
        if not each.get("passed", True)
    ]
    assert (good.code, failed) == (0, []), failed
    assert continuity("db", "verify").out.count("FAILED") == 0
    with psycopg.connect(database) as connection:
        connection.execute("DROP TABLE checkpoints CASCADE")
    bad = continuity("db", "verify", "--json")
    assert (bad.code, bad.document["passed"]) == (1, False)
    assert "FAILED" in continuity("db", "verify").out


def test_the_url_connects(continuity: Continuity) -> None:
    url = continuity("db", "url").out.strip()
    assert url == continuity("db", "url", "--json").document["url"]
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_deploy_sets_up_a_server_and_keeps_what_is_there(
    offline: Continuity, empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "deployed_by_cli"
    deploy = (
        "--dsn",
        empty_database,
        "db",
        "deploy",
        "--database",
        name,
        "--role",
        "deployed_role",
        "--password-stdin",
        "--json",
    )
    try:
        first = offline(*deploy, stdin="s3cret word\n")
        assert (first.code, first.document["changed"]) == (0, True), first
        assert "s3cret" not in first.out + first.err
        assert offline(*deploy, stdin="s3cret word\n").code == 0
    finally:
        with psycopg.connect(empty_database, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            connection.execute("DROP ROLE IF EXISTS deployed_role")


def test_deploy_wants_an_administrator(offline: Continuity) -> None:
    answer = offline("db", "deploy", "--json")
    assert (answer.code, answer.document["error"]) == (2, "usage")


@pytest.fixture
def reachable_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder that the unprivileged user of root's server can reach."""
    folder = Path(tempfile.mkdtemp(prefix="continuity-", dir="/tmp"))
    folder.chmod(0o755)
    monkeypatch.setenv("CONTINUITY_HOME", str(folder))
    yield folder
    shutil.rmtree(folder)


def test_the_embedded_server_is_started_used_and_stopped(process: Continuity, reachable_home: Path) -> None:
    try:
        made = process("sessions", "register", "p", "--json")
        assert made.code == 0, made
        assert process("db", "status", "--json").document["state"] == "running"
        assert [row["project"] for row in process("sessions", "list", "--json").document] == ["p"]
    finally:
        stopped = process("db", "stop", "--json")
    assert stopped.document == {"stopped": True}
    assert process("db", "status", "--json").document["state"] == "stopped"


def test_standard_input_is_left_alone_by_commands_that_need_none(
    continuity: Continuity, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert continuity("sessions", "list", stdin=b"\xff").code == 0
    assert isinstance(sys.stdin, io.TextIOWrapper)
    assert sys.stdin.buffer.read() == b"\xff"
