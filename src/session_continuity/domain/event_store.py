"""The event store: each session's ordered stream of state transitions (report: Event Store)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from session_continuity.domain.errors import (
    Conflict,
    Fenced,
    InvalidInput,
    OperationConflict,
    SequenceConflict,
    SessionContinuityError,
    Unavailable,
)
from session_continuity.domain.identity import check_instance_id, event_id, operation_id
from session_continuity.domain.operation import ALL_PROJECTS, Operation, Statement, Steps
from session_continuity.domain.paging import Place, check_limit, check_place
from session_continuity.domain.payload import check_time, encode_object
from session_continuity.domain.session_registry import explain_refusal, moved_on, session_from_row

REPORT_EVENT_TYPES = (
    "instance_registered",
    "instance_heartbeat",
    "instance_stale",
    "epic_started",
    "epic_completed",
    "epic_failed",
    "epic_planned",
    "test_started",
    "test_passed",
    "test_failed",
    "validation_passed",
    "validation_failed",
    "commit_created",
    "pr_created",
    "pr_merged",
    "deployment_started",
    "deployment_completed",
    "deployment_failed",
    "context_window_updated",
    "checkpoint_created",
    "checkpoint_loaded",
    "feature_requested",
    "task_spawned",
)
"""The report says 21 and lists these 23."""

EVENT_TYPES = (
    *REPORT_EVENT_TYPES,
    "prompt_submitted",
    "plan_updated",
    "files_changed",
    "note_recorded",
    "context_compacted",
    "instance_resumed",
    "instance_closed",
)
_KNOWN_TYPES = frozenset(EVENT_TYPES)

APPEND_LIMIT = 10_000
"""Most events in one append."""


class Event(NamedTuple):
    """A row of event_store. A named tuple, since streams are read by the thousand."""

    event_id: UUID
    instance_id: str
    event_type: str
    sequence_num: int
    event_data: dict[str, Any]
    metadata: dict[str, Any]
    timestamp: datetime
    created_at: datetime
    owner_epoch: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event to append. `timestamp` is when it happened (default: the database clock now). With an
    `operation` of its own it is stored once even when later appends group it differently."""

    event_type: str
    event_data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    timestamp: datetime | None = None
    operation: UUID | str | None = None


class Appended(NamedTuple):
    """What an append answers: the events' sequence numbers, in the order given."""

    instance_id: str
    sequence_nums: tuple[int, ...]
    operation_id: UUID

    @property
    def last_sequence_num(self) -> int:
        return self.sequence_nums[-1]


class PreparedAppend(NamedTuple):
    """A checked append: one entry for each event in every list."""

    instance_id: str
    operation_id: UUID
    event_ids: list[UUID]
    event_types: list[str]
    event_data: list[str]
    metadata: list[str]
    timestamps: list[datetime | None]
    each_once: bool
    expected_sequence: int | None


def check_event_type(event_type: str) -> str:
    if event_type not in _KNOWN_TYPES:
        raise InvalidInput(
            f"event type {event_type!r} is not one of: {', '.join(EVENT_TYPES)}", code="event_type_enum"
        )
    return event_type


def prepare_append(
    instance_id: str,
    events: Sequence[NewEvent],
    *,
    operation: UUID | str | None = None,
    expected_sequence: int | None = None,
) -> PreparedAppend:
    """Check everything that can be checked without the store. Raises InvalidInput."""
    check_instance_id(instance_id)
    if not 1 <= len(events) <= APPEND_LIMIT:
        raise InvalidInput(
            f"an append takes 1 to {APPEND_LIMIT:,} events, not {len(events):,}", code="append_size"
        )
    each_once = any(event.operation is not None for event in events)
    if each_once and (operation is not None or not all(event.operation is not None for event in events)):
        raise InvalidInput("give an operation id to the append or to each of its events", code="operation_mixed")
    whole = operation_id(instance_id, operation)
    event_ids = [
        operation_id(instance_id, event.operation) if each_once else event_id(whole, part)
        for part, event in enumerate(events)
    ]
    if each_once and len(set(event_ids)) < len(event_ids):
        raise InvalidInput("two events of the append have the same operation id", code="operation_twice")
    return PreparedAppend(
        instance_id,
        whole,
        event_ids,
        [check_event_type(event.event_type) for event in events],
        [encode_object("event_data", event.event_data) for event in events],
        [encode_object("metadata", event.metadata) if event.metadata else "{}" for event in events],
        [check_time("timestamp", event.timestamp) for event in events],
        each_once,
        expected_sequence,
    )


