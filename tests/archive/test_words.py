"""The words of rows leave the index of the search with them, and come back with them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.archive.aged import Connection, age, make_sessions, open_client
from tests.resident.conftest import wait_until

from session_continuity import NewCommand, SessionContinuity
from session_continuity.archive.archiving import run_archive
from session_continuity.archive.restoring import restore_archive
from session_continuity.domain.archives import list_archives
from session_continuity.postgres.row_streams import RowStreams

ORPHANS = """SELECT count(*) FROM search_documents d
    WHERE d.kind = 'event' AND NOT EXISTS (
        SELECT FROM event_store e WHERE (e.instance_id, e.sequence_num) = (d.instance_id, d.reference))
    OR d.kind = 'command' AND NOT EXISTS (SELECT FROM command_log c WHERE c.id = d.reference)
    OR d.kind = 'checkpoint' AND NOT EXISTS (
        SELECT FROM checkpoints k WHERE (k.instance_id, k.sequence_num) = (d.instance_id, d.reference))"""
WAITING = """SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'"""
DOCUMENTS = "SELECT kind, instance_id, reference, is_final, words::text FROM search_documents ORDER BY 1, 2, 3"


@pytest.fixture
def client(database: str, tmp_path: Path) -> Iterator[SessionContinuity]:
    with open_client(database, tmp_path) as client:
        yield client


def index(client: SessionContinuity) -> None:
    while client.index_records(all_sessions=True).more:
        pass


def asked(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    return connection.execute(query.encode()).fetchall()


def test_no_word_of_an_archived_row_stays(client: SessionContinuity, connection: Connection) -> None:
    make_sessions(client)
    index(client)
    age(connection)
    assert asked(connection, ORPHANS) == [(0,)]
    assert client.search_records("needle1", kinds=["event"]) != []
    report = run_archive(client)
    assert report.rows > 300
    assert asked(connection, ORPHANS) == [(0,)]
    assert asked(connection, "SELECT count(*) FROM search_documents WHERE kind = 'command'") > [(0,)]
    index(client)
    assert asked(connection, ORPHANS) == [(0,)]


def test_what_is_not_deleted_keeps_its_words(
    client: SessionContinuity, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words go in the transaction in which their rows go."""
    make_sessions(client, 1)
    index(client)
    age(connection)
    before = asked(connection, DOCUMENTS)
    monkeypatch.setattr(RowStreams, "copy_out", changing(connection))
    run_archive(client, most_archives=1)
    assert [row[:3] for row in asked(connection, DOCUMENTS)] == [row[:3] for row in before]


def changing(connection: Connection) -> Any:
    """Changes every row when it was copied."""
    copy_out = RowStreams.copy_out

    def copy(*asked: Any) -> Any:
        yield from copy_out(*asked)
        connection.execute("UPDATE event_store SET metadata = '{\"seen\": 1}' WHERE metadata = '{}'")
        connection.execute("UPDATE command_log SET tags = '{seen}' WHERE tags <> '{seen}'")
        connection.execute("UPDATE checkpoints SET metadata = '{\"seen\": 1}' WHERE metadata = '{}'")

    return copy


def test_restored_rows_are_found_again(client: SessionContinuity, connection: Connection) -> None:
    one, *_ = make_sessions(client)
    client.record_command(one, NewCommand(command_type="tool", action="grep straw", outcome="success"))
    client.record_commands(
        one, [NewCommand(command_type="tool", action="ls", outcome="success") for _ in range(1_000)]
    )
    index(client)
    age(connection)
    before = asked(connection, DOCUMENTS)
    run_archive(client)
    newer = make_sessions(client, 1, project="bank")
    index(client)
    assert client.search_records("straw") == []
    (archive,) = client.run(list_archives())
    restore_archive(client, archive, instance_id=one)
    index(client)
    assert len(client.search_records("straw", kinds=["command"])) == 1
    restore_archive(client, archive)
    index(client)
    after = [row for row in asked(connection, DOCUMENTS) if row[1] not in newer]
    assert after == before


def test_a_batch_of_the_index_that_began_before_a_restore_leaves_the_cursor_where_it_is_now(
    client: SessionContinuity, connection: Connection, database: str
) -> None:
    """Else it moved on from where it was, and what is restored below that would be missed."""
    (session,) = make_sessions(client, 1)
    index(client)
    client.append_event(session, "note_recorded", {"kind": "x", "text": "one more"})
    batch = threading.Thread(target=client.index_records, kwargs={"all_sessions": True})
    with psycopg.connect(database) as restoring:
        restoring.execute("UPDATE search_cursors SET sequence_num = 0 WHERE instance_id = %s", (session,))
        batch.start()
        wait_until(lambda: asked(connection, WAITING) == [(1,)])
        restoring.commit()
    batch.join()
    assert asked(connection, "SELECT sequence_num FROM search_cursors") == [(0,)]
    index(client)
    assert client.search_records("one more") != []
