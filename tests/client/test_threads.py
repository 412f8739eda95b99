"""Resume, rewind and fork: who is meant, what the successor starts from, and that only one takes over."""

from __future__ import annotations

from typing import Any

import pytest
from tests.client.records import contents, is_whole, new_session, note, together

from session_continuity import (
    Ambiguous,
    Conflict,
    Continued,
    Fenced,
    InvalidInput,
    NewCommand,
    NotFound,
    OperationConflict,
    Origin,
    SessionContinuity,
)
from session_continuity.domain.identity import new_operation_id
from session_continuity.domain.work_state import canonical


def worked(client: SessionContinuity, notes: int = 5, **options: Any) -> str:
    session = new_session(client, origin=Origin(cwd="/src", git_branch="main", git_head="a1"), **options)
    client.append_event(session, "prompt_submitted", {"text": "build it"})
    client.append_events(session, [note(str(n)) for n in range(notes)])
    return session


def successor_of(continued: Continued) -> str:
    assert continued.successor is not None
    return continued.successor.instance_id


def agrees(client: SessionContinuity, session: str) -> bool:
    last = client.get_session(session).last_sequence_num
    return all(
        canonical(client.recover_state(session, until=until).work_state)
        == canonical(client.replay_events(session, until=until).work_state)
        for until in range(1, last + 1)
    )


def test_a_successor_goes_on_with_everything_its_predecessor_knew(client: SessionContinuity) -> None:
    session = worked(client)
    known = client.recover_state(session).work_state
    continued = client.resume_session(session, origin=Origin(git_head="b2", host="laptop"))
    successor = continued.successor
    assert successor is not None
    assert (successor.relation, successor.parent_instance_id) == ("resumed_from", session)
    assert (successor.owner_epoch, successor.parent_sequence_num) == (2, 7)
    assert (successor.cwd, successor.git_branch, successor.git_head) == ("/src", "main", "b2")
    assert successor.thread_id == continued.predecessor.thread_id
    state = client.recover_state(successor.instance_id).work_state
    assert state["objective"] == known["objective"]
    assert state["notes"] == known["notes"]
    assert state["workspace"] is not None
    assert state["workspace"]["head"] == "b2"
    old = client.get_session(session)
    assert (old.status, old.superseded_by) == ("closed", successor.instance_id)
    assert agrees(client, successor.instance_id)


def test_what_a_preview_shows_is_what_the_resume_finds_and_changes_nothing(
    client: SessionContinuity, database: str
) -> None:
    session = worked(client)
    client.take_checkpoint(session)
    client.append_event(session, "note_recorded", {"text": "after"})
    before = contents(database)
    preview = client.preview_continuation(session)
    assert contents(database) == before
    assert preview.successor is None
    continued = client.resume_session(session)
    assert continued.recovery == preview.recovery
    assert continued.lineage == preview.lineage == (session,)


def test_states_agree_over_a_long_lineage_of_resumes_forks_and_rewinds(client: SessionContinuity) -> None:
    line = [worked(client)]
    for turn in range(6):
        if turn % 2:
            client.take_checkpoint(line[-1])
        client.append_events(line[-1], [note(f"turn {turn}-{n}") for n in range(3)])
        last = client.get_session(line[-1]).last_sequence_num
        continued = [
            lambda: client.resume_session(line[-1]),
            lambda last=last: client.rewind_session(line[-1], last - 2),
            lambda last=last: client.fork_session(line[-1], sequence_num=last - 1),
        ][turn % 3]()
        line.append(successor_of(continued))
    for session in line:
        assert agrees(client, session)
        assert is_whole(client, session)
    assert client.preview_continuation(line[-1]).lineage == tuple(reversed(line))


def test_a_rewind_goes_on_from_the_chosen_event_and_deletes_nothing(
    client: SessionContinuity, database: str
) -> None:
    session = worked(client, notes=8)
    client.take_checkpoint(session)
    at_five = client.replay_events(session, until=5).work_state
    events = client.read_events(session)
    continued = client.rewind_session(session, 5)
    assert canonical(continued.recovery.work_state) == canonical(at_five)
    state = client.recover_state(successor_of(continued)).work_state
    assert [entry["text"] for entry in state["notes"]] == ["0", "1", "2"]
    assert client.read_events(session) == events
    with pytest.raises(Fenced):
        client.append_event(session, "note_recorded", {"text": "late"})


@pytest.mark.parametrize("wrong", [0, -1, 8, 10**6])
def test_there_is_no_way_back_to_an_event_that_is_not_there(
    client: SessionContinuity, database: str, wrong: int
) -> None:
    session = worked(client)
    before = contents(database)
    for call in (client.rewind_session, lambda s, n: client.fork_session(s, sequence_num=n)):
        with pytest.raises(InvalidInput) as refused:
            call(session, wrong)
        assert refused.value.stable_code == "sequence_num_range"
    assert contents(database) == before


