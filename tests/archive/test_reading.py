"""Searching archives: the values as they were recorded, in all archives that can be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.archive.aged import HOSTILE, Connection, age, make_sessions, open_client

from session_continuity import SessionContinuity
from session_continuity.archive.archiving import run_archive
from session_continuity.archive.reading import search_archives
from session_continuity.cli.app import run
from session_continuity.domain.archives import list_archives


@pytest.fixture(params=["parquet", "json-lines"])
def client(
    request: pytest.FixtureRequest, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SessionContinuity]:
    monkeypatch.setenv("CONTINUITY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CONTINUITY_DSN", database)
    with open_client(database, tmp_path / "home", archive_format=request.param) as client:
        yield client


def references(client: SessionContinuity, text: str) -> list[tuple[str, int]]:
    found = search_archives(client, client.run(list_archives()), text).found
    return [(one.kind, one.reference) for one in found]


@pytest.mark.parametrize(
    "text",
    [
        HOSTILE,
        'said "no rule to make"',
        "C:\\Users\\agent",
        "first line\nsecond",
        "Which database?",
        "GRÜSSE",
        "0.375",
    ],
)
def test_a_text_is_found_as_it_was_recorded(client: SessionContinuity, connection: Connection, text: str) -> None:
    (session,) = make_sessions(client, 1, events=1)
    said = client.append_event(
        session,
        "note_recorded",
        {
            "kind": "note",
            "text": 'it said "no rule to make" in C:\\Users\\agent\nfirst line\nsecond line; grüße',
            "answers": {"Which database?": ["PostgreSQL", {"share": 0.375}]},
        },
    )
    client.take_checkpoint(session)
    age(connection)
    run_archive(client)
    wanted = ("events", 2 if text is HOSTILE else said.sequence_nums[0])
    assert wanted in references(client, text)


@pytest.mark.parametrize("name", ["owner_epoch", "event_data", "sequence_num", "true", "null"])
def test_the_name_of_a_field_is_no_text(client: SessionContinuity, connection: Connection, name: str) -> None:
    make_sessions(client, 1)
    age(connection)
    run_archive(client)
    assert references(client, name) == []


@pytest.mark.parametrize("damage", ["missing", "cut", "no folder"])
def test_an_archive_that_cannot_be_read_hides_no_other(
    client: SessionContinuity,
    connection: Connection,
    capsys: pytest.CaptureFixture[str],
    damage: str,
) -> None:
    for project in ("shop", "bank"):
        make_sessions(client, 1, project=project)
    age(connection)
    run_archive(client)
    whole, bad = client.run(list_archives())
    (file,) = (client.settings.home / "archive" / bad.archive_id).glob("events-*")
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:100])
    else:
        (file if damage == "missing" else file.parent).rename(client.settings.home / "away")
    searched = search_archives(client, [bad, whole], "needle0")
    assert {one.archive_id for one in searched.found} == {whole.archive_id}
    (problem,) = searched.unread
    assert bad.archive_id in problem
    assert run(["archive", "search", "needle0"]) == 1
    told = capsys.readouterr()
    assert "needle0" in told.out
    assert bad.archive_id in told.err.splitlines()[-1]
