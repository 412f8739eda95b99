"""Behind a PgBouncer in transaction mode, nothing may stay with a connection from one transaction to the next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.archive.aged import Connection, age, make_sessions, open_client, rows

from session_continuity.archive.archiving import run_archive
from session_continuity.archive.restoring import restore_archive
from session_continuity.domain.archives import list_archives
from session_continuity.postgres import row_streams
from session_continuity.postgres.row_streams import RowStreams

KEPT = """SELECT (SELECT count(*) FROM pg_prepared_statements), current_setting('TimeZone'),
    current_setting('DateStyle')"""
ELSEWHERE = ("Asia/Tokyo", "SQL, DMY")


def test_bulk_work_leaves_nothing_with_its_connection(
    database: str, connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transaction = RowStreams.transaction
    kept = list[tuple[Any, ...]]()

    @contextmanager
    def watched(streams: RowStreams, **options: Any) -> Iterator[None]:
        connected: Connection = getattr(streams, "_connection")  # noqa: B009
        connected.execute("SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'SQL, DMY'")  # as a pooler might give it
        with transaction(streams, **options):
            yield
        kept.extend(connected.execute(KEPT).fetchall())

    with open_client(database, tmp_path, prepared_statements=False) as client:
        make_sessions(client)
        age(connection)
        before = rows(connection)
        monkeypatch.setattr(RowStreams, "transaction", watched)
        monkeypatch.setattr(row_streams, "BATCH_ROWS", 20)
        run_archive(client)
        for archive in client.run(list_archives()):
            restore_archive(client, archive)
        assert len(kept) > 15
        assert set(kept) == {(0, *ELSEWHERE)}
        assert rows(connection) == before
