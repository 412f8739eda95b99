"""The rules of append, driven with plain rows: what is asked in which case, and what is answered."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from tests.domain.driving import drive, session_row

from session_continuity.domain.errors import (
    Conflict,
    Fenced,
    InvalidInput,
    NotFound,
    OperationConflict,
    SequenceConflict,
    Unavailable,
)
from session_continuity.domain.event_store import (
    EVENT_TYPES,
    REPORT_EVENT_TYPES,
    Appended,
    NewEvent,
    append_event,
    append_events,
    append_together,
    can_merge,
    prepare_append,
    prepare_event,
    read_events,
)
from session_continuity.domain.identity import event_id

SESSION, OTHER = "demo-PS-aaaaaa", "demo-PS-bbbbbb"
OPERATION = UUID(int=100)


def two(**options: Any) -> Any:
    return append_events(
        SESSION, [NewEvent(event_type="test_passed"), NewEvent(event_type="test_failed")], **options
    )


def names(asked: list[Any]) -> list[str]:
    return [statement.name for statement in asked]


def test_an_append_is_one_statement_with_ids_made_before_it() -> None:
    answer, asked = drive(append_event(SESSION, "test_passed", {"a": 1}, operation=OPERATION), [(7,)])
    assert answer == Appended(SESSION, (7,), OPERATION)
    assert names(asked) == ["append_event"]
    assert asked[0].parameters["event_id"] == OPERATION
    answer, asked = drive(two(operation=OPERATION), [(7,), (8,)])
    assert answer.sequence_nums == (7, 8)
    assert asked[0].parameters["event_ids"] == [OPERATION, event_id(OPERATION, 1)]


def test_an_operation_started_again_sends_the_same_ids() -> None:
    for operation in (append_event(SESSION, "test_passed"), two()):
        first, second = (drive(operation, [(2,), (3,)])[1] for _ in range(2))
        assert first == second


def test_a_conflict_is_answered_by_what_is_stored() -> None:
    used = OperationConflict("used")
    answer, asked = drive(two(operation=OPERATION), used, [(0, 5, True), (1, 6, True)], [])
    assert answer == Appended(SESSION, (5, 6), OPERATION)
    assert names(asked) == ["append_events", "compare_events", "find_event"]


@pytest.mark.parametrize(
    "stored",
    [
        [[(0, 5, True), (1, 6, False)]],
        [[(0, 5, True)]],
        [[(0, 5, True), (1, 6, True)], [(UUID(int=102), SESSION, 7)]],
    ],
    ids=["another body", "was shorter", "was longer"],
)  # fmt: skip
def test_another_body_is_a_conflict(stored: list[Any]) -> None:
    with pytest.raises(OperationConflict) as refused:
        drive(two(operation=OPERATION), OperationConflict("used"), *stored)
    assert refused.value.details == {"operation_id": str(OPERATION), "instance_id": SESSION}


def test_only_missing_events_are_added_when_each_has_its_own_id() -> None:
    events = [NewEvent(event_type="test_passed", operation=UUID(int=number)) for number in (10, 20, 30)]
    answer, asked = drive(append_events(SESSION, events), OperationConflict("used"), [(1, 4, True)], [(9,), (10,)])
    assert answer.sequence_nums == (9, 4, 10)
    assert names(asked) == ["append_events", "compare_events", "append_events"]
    assert asked[2].parameters["event_ids"] == [UUID(int=10), UUID(int=30)]


def test_nothing_written_is_explained() -> None:
    with pytest.raises(NotFound):
        drive(append_event(SESSION, "test_passed"), [], [], [])
    with pytest.raises(SequenceConflict) as refused:
        drive(
            append_event(SESSION, "test_passed", expected_sequence=3),
            [], [], [session_row(SESSION, last_sequence_num=8)],
        )  # fmt: skip
    assert (refused.value.details["expected"], refused.value.details["actual"]) == (3, 8)
    with pytest.raises(Fenced) as fenced:
        drive(
            append_event(SESSION, "test_passed"),
            [], [], [session_row(SESSION, superseded_by=OTHER)], [session_row(OTHER, owner_epoch=2)],
        )  # fmt: skip
    assert fenced.value.details == {"instance_id": SESSION, "epoch": 1, "successor": OTHER, "owner_epoch": 2}


def test_a_fenced_copy_that_was_acknowledged_before_gets_its_first_answer() -> None:
    answer, _ = drive(
        append_event(SESSION, "test_passed", operation=OPERATION),
        [], [(OPERATION, SESSION, 4)], [(0, 4, True)], [],
    )  # fmt: skip
    assert answer.sequence_nums == (4,)


def test_a_refusal_that_is_not_about_the_id_is_told_as_what_it_is() -> None:
    by_trigger = Fenced("by the trigger")
    with pytest.raises(Fenced) as fenced:
        drive(append_event(SESSION, "test_passed"), by_trigger, [])
    assert fenced.value is by_trigger
    with pytest.raises(SequenceConflict):
        drive(append_event(SESSION, "test_passed"), Conflict("number taken", code="sequence_conflict"), [])


def prepared(session: str, number: int) -> Any:
    return prepare_event(session, "test_passed", operation=UUID(int=number))


def test_merged_appends_get_their_own_answers_in_one_statement() -> None:
    appends = [prepared(SESSION, 1), prepared(OTHER, 2), prepared(SESSION, 3)]
    rows = [(UUID(int=3), 6), (UUID(int=1), 5), (UUID(int=2), 9)]
    answers, asked = drive(append_together(appends), rows)
    assert [answer.sequence_nums for answer in answers if isinstance(answer, Appended)] == [(5,), (9,), (6,)]
    assert names(asked) == ["append_events_of_many"]


def test_a_merged_append_that_was_left_out_goes_on_alone_and_fails_alone() -> None:
    appends = [prepared(SESSION, 1), prepared(OTHER, 2), prepared(SESSION, 3)]
    answers, asked = drive(append_together(appends), [(UUID(int=1), 5), (UUID(int=3), 6)], [], [], [])
    assert [type(answer) for answer in answers] == [Appended, NotFound, Appended]
    assert names(asked) == ["append_events_of_many", "append_event", "find_event", "get_session"]


def test_one_used_id_sends_every_merged_append_alone() -> None:
    appends = [prepared(SESSION, 1), prepared(OTHER, 2)]
    answers, _ = drive(
        append_together(appends), OperationConflict("used"), [(5,)], OperationConflict("used"), [(0, 3, True)], []
    )
    assert [answer.sequence_nums for answer in answers if isinstance(answer, Appended)] == [(5,), (3,)]


def test_an_outage_is_everybodys_and_so_the_whole_is_tried_again() -> None:
    appends = [prepared(SESSION, 1), prepared(OTHER, 2)]
    with pytest.raises(Unavailable):
        drive(append_together(appends), [(UUID(int=1), 5)], Unavailable("gone"))


def test_appends_with_conditions_of_their_own_are_not_merged() -> None:
    assert can_merge(prepared(SESSION, 1))
    assert not can_merge(prepare_event(SESSION, "test_passed", expected_sequence=1))
    assert not can_merge(prepare_append(SESSION, [NewEvent(event_type="test_passed", operation="own")]))


def test_what_breaks_a_rule_is_refused_before_anything_is_asked() -> None:
    plain, own = NewEvent(event_type="test_passed"), NewEvent(event_type="test_passed", operation="a")
    for events, options, code in (
        ([], {}, "append_size"),
        ([plain] * 10_001, {}, "append_size"),
        ([plain, own], {}, "operation_mixed"),
        ([own], {"operation": "b"}, "operation_mixed"),
        ([own, own], {}, "operation_twice"),
        ([NewEvent(event_type="nothing")], {}, "event_type_enum"),
        ([NewEvent(event_type="test_passed", event_data={"a": "\0"})], {}, "payload_nul"),
    ):
        with pytest.raises(InvalidInput) as refused:
            append_events(SESSION, events, **options)
        assert refused.value.stable_code == code


def test_reading_tells_an_empty_page_from_no_session() -> None:
    assert drive(read_events(SESSION, after=9), [], [session_row(SESSION)])[0] == []
    with pytest.raises(NotFound):
        drive(read_events(SESSION), [], [], [])


def test_the_reports_event_types_are_all_there() -> None:
    assert len(REPORT_EVENT_TYPES) == len(set(REPORT_EVENT_TYPES)) == 23
    assert len(EVENT_TYPES) == len(set(EVENT_TYPES)) == 30
    assert EVENT_TYPES[:23] == REPORT_EVENT_TYPES