def prepare_event(
    instance_id: str,
    event_type: str,
    event_data: Mapping[str, Any] | None = None,
    *,
    metadata: Mapping[str, Any] | None = None,
    timestamp: datetime | None = None,
    operation: UUID | str | None = None,
    expected_sequence: int | None = None,
) -> PreparedAppend:
    """prepare_append for one event."""
    check_instance_id(instance_id)
    whole = operation_id(instance_id, operation)
    return PreparedAppend(
        instance_id,
        whole,
        [whole],
        [check_event_type(event_type)],
        [encode_object("event_data", event_data if event_data is not None else {})],
        [encode_object("metadata", metadata) if metadata else "{}"],
        [check_time("timestamp", timestamp)],
        each_once=False,
        expected_sequence=expected_sequence,
    )


def append_event(
    instance_id: str,
    event_type: str,
    event_data: Mapping[str, Any] | None = None,
    *,
    metadata: Mapping[str, Any] | None = None,
    timestamp: datetime | None = None,
    operation: UUID | str | None = None,
    expected_sequence: int | None = None,
) -> Operation[Appended]:
    """Append one event; the store gives the number. `expected_sequence` is the number of the last event the
    caller knows. Raises NotFound, Fenced, SequenceConflict, OperationConflict, InvalidInput."""
    return append_prepared(
        prepare_event(
            instance_id,
            event_type,
            event_data,
            metadata=metadata,
            timestamp=timestamp,
            operation=operation,
            expected_sequence=expected_sequence,
        )
    )


def append_events(
    instance_id: str,
    events: Sequence[NewEvent],
    *,
    operation: UUID | str | None = None,
    expected_sequence: int | None = None,
) -> Operation[Appended]:
    """Append events in one transaction, all or none; else as append_event."""
    return append_prepared(
        prepare_append(instance_id, events, operation=operation, expected_sequence=expected_sequence)
    )


def append_prepared(append: PreparedAppend) -> Operation[Appended]:
    """The operation of a checked append."""
    return Operation("append_events", lambda: _append(append))


def _append(append: PreparedAppend) -> Steps[Appended]:
    try:
        rows = yield _append_statement(append)
    except Conflict as refused:
        return (yield from _answer_again(append, refused))
    if rows:
        return Appended(append.instance_id, tuple(row[0] for row in rows), append.operation_id)
    # Nothing was written. An operation that was acknowledged before the takeover still gets its first answer.
    stored = yield Statement("find_event", {"event_ids": append.event_ids})
    if stored:
        return (yield from _answer_again(append))
    session = yield from explain_refusal(append.instance_id)
    actual = session_from_row(session[0]).last_sequence_num
    raise moved_on(append.instance_id, append.expected_sequence, actual)


def _append_statement(append: PreparedAppend) -> Statement:
    if len(append.event_ids) == 1:
        return Statement(
            "append_event",
            {
                "instance_id": append.instance_id,
                "expected": append.expected_sequence,
                "event_id": append.event_ids[0],
                "event_type": append.event_types[0],
                "event_data": append.event_data[0],
                "metadata": append.metadata[0],
                "timestamp": append.timestamps[0],
            },
        )
    return Statement(
        "append_events",
        {
            "instance_id": append.instance_id,
            "expected": append.expected_sequence,
            "count": len(append.event_ids),
            **_columns(append),
        },
    )


def _columns(append: PreparedAppend) -> dict[str, Any]:
    return {
        "event_ids": append.event_ids,
        "event_types": append.event_types,
        "event_data": append.event_data,
        "metadata": _unless_all(append.metadata, "{}"),
        "timestamps": _unless_all(append.timestamps, None),
    }


def _unless_all(column: list[Any], usual: Any) -> list[Any] | None:
    """The column, or None where every entry is the usual one: it need not be sent and read for each event."""
    return None if column.count(usual) == len(column) else column


