"""The timeline: events, commands and checkpoints merged by time, page by page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.client.records import new_session, note

from session_continuity import InvalidInput, NewCommand, NotFound, SessionContinuity, TimelineEntry

START = datetime(2026, 1, 1, tzinfo=UTC)
RANK = {"event": 1, "command": 2, "checkpoint": 3}
entries = st.lists(st.tuples(st.sampled_from(list(RANK)), st.integers(0, 4)), max_size=15)


def pages(client: SessionContinuity, session: str, size: int) -> list[TimelineEntry]:
    found: list[TimelineEntry] = []
    cursor = None
    while page := client.get_timeline(session, after=cursor, limit=size):
        assert len(page) <= size
        found += page
        cursor = page[-1].cursor
    return found


def order(entry: TimelineEntry) -> tuple[Any, ...]:
    return entry.at, RANK[entry.kind], entry.reference


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=entries, size=st.integers(1, 20))
def test_pages_of_any_size_make_the_whole_sorted_timeline(
    client: SessionContinuity, made: list[tuple[str, int]], size: int
) -> None:
    session = new_session(client, started_at=START)
    for kind, minute in made:
        at = START + timedelta(minutes=minute)
        if kind == "event":
            client.append_event(session, "note_recorded", {"text": "x"}, timestamp=at)
        elif kind == "command":
            client.record_command(session, NewCommand(command_type="tool", action="Bash", started_at=at))
        else:
            client.take_checkpoint(session, timestamp=at)
    whole = client.get_timeline(session, limit=10_000)
    assert pages(client, session, size) == whole
    assert whole == sorted(whole, key=order)
    assert len({(entry.kind, entry.reference) for entry in whole}) == len(whole)
    checkpoints = sum(kind == "checkpoint" for kind, _ in made)
    assert sorted(entry.kind for entry in whole) == sorted(
        ["event", *(kind for kind, _ in made), *["event"] * checkpoints]
    )


def test_every_row_is_told_with_what_it_says(client: SessionContinuity) -> None:
    session = new_session(client, started_at=START)
    client.append_event(session, "note_recorded", {"text": "x"}, timestamp=START + timedelta(minutes=1))
    command = client.record_command(
        session,
        NewCommand(
            command_type="tool",
            action="Bash",
            parameters={"command": "ls"},
            started_at=START + timedelta(minutes=2),
        ),
    )
    client.take_checkpoint(session, context_window_percent=81, timestamp=START + timedelta(minutes=3))
    told = client.get_timeline(session)
    assert [(entry.kind, entry.name, entry.reference) for entry in told] == [
        ("event", "instance_registered", 1),
        ("event", "note_recorded", 2),
        ("command", "Bash", command.id),
        ("event", "checkpoint_created", 3),
        ("checkpoint", "manual", 3),
    ]
    assert told[1].detail == {"text": "x"}
    assert (told[2].detail, told[2].outcome) == ({"command": "ls"}, None)
    assert told[4].context_window_percent == 81


def test_rows_of_one_transaction_have_one_time_and_are_all_told(client: SessionContinuity, database: str) -> None:
    session = new_session(client)
    client.append_events(session, [note(str(n)) for n in range(40)])
    with psycopg.connect(database) as connection:
        for _ in range(10):
            connection.execute(
                "INSERT INTO event_store (instance_id, event_type) VALUES (%s, 'test_passed')", (session,)
            )
            connection.execute(
                "INSERT INTO command_log (instance_id, command_type, action) VALUES (%s, 'tool', 'Bash')",
                (session,),
            )
    for size in (1, 7, 60):
        told = pages(client, session, size)
        assert len(told) == len(set(map(order, told))) == 61


def test_imported_events_stand_where_they_happened(client: SessionContinuity) -> None:
    session = new_session(client)
    client.append_event(session, "note_recorded", {"text": "imported"}, timestamp=datetime(1999, 1, 1, tzinfo=UTC))
    client.append_event(session, "note_recorded", {"text": "to come"}, timestamp=datetime(2999, 1, 1, tzinfo=UTC))
    assert [entry.reference for entry in pages(client, session, 1)] == [2, 1, 3]


def test_a_timeline_of_nothing_is_not_found_and_a_bad_cursor_is_refused(client: SessionContinuity) -> None:
    with pytest.raises(NotFound):
        client.get_timeline("demo-PS-zzzzzz")
    session = new_session(client)
    for cursor in (
        "",
        "x",
        "1,2,3",
        "2026-01-01,1,1",
        "2026-01-01T00:00:00+00:00,x,1",
        "2026-01-01T00:00:00+00:00,1",
    ):
        with pytest.raises(InvalidInput) as refused:
            client.get_timeline(session, after=cursor)
        assert refused.value.stable_code == "cursor"
    for limit in (0, -1, 10_001):
        with pytest.raises(InvalidInput):
            client.get_timeline(session, limit=limit)


def test_the_reports_own_join_multiplies_what_the_merge_tells_once(
    client: SessionContinuity, database: str
) -> None:
    """Control: joined on instance_id alone, 11 events and 10 commands are 110 rows."""
    session = new_session(client)
    client.append_events(session, [note(str(n)) for n in range(10)])
    client.record_commands(session, [NewCommand(command_type="tool", action="Bash") for _ in range(10)])
    with psycopg.connect(database) as connection:
        row = connection.execute(
            "SELECT count(*) FROM event_store e JOIN command_log c USING (instance_id) WHERE instance_id = %s",
            (session,),
        ).fetchone()
    assert row == (110,)
    assert len(client.get_timeline(session)) == 21
