"""Exactly once and in order: the same operation id changes nothing and gets the first answer."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from tests.client.records import contents, is_whole, new_session, note, numbers, texts, together

from session_continuity import (
    Appended,
    Fenced,
    InvalidInput,
    NewEvent,
    NotFound,
    OperationConflict,
    SequenceConflict,
    SessionContinuity,
)
from session_continuity.domain.identity import new_operation_id

UNKNOWN = "demo-PS-zzzzzz"


def test_a_retry_gets_the_first_answer_and_changes_nothing(client: SessionContinuity, database: str) -> None:
    session = new_session(client)
    one = client.append_event(session, "note_recorded", {"text": "one"}, operation="op")
    many = client.append_events(session, [note("two"), note("three")], operation="ops")
    client.append_event(session, "note_recorded", {"text": "four"})
    before = contents(database)
    assert client.append_event(session, "note_recorded", {"text": "one"}, operation="op") == one
    assert client.append_events(session, [note("two"), note("three")], operation="ops") == many
    assert contents(database) == before
    assert (one.sequence_nums, many.sequence_nums) == ((2,), (3, 4))


@pytest.mark.parametrize(
    "other",
    [
        [note("two"), note("THREE")], [note("three"), note("two")], [note("two")],
        [note("two"), note("three"), note("four")],
        [note("two"), NewEvent(event_type="feature_requested", event_data={"text": "three"})],
        [note("two"), note("three", metadata={"by": "somebody"})],
    ],
    ids=["other data", "other order", "fewer", "more", "other type", "other metadata"],
)  # fmt: skip
def test_another_body_under_the_same_id_is_a_conflict(
    client: SessionContinuity, database: str, other: list[NewEvent]
) -> None:
    session = new_session(client)
    client.append_events(session, [note("two"), note("three")], operation="ops")
    before = contents(database)
    with pytest.raises(OperationConflict) as refused:
        client.append_events(session, other, operation="ops")
    assert refused.value.stable_code == "operation_conflict"
    assert contents(database) == before


def test_an_id_of_another_session_is_a_conflict(client: SessionContinuity) -> None:
    first, second = new_session(client), new_session(client)
    operation = new_operation_id()
    client.append_event(first, "note_recorded", {"text": "one"}, operation=operation)
    with pytest.raises(OperationConflict):
        client.append_event(second, "note_recorded", {"text": "one"}, operation=operation)
    assert is_whole(client, second)
    assert texts(client.read_events(second)) == []


def test_the_same_text_names_other_operations_in_other_sessions(client: SessionContinuity) -> None:
    for _ in range(2):
        session = new_session(client)
        client.append_event(session, "note_recorded", {"text": "one"}, operation="op 1")
        assert texts(client.read_events(session)) == ["one"]


def test_events_with_ids_of_their_own_are_stored_once_however_they_are_grouped(client: SessionContinuity) -> None:
    session = new_session(client)
    notes = [note(str(n), operation=f"line {n}") for n in range(6)]
    assert client.append_events(session, notes[:3]).sequence_nums == (2, 3, 4)
    assert client.append_events(session, notes[1:5]).sequence_nums == (3, 4, 5, 6)
    assert client.append_events(session, [notes[5], notes[0]]).sequence_nums == (7, 2)
    assert texts(client.read_events(session)) == ["0", "1", "2", "3", "4", "5"]
    with pytest.raises(OperationConflict):
        client.append_events(session, [note("changed", operation="line 3"), note("new", operation="line 9")])
    assert texts(client.read_events(session)) == ["0", "1", "2", "3", "4", "5"]


def test_the_same_id_twice_in_one_append_is_refused_at_once(client: SessionContinuity) -> None:
    session = new_session(client)
    with pytest.raises((InvalidInput, OperationConflict)):
        client.append_events(session, [note("one", operation="same"), note("two", operation="same")])
    assert numbers(client, session) == [1]


def test_a_retry_after_fencing_still_gets_its_first_answer(client: SessionContinuity) -> None:
    session = new_session(client)
    one = client.append_event(session, "note_recorded", {"text": "one"}, operation="op")
    many = client.append_events(session, [note("two"), note("three")], operation="ops")
    own = client.append_events(session, [note("four", operation="a"), note("five", operation="b")])
    taken = client.take_checkpoint(session, operation="checkpoint")
    successor = client.resume_session(session).successor
    assert successor is not None
    assert client.append_event(session, "note_recorded", {"text": "one"}, operation="op") == one
    assert client.append_events(session, [note("two"), note("three")], operation="ops") == many
    again = client.append_events(session, [note("four", operation="a"), note("five", operation="b")])
    assert again.sequence_nums == own.sequence_nums
    assert client.take_checkpoint(session, operation="checkpoint") == taken
    with pytest.raises(Fenced) as fenced:
        client.append_events(session, [note("four", operation="a"), note("six", operation="c")])
    assert fenced.value.details["successor"] == successor.instance_id
    assert fenced.value.details["owner_epoch"] == successor.owner_epoch
    with pytest.raises(OperationConflict):
        client.append_event(session, "note_recorded", {"text": "changed"}, operation="op")


def test_a_close_repeated_after_a_takeover_still_gets_its_first_answer(client: SessionContinuity) -> None:
    session = new_session(client)
    assert client.close_session(session, operation="end").status == "closed"
    client.resume_session(session)
    assert client.close_session(session, operation="end").status == "closed"
    assert is_whole(client, session)


def test_a_registration_repeated_with_its_id_gives_the_first_session(client: SessionContinuity) -> None:
    operation = new_operation_id()
    first = client.register_session("demo", operation=operation)
    assert client.register_session("demo", operation=operation) == first
    named = client.register_session("demo", operation="start of the harness session 7")
    assert client.register_session("demo", operation="start of the harness session 7") == named
    assert len(client.find_sessions()) == 2


def test_a_checkpoint_repeated_with_its_id_is_taken_once(client: SessionContinuity) -> None:
    session = new_session(client)
    first = client.take_checkpoint(session, reason="lunch", operation="op")
    client.append_event(session, "note_recorded", {"text": "after"})
    assert client.take_checkpoint(session, reason="lunch", operation="op") == first
    assert len(client.list_checkpoints(session)) == 1
    with pytest.raises(OperationConflict):
        client.take_checkpoint(session, checkpoint_type="automatic", reason="lunch", operation="op")
    with pytest.raises(OperationConflict):
        client.take_checkpoint(session, reason="dinner", operation="op")
    client.append_event(session, "note_recorded", {"text": "an event"}, operation="event")
    with pytest.raises(OperationConflict):
        client.take_checkpoint(session, operation="event")
    assert is_whole(client, session)


def test_the_expected_number_is_compared_and_a_wrong_one_writes_nothing(
    client: SessionContinuity, database: str
) -> None:
    session = new_session(client)
    assert client.append_event(session, "note_recorded", {"text": "a"}, expected_sequence=1).sequence_nums == (2,)
    before = contents(database)
    for wrong in (0, 1, 3, 99):
        with pytest.raises(SequenceConflict) as refused:
            client.append_events(session, [note("b"), note("c")], expected_sequence=wrong)
        assert (refused.value.details["expected"], refused.value.details["actual"]) == (wrong, 2)
    assert contents(database) == before
    first = client.append_event(session, "note_recorded", {"text": "d"}, expected_sequence=2, operation="d")
    client.append_event(session, "note_recorded", {"text": "e"})
    assert (
        client.append_event(session, "note_recorded", {"text": "d"}, expected_sequence=2, operation="d") == first
    )


def test_unknown_sessions_are_not_found_and_leave_nothing(client: SessionContinuity, database: str) -> None:
    before = contents(database)
    with pytest.raises(NotFound):
        client.append_event(UNKNOWN, "note_recorded", {"text": "a"})
    with pytest.raises(NotFound):
        client.append_events(UNKNOWN, [note("a"), note("b")])
    with pytest.raises(NotFound):
        client.take_checkpoint(UNKNOWN)
    assert contents(database) == before


def test_sixteen_threads_that_retry_the_same_ids_make_neither_copies_nor_gaps(client: SessionContinuity) -> None:
    session = new_session(client)
    operations = [new_operation_id() for _ in range(25)]

    def append_all(turn: int) -> dict[UUID, Appended]:
        order = operations[turn:] + operations[:turn]
        return {
            operation: client.append_event(session, "note_recorded", {"text": str(operation)}, operation=operation)
            if operation.int % 2
            else client.append_events(
                session, [note(str(operation)), note(f"{operation} too")], operation=operation
            )
            for operation in order
        }

    answers = together([lambda turn=turn: append_all(turn) for turn in range(16)])
    assert all(answer == answers[0] for answer in answers), [a for a in answers if isinstance(a, Exception)][:1]
    stored = texts(client.read_events(session))
    assert len(stored) == len(set(stored)) == sum(1 if operation.int % 2 else 2 for operation in operations)
    assert is_whole(client, session)


def test_of_sixteen_callers_who_expect_the_same_number_one_wins(client: SessionContinuity) -> None:
    session = new_session(client)
    answers = together(
        [
            lambda n=n: client.append_event(session, "note_recorded", {"text": str(n)}, expected_sequence=1)
            for n in range(16)
        ]
    )
    assert sum(isinstance(answer, Appended) for answer in answers) == 1
    assert sum(isinstance(answer, SequenceConflict) for answer in answers) == 15
    assert numbers(client, session) == [1, 2]


def test_a_checkpoint_is_taken_while_many_append(client: SessionContinuity) -> None:
    session = new_session(client)
    running = [True]

    def append() -> int:
        count = 0
        while running[0]:
            client.append_event(session, "note_recorded", {"text": "more"})
            count += 1
        return count

    def checkpoints() -> list[int]:
        try:
            return [client.take_checkpoint(session).sequence_num for _ in range(5)]
        finally:
            running[0] = False

    answers = together([checkpoints, *[append] * 6])
    assert isinstance(answers[0], list), answers[0]
    assert is_whole(client, session)
    for taken in client.list_checkpoints(session):
        assert taken.work_state == client.replay_events(session, until=taken.sequence_num).work_state


def test_a_given_time_is_kept_and_the_order_is_the_stores(client: SessionContinuity) -> None:
    session = new_session(client)
    for year in (2025, 2024, 2026):
        client.append_event(
            session, "note_recorded", {"text": str(year)}, timestamp=datetime(year, 1, 1, tzinfo=UTC)
        )
    events = client.read_events(session, after=1)
    assert [event.timestamp.year for event in events] == [2025, 2024, 2026]
    assert [event.sequence_num for event in events] == [2, 3, 4]