def _answer_again(append: PreparedAppend, refused: Conflict | None = None) -> Steps[Appended]:
    """Some of the ids are stored: a retry gets the first answer, another body under the same id is refused,
    and events with ids of their own are appended where they are missing."""
    rows = yield Statement("compare_events", {"instance_id": append.instance_id, **_columns(append)})
    found = {part: (sequence_num, same) for part, sequence_num, same in rows}
    if not found and isinstance(refused, Fenced):
        raise refused  # by the trigger
    if not found:
        raise SequenceConflict(
            f"{append.instance_id} holds an event under the next sequence number that was not written through the"
            " store: an INSERT must not set owner_epoch",
            instance_id=append.instance_id,
        )
    differing = [part for part, (_, same) in found.items() if not same]
    if differing or (
        not append.each_once and (len(found) < len(append.event_ids) or (yield from _is_longer(append)))
    ):
        raise OperationConflict(
            f"operation {append.operation_id} was used before with other events; take a new id for new ones",
            operation_id=str(append.operation_id),
            instance_id=append.instance_id,
        )
    missing = [part for part in range(len(append.event_ids)) if part not in found]
    if missing:
        rest = PreparedAppend(
            append.instance_id,
            append.operation_id,
            *([column[part] for part in missing] for column in append[2:7]),  # pyright: ignore[reportArgumentType, reportCallIssue]
            each_once=True,
            expected_sequence=append.expected_sequence,
        )
        added = yield from _append(rest)
        found.update({part: (number, True) for part, number in zip(missing, added.sequence_nums, strict=True)})
    return Appended(
        append.instance_id,
        tuple(found[part][0] for part in range(len(append.event_ids))),
        append.operation_id,
    )


def _is_longer(append: PreparedAppend) -> Steps[bool]:
    rows = yield Statement("find_event", {"event_ids": [event_id(append.operation_id, len(append.event_ids))]})
    return bool(rows)


def read_events(
    instance_id: str,
    *,
    after: int = 0,
    until: int | None = None,
    as_of: datetime | None = None,
    event_type: str | None = None,
    limit: int = 1_000,
) -> Operation[list[Event]]:
    """A session's events in order, from after the sequence number `after` up to and with `until`, or up to the
    last one of the time `as_of` or before. Page on with `after` = the last number seen. Raises NotFound when
    there is no such session."""
    check_instance_id(instance_id)
    parameters = {
        "instance_id": instance_id,
        "after": after,
        "until": until,
        "as_of": check_time("as_of", as_of),
        "event_type": event_type and check_event_type(event_type),
        "limit": check_limit(limit),
    }

    def steps() -> Steps[list[Event]]:
        rows = yield Statement("read_events", parameters)
        if not rows:
            found = yield Statement("get_session", {"instance_id": instance_id})
            if not found:
                yield from explain_refusal(instance_id)
        return [Event._make(row) for row in rows]

    return Operation("read_events", steps)


def find_events(
    event_type: str,
    *,
    project: str | None = None,
    since: datetime | None = None,
    before: Place | None = None,
    limit: int = 100,
) -> Operation[list[Event]]:
    """Events of one type over all sessions, latest first. Page on with `before` = (timestamp, event_id)
    of the last one."""
    parameters = {
        **ALL_PROJECTS,
        "event_type": check_event_type(event_type),
        "project": project,
        "since": check_time("since", since),
        **check_place(before, UUID(int=0)),
        "limit": check_limit(limit),
    }

    def steps() -> Steps[list[Event]]:
        rows = yield Statement("find_events", parameters)
        return [Event._make(row) for row in rows]

    return Operation("find_events", steps)


def append_together(appends: Sequence[PreparedAppend]) -> Operation[list[Appended | SessionContinuityError]]:
    """Many callers' appends as one statement and so one flush to disk; each gets its own answer or error. Only
    appends without `expected_sequence` and without ids of their own for each event can be merged."""

    def steps() -> Steps[list[Appended | SessionContinuityError]]:
        columns = _columns_of_many(appends)
        try:
            rows = yield Statement("append_events_of_many", columns)
        except Conflict:
            rows = []  # one of them is a retry: nothing was written, each goes on alone
        numbers = {row[0]: row[1] for row in rows}
        answers: list[Appended | SessionContinuityError] = []
        for append in appends:
            if append.event_ids[0] in numbers:
                sequence_nums = tuple(numbers[event] for event in append.event_ids)
                answers.append(Appended(append.instance_id, sequence_nums, append.operation_id))
                continue
            try:
                answers.append((yield from _append(append)))
            except Unavailable:
                raise
            except SessionContinuityError as error:
                answers.append(error)
        return answers

    return Operation("append_together", steps)


def can_merge(append: PreparedAppend) -> bool:
    """Whether append_together takes it."""
    return append.expected_sequence is None and not append.each_once


def _columns_of_many(appends: Sequence[PreparedAppend]) -> dict[str, Any]:
    columns: dict[str, list[Any]] = {
        "instance_ids": [append.instance_id for append in appends for _ in append.event_ids]
    }
    for name in ("event_ids", "event_types", "event_data", "metadata", "timestamps"):
        columns[name] = [value for append in appends for value in getattr(append, name)]
    return columns | {
        "metadata": _unless_all(columns["metadata"], "{}"),
        "timestamps": _unless_all(columns["timestamps"], None),
    }