def test_a_superseded_session_can_be_forked_but_not_resumed(client: SessionContinuity) -> None:
    session = worked(client)
    successor = successor_of(client.resume_session(session))
    for call in (client.resume_session, client.preview_continuation, lambda s: client.rewind_session(s, 2)):
        with pytest.raises(Conflict) as refused:
            call(session)
        assert refused.value.stable_code == "superseded"
        assert refused.value.details["successor"] == successor
    assert agrees(client, successor_of(client.fork_session(session)))


@pytest.mark.parametrize("how", ["resume_session", "fork_session"])
def test_the_same_operation_gives_the_same_answer(client: SessionContinuity, how: str) -> None:
    session = worked(client)
    call = getattr(client, how)
    first = call(session, operation="op")
    client.append_event(successor_of(first), "note_recorded", {"text": "more"})
    again = call(session, operation="op")
    assert again.successor.instance_id == first.successor.instance_id
    assert again.recovery == first.recovery
    assert len(client.find_sessions()) == 2


def test_the_same_operation_for_something_else_is_a_conflict(client: SessionContinuity) -> None:
    session = worked(client)
    client.append_event(session, "note_recorded", {"text": "an event"}, operation="event")
    with pytest.raises(OperationConflict):
        client.resume_session(session, operation="event")
    client.fork_session(session, sequence_num=3, operation="fork")
    with pytest.raises(OperationConflict):
        client.fork_session(session, sequence_num=4, operation="fork")
    with pytest.raises(OperationConflict):
        client.resume_session(session, operation="fork")
    assert client.get_session(session).superseded_by is None


def test_a_taken_successor_id_is_refused_and_nothing_is_fenced(client: SessionContinuity) -> None:
    session, other = worked(client), new_session(client)
    with pytest.raises(Conflict) as refused:
        client.resume_session(session, successor_id=other)
    assert refused.value.stable_code == "instance_id_taken"
    client.append_event(session, "note_recorded", {"text": "still the owner"})


def test_of_sixteen_resumes_at_once_exactly_one_wins(client: SessionContinuity) -> None:
    for _ in range(5):
        session = worked(client)
        answers = together([lambda: client.resume_session(session)] * 16)  # noqa: B023
        won = [answer for answer in answers if isinstance(answer, Continued)]
        lost = [answer for answer in answers if isinstance(answer, Conflict)]
        assert (len(won), len(lost)) == (1, 15), answers
        assert {answer.details["successor"] for answer in lost} == {successor_of(won[0])}
        owners = [
            s for s in client.find_sessions(thread_id=won[0].predecessor.thread_id) if s.superseded_by is None
        ]
        assert [owner.instance_id for owner in owners] == [successor_of(won[0])]


def test_sixteen_retries_of_one_resume_at_once_make_one_successor(client: SessionContinuity) -> None:
    session, operation = worked(client), new_operation_id()
    answers = together([lambda: client.resume_session(session, operation=operation)] * 16)
    assert len({successor_of(answer) for answer in answers if isinstance(answer, Continued)}) == 1
    assert all(isinstance(answer, Continued) for answer in answers), answers
    assert len(client.find_sessions()) == 2


def test_commands_without_an_outcome_are_settled_as_unknown(client: SessionContinuity) -> None:
    session = worked(client)
    for number in range(3):
        client.record_command(session, NewCommand(command_type="tool", action="Bash", tool_call_id=str(number)))
    client.record_outcome(session, tool_call_id="1", outcome="failure", error_message="exit 1")
    commands = client.resume_session(session).commands
    assert [command.tool_call_id for command in commands.unknown_outcomes] == ["2", "0"]
    assert {command.outcome for command in commands.unknown_outcomes} == {"unknown"}
    assert [command.tool_call_id for command in commands.failed] == ["1"]
    late = client.record_outcome(session, tool_call_id="2", outcome="success")
    assert (late.outcome, late.late) == ("success", True)


def test_a_session_is_found_by_what_a_person_calls_it(client: SessionContinuity) -> None:
    one = worked(client, project="shop", current_epic="EPIC-7")
    two = worked(client, project="blog")
    assert client.find_resumable(one).instance_id == one
    assert client.find_resumable(one[-6:]).instance_id == one
    assert client.find_resumable("EPIC-7").instance_id == one
    assert client.find_resumable("blog").instance_id == two
    assert client.find_resumable("last").instance_id == two
    assert client.find_resumable("last", project="shop").instance_id == one
    client.send_heartbeat(one)
    assert client.find_resumable("last").instance_id == one
    successor = successor_of(client.resume_session(one))
    assert client.find_resumable(one).instance_id == successor
    assert client.find_resumable(one[-6:]).instance_id == successor
    with pytest.raises(NotFound):
        client.find_resumable("nobody")


def test_a_name_that_fits_several_lists_them_and_guesses_none(client: SessionContinuity) -> None:
    sessions = {worked(client, project="shop", current_epic="EPIC-7") for _ in range(3)}
    for name in ("shop", "EPIC-7"):
        with pytest.raises(Ambiguous) as refused:
            client.find_resumable(name)
        assert set(refused.value.details["matches"]) == sessions
    closed = sorted(sessions)[:2]
    for session in closed:
        client.close_session(session)
    assert client.find_resumable("shop").instance_id in sessions - set(closed)
