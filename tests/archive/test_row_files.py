"""What a format writes is read again as the very bytes of PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.archive.aged import Connection

from session_continuity.archive.row_files import format_named
from session_continuity.domain.operation import Statement
from session_continuity.postgres.row_kinds import EVENTS
from session_continuity.postgres.row_streams import open_row_streams

TIMES = (
    "0001-01-02 00:00:00.000001+00",
    "0999-12-31 23:59:59.999999+00",
    "1969-12-31 23:59:59.9+00",
    "1970-01-01 00:00:00+00",
    "2026-01-28 10:20:30+00",
    "2026-01-28 10:20:00.5+00",
    "2026-03-29 01:30:00.100000+00",
    "2026-11-30 20:00:00.000010+00",
    "9999-12-30 00:00:00+00",
)


@pytest.mark.parametrize("name", ["parquet", "json-lines"])
def test_every_time_comes_back_as_postgresql_writes_it(
    database: str, connection: Connection, tmp_path: Path, name: str
) -> None:
    session = "shop-PS-abc123"
    connection.execute(
        "INSERT INTO supervisor_sessions (instance_id, project, instance_type) VALUES (%s, 'shop', 'PS')",
        (session,),
    )
    connection.execute("ALTER TABLE event_store DROP CONSTRAINT event_store_time_range")
    for number, time in enumerate(TIMES, 1):
        connection.execute(
            "INSERT INTO event_store (instance_id, event_type, sequence_num, timestamp, created_at, owner_epoch)"
            " VALUES (%s, 'note_recorded', %s, %s, %s, 1)",
            (session, number, time, time),
        )
    form, path = format_named(name), str(tmp_path / "rows")
    keys = {"instance_ids": [session], "firsts": [1], "lasts": [len(TIMES)]}
    with open_row_streams(database, 20) as streams, form.write(path, EVENTS) as writer:
        (wire,) = streams.copy_out(Statement(EVENTS.stream, keys), form.wire)
        writer.add(form.parse(EVENTS, wire))
    (batch,) = form.read(path, EVENTS)
    assert batch.rows == len(TIMES)
    assert batch.wire == wire
