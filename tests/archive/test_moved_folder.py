"""Archives are found where they lie: in a folder that was moved, and on a machine that got another name."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.archive.aged import Connection, age, make_sessions, open_client, rows

from session_continuity import SessionContinuity
from session_continuity.archive.archiving import run_archive
from session_continuity.archive.erasing import erase_archived
from session_continuity.archive.reading import search_archives, verify_archives
from session_continuity.archive.restoring import restore_archive
from session_continuity.cli.app import run
from session_continuity.domain.archives import list_archives
from session_continuity.domain.errors import Refused


@pytest.fixture(params=["renamed host", "moved home"])
def moved(
    request: pytest.FixtureRequest,
    database: str,
    connection: Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[SessionContinuity, list[str], dict[str, dict[str, bytes]]]]:
    """A client after the move of an archive, its sessions, and the rows that there were before."""
    with open_client(database, tmp_path / "home") as client:
        sessions = make_sessions(client)
        age(connection)
        before = rows(connection)
        run_archive(client)
    home = tmp_path / "home"
    if request.param == "moved home":
        home = home.rename(tmp_path / "elsewhere")
    else:
        monkeypatch.setattr(socket, "gethostname", lambda: "4f1c0ffee123")
    with open_client(database, home) as client:
        yield client, sessions, before


def test_a_moved_archive_is_verified_searched_and_restored(
    moved: tuple[SessionContinuity, list[str], dict[str, dict[str, bytes]]], connection: Connection
) -> None:
    client, _, before = moved
    (archive,) = client.run(list_archives())
    (verified,) = verify_archives(client)
    assert (verified.archive_id, verified.problems) == (archive.archive_id, ())
    searched = search_archives(client, [archive], "needle0")
    assert (len(searched.found) > 0, searched.unread, searched.elsewhere) == (True, (), {})
    restore_archive(client, archive)
    assert rows(connection) == before


def test_forgetting_and_deletion_by_age_reach_a_moved_archive(
    moved: tuple[SessionContinuity, list[str], dict[str, dict[str, bytes]]], connection: Connection
) -> None:
    client, (gone, *_), _ = moved
    (archive,) = client.run(list_archives())
    forgotten = client.forget_session(gone)
    erased = erase_archived(client, forgotten.instance_ids)
    assert (erased.archives, erased.elsewhere) == ((archive.archive_id,), ())
    connection.execute("UPDATE archives SET created_at = created_at - interval '400 days'")
    assert run_archive(client).deleted == [archive.archive_id]
    assert not (client.settings.home / "archive" / archive.archive_id).exists()


def test_what_lies_elsewhere_is_named(
    database: str,
    connection: Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with open_client(database, tmp_path / "home") as client:
        make_sessions(client)
        age(connection)
        run_archive(client)
    monkeypatch.setenv("CONTINUITY_HOME", str(tmp_path / "other"))
    monkeypatch.setenv("CONTINUITY_DSN", database)
    assert run(["archive", "search", "needle0"]) == 0
    told = capsys.readouterr()
    assert "not searched: 1 of the archives, on " in told.err
    assert str(tmp_path / "home" / "archive") in told.err
    with open_client(database, tmp_path / "other") as other:
        (archive,) = other.run(list_archives())
        assert verify_archives(other) == []
        with pytest.raises(Refused, match="restore it there"):
            restore_archive(other, archive)
