"""R10: from the moment a resume returns, no write of an older epoch is accepted.

CONTINUITY_ZOMBIES of them try.
"""

from __future__ import annotations

import os

import pytest
from tests.client.records import is_whole, new_session
from tests.client.zombies import WRITES, accepted_by_reading_first, accepted_of

from session_continuity import Fenced, NewCommand, SessionContinuity
from session_continuity.postgres.statements import statements

ZOMBIES = int(os.environ.get("CONTINUITY_ZOMBIES", 60))


def test_no_write_of_a_zombie_is_accepted(client: SessionContinuity, database: str) -> None:
    figures = accepted_of(client, database, ZOMBIES)
    assert figures.accepted == []
    assert figures.blocked >= ZOMBIES // 3
    assert set(figures.tried) == set(WRITES)


def test_reading_the_epoch_first_would_accept_zombies(client: SessionContinuity, database: str) -> None:
    """Control: read the epoch, then insert. Every zombie that is paused between the two gets through."""
    assert accepted_by_reading_first(client, database, 20) == 20


def test_without_its_condition_and_its_trigger_the_fence_lets_zombies_through(
    client: SessionContinuity, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: the same harness on statements without the fence."""
    import psycopg

    for name in ("append_event", "append_events", "take_checkpoint"):
        monkeypatch.setitem(statements(), name, statements()[name].replace("AND superseded_by IS NULL", ""))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ALTER TABLE supervisor_sessions DISABLE TRIGGER refuse_fenced_heartbeat")
    assert len(accepted_of(client, database, 24).accepted) > 0


def test_the_loser_is_told_who_took_over(client: SessionContinuity) -> None:
    session = new_session(client)
    successor = client.resume_session(session).successor
    assert successor is not None
    for write in ("append_event", "take_checkpoint", "send_heartbeat", "close_session"):
        with pytest.raises(Fenced) as fenced:
            WRITES[write](client, session)
        assert fenced.value.stable_code == "fenced"
        assert fenced.value.details == {
            "instance_id": session,
            "epoch": 1,
            "successor": successor.instance_id,
            "owner_epoch": 2,
        }
    assert is_whole(client, session)


def test_a_whole_line_of_predecessors_stays_fenced(client: SessionContinuity) -> None:
    line = [new_session(client)]
    for epoch in range(2, 7):
        successor = client.resume_session(line[-1]).successor
        assert successor is not None
        assert successor.owner_epoch == epoch
        line.append(successor.instance_id)
    for old in line[:-1]:
        for write in ("append_event", "append_events", "take_checkpoint", "send_heartbeat", "close_session"):
            with pytest.raises(Fenced):
                WRITES[write](client, old)
    assert client.send_heartbeats(line) == [line[-1]]
    client.append_event(line[-1], "note_recorded", {"text": "the owner"})


def test_a_fork_fences_nobody(client: SessionContinuity) -> None:
    session = new_session(client)
    fork = client.fork_session(session).successor
    assert fork is not None
    for write in WRITES:
        if write != "close_session":
            WRITES[write](client, session)
            WRITES[write](client, fork.instance_id)
    assert fork.thread_id != client.get_session(session).thread_id


def test_late_commands_of_a_zombie_are_kept_and_marked(client: SessionContinuity) -> None:
    session = new_session(client)
    begun = client.record_command(session, NewCommand(command_type="tool", action="Bash", tool_call_id="1"))
    client.resume_session(session)
    late = client.record_command(session, NewCommand(command_type="tool", action="Edit", outcome="success"))
    ended = client.record_outcome(session, tool_call_id="1", outcome="success")
    assert (begun.late, late.late, ended.late) == (False, True, True)
    assert ended.id == begun.id
