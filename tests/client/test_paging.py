"""Pages of every list, put together, are the whole list, also where many rows have the same time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from session_continuity import InvalidInput, NewCommand, NewEvent, SessionContinuity

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture
def session(client: SessionContinuity) -> str:
    sessions = [client.register_session("pages", started_at=AT).instance_id for _ in range(7)]
    for instance_id in sessions:
        client.take_checkpoint(instance_id, timestamp=AT)
    client.append_events(sessions[0], [NewEvent(event_type="note_recorded", timestamp=AT) for _ in range(7)])
    client.record_commands(
        sessions[0],
        [NewCommand(command_type="t", action=f"a{n}", outcome="failure", started_at=AT) for n in range(7)],
    )
    return sessions[0]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
def test_no_row_is_lost_between_pages(client: SessionContinuity, session: str, limit: int) -> None:
    lists = [
        (client.find_sessions, {"project": "pages"}, lambda row: (row.last_heartbeat, row.instance_id)),
        (client.find_events, {"event_type": "note_recorded"}, lambda row: (row.timestamp, row.event_id)),
        (client.search_commands, {"instance_id": session}, lambda row: (row.created_at, row.id)),
        (client.search_commands, {"outcome": "failure"}, lambda row: (row.created_at, row.id)),
        (client.list_checkpoints, {}, lambda row: (row.created_at, row.checkpoint_id)),
    ]
    for find, chosen, place in lists:
        found, before = [], None
        while page := find(**chosen, before=before, limit=limit):
            found += [place(row) for row in page]
            before = place(page[-1])
        assert len(found) == len(set(found)) == 7
        assert found == sorted(found, reverse=True)


def test_before_a_time_alone_leaves_the_rows_of_that_time_out(client: SessionContinuity, session: str) -> None:
    assert client.search_commands(instance_id=session, before=AT) == []


def test_an_id_of_another_list_is_refused(client: SessionContinuity) -> None:
    with pytest.raises(InvalidInput) as refused:
        client.search_commands(before=(AT, "no number"))
    assert refused.value.stable_code == "before_id"


def test_a_list_as_of_a_time_holds_what_replay_as_of_it_folds(client: SessionContinuity) -> None:
    session = client.register_session("pages", started_at=AT).instance_id
    times = [1, 5, 3, 9]
    client.append_events(
        session,
        [NewEvent(event_type="note_recorded", timestamp=AT + timedelta(hours=hour)) for hour in times],
    )
    for hour, last in ((0, 1), (1, 2), (2, 2), (3, 4), (8, 4), (9, 5)):
        as_of = AT + timedelta(hours=hour)
        listed = client.read_events(session, as_of=as_of)
        assert [event.sequence_num for event in listed] == list(range(1, last + 1))
        assert client.replay_events(session, as_of=as_of).sequence_num == last
        assert client.recover_state(session, as_of=as_of).sequence_num == last
    assert client.read_events(session, as_of=AT - timedelta(seconds=1)) == []
