"""Checkpoints: the work state at one sequence number, saved so that recovery need not replay the whole
stream (report: Checkpoints). A checkpoint equals the fold of all events up to its own, and its hash says so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, cast
from uuid import UUID

from session_continuity.domain.errors import Conflict, Fenced, NotFound, OperationConflict, Refused
from session_continuity.domain.fold import FoldedEvent, fold
from session_continuity.domain.identity import check_instance_id, operation_id
from session_continuity.domain.operation import ALL_PROJECTS, Contended, Operation, Rows, Statement, Steps
from session_continuity.domain.paging import Place, check_limit, check_place
from session_continuity.domain.payload import check_text, check_time, encode_object
from session_continuity.domain.session_registry import (
    INHERITING,
    Session,
    check_choice,
    check_percent,
    explain_refusal,
    moved_on,
    not_found,
    require_session,
    session_from_row,
)
from session_continuity.domain.work_state import (
    SCHEMA_VERSION,
    WorkState,
    canonical,
    empty_state,
    load_state,
    state_hash,
)

CheckpointType = Literal["manual", "automatic"]
CHECKPOINT_TYPES = ("manual", "automatic")

_PAGE = 1_000
_OPTIMISTIC_TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A row of checkpoints. One written by plain SQL has no state_hash: it is listed, but not folded on."""

    checkpoint_id: UUID
    instance_id: str
    checkpoint_type: CheckpointType
    sequence_num: int
    context_window_percent: int | None
    work_state: dict[str, Any]
    metadata: dict[str, Any]
    timestamp: datetime
    created_at: datetime
    state_hash: bytes | None
    schema_version: int | None


_FIELDS = tuple(Checkpoint.__dataclass_fields__)


def checkpoint_from_row(row: tuple[Any, ...]) -> Checkpoint:
    """A Checkpoint from the columns in the order of its fields."""
    return Checkpoint(**dict(zip(_FIELDS, row, strict=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """A session's work state and how it was reached: the checkpoint it rests on (None: full replay) and the
    number of events folded after it. `distrusted` are checkpoints whose hash does not fit their state."""

    instance_id: str
    sequence_num: int
    work_state: WorkState
    checkpoint_id: UUID | None
    events_folded: int
    distrusted: tuple[UUID, ...] = ()


def recover_state(
    instance_id: str, *, until: int | None = None, as_of: datetime | None = None
) -> Operation[Recovery]:
    """The work state after the last event, or after event `until`, or at the time `as_of`: the latest checkpoint
    and the fold of the events since. Raises NotFound."""
    check_instance_id(instance_id)
    check_time("as_of", as_of)
    return Operation("recover_state", lambda: recover_steps(instance_id, until, as_of))


def replay_events(
    instance_id: str, *, until: int | None = None, as_of: datetime | None = None
) -> Operation[Recovery]:
    """Like recover_state, but folds every event and uses no checkpoint. Raises NotFound."""
    check_instance_id(instance_id)
    check_time("as_of", as_of)
    return Operation("replay_events", lambda: replay_steps(instance_id, until, as_of))


def recover_steps(instance_id: str, until: int | None = None, as_of: datetime | None = None) -> Steps[Recovery]:
    """The steps of recover_state, for operations that need the state on their way."""
    if as_of is not None:
        until = yield from _number_at(instance_id, until, as_of)
    rows = yield Statement(
        "recover",
        {"instance_id": instance_id, "until": until, "schema_version": SCHEMA_VERSION, "page": _PAGE},
    )
    if not rows:
        return (yield from replay_steps(instance_id, until))
    checkpoint_id, stored_hash, _, _, document = rows[0]
    state = load_state(document, stored_hash)
    if state is None:
        replayed = yield from replay_steps(instance_id, until)
        return replace(replayed, distrusted=(checkpoint_id,))
    folded = len(rows) - 1
    first, last = rows[0][3], rows[-1][3]
    if last - first != folded or (until is not None and folded < _PAGE and last < until):
        yield from _refuse_archived(instance_id, first, last if folded == _PAGE else until)
    fold(state, (FoldedEvent(instance_id, *row[2:]) for row in rows[1:]))
    if folded == _PAGE:
        folded += yield from _fold_pages(state, instance_id, state["sequence_num"], until)
    return Recovery(
        instance_id=instance_id,
        sequence_num=state["sequence_num"],
        work_state=state,
        checkpoint_id=checkpoint_id,
        events_folded=folded,
    )


def replay_steps(instance_id: str, until: int | None = None, as_of: datetime | None = None) -> Steps[Recovery]:
    """The steps of replay_events. A session that goes on with its parent's work starts from the parent's state."""
    rows = yield Statement("get_session", {"instance_id": instance_id})
    if not rows:
        raise not_found(instance_id)
    if as_of is not None:
        until = yield from _number_at(instance_id, until, as_of)
    lineage = [(session_from_row(rows[0]), until)]
    while (parent := (yield from _inherited(lineage[-1][0]))) is not None:
        lineage.append(parent)
    state, folded = empty_state(), 0
    for session, last in reversed(lineage):
        folded += yield from _fold_pages(state, session.instance_id, 0, last)
    at = state["sequence_num"] if state["instance_id"] == instance_id else 0
    return Recovery(
        instance_id=instance_id, sequence_num=at, work_state=state, checkpoint_id=None, events_folded=folded
    )


def _inherited(session: Session) -> Steps[tuple[Session, int | None] | None]:
    # Only a continuation knows the number up to which it inherits; without it the parent's state is not ours.
    if session.relation not in INHERITING or session.parent_sequence_num is None:
        return None
    rows = yield Statement("get_session", {"instance_id": session.parent_instance_id})
    return (session_from_row(rows[0]), session.parent_sequence_num) if rows else None


def _fold_pages(state: WorkState, instance_id: str, after: int, until: int | None) -> Steps[int]:
    folded = 0
    while True:
        rows = yield Statement(
            "read_folded", {"instance_id": instance_id, "after": after, "until": until, "limit": _PAGE}
        )
        if not rows or rows[-1][2] - after != len(rows):
            yield from _refuse_archived(instance_id, after, rows[-1][2] if len(rows) == _PAGE else until)
        fold(state, map(FoldedEvent._make, rows))
        folded += len(rows)
        if len(rows) < _PAGE:
            return folded
        after = rows[-1][2]


def _refuse_archived(instance_id: str, after: int, until: int | None) -> Steps[None]:
    """Where numbers are missing, plain SQL may have left them out; but archived events must not be passed over."""
    archives = yield Statement(
        "find_archived_events", {"instance_id": instance_id, "after": after, "until": until}
    )
    if archives:
        gone = all(state == "deleted" for _, state in archives)
        raise Refused(
            f"events of {instance_id} are needed that "
            + ("the retention policy deleted" if gone else "were archived")
            + f" ({', '.join(name for name, _ in archives[:3])})"
            + ("" if gone else f"; `continuity archive restore {instance_id}` brings them back"),
            code="events_archived",
            instance_id=instance_id,
            archives=[name for name, _ in archives],
        )


def _number_at(instance_id: str, until: int | None, as_of: datetime) -> Steps[int]:
    """The last event up to a time: all before it in the stream count, whatever their own time says."""
    rows = yield Statement("number_at", {"instance_id": instance_id, "as_of": as_of})
    at = int(rows[0][0] or 0)
    return at if until is None else min(at, until)


def take_checkpoint(
    instance_id: str,
    *,
    checkpoint_type: CheckpointType = "manual",
    context_window_percent: int | None = None,
    reason: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    timestamp: datetime | None = None,
    operation: UUID | str | None = None,
    expected_sequence: int | None = None,
    base: Checkpoint | None = None,
) -> Operation[Checkpoint]:
    """Save the work state with its `checkpoint_created` event, whose number it takes, in one transaction. A
    `base` (the latest checkpoint, when the caller still has it) spares reading its state again; with
    `expected_sequence` it is taken only while that is the session's last event. Raises NotFound, Fenced,
    SequenceConflict, OperationConflict, InvalidInput."""
    check_instance_id(instance_id)
    check_choice("checkpoint_type", checkpoint_type, CHECKPOINT_TYPES)
    check_percent("context_window_percent", context_window_percent)
    check_time("timestamp", timestamp)
    event = operation_id(instance_id, operation)
    described: dict[str, Any] = {"checkpoint_id": str(event), "checkpoint_type": checkpoint_type}
    if reason:
        described["reason"] = check_text("reason", reason, 500)
    parameters = {
        "instance_id": instance_id,
        "event_id": event,
        "event_data": encode_object("event_data", described),
        "checkpoint_type": checkpoint_type,
        "context_window_percent": context_window_percent,
        "metadata": encode_object("metadata", _with_reason(metadata, reason)),
        "timestamp": timestamp,
        "schema_version": SCHEMA_VERSION,
    }
    return Operation(
        "take_checkpoint",
        lambda: _take(instance_id, parameters, described, base, wanted=expected_sequence),
        locked=lambda: _take(instance_id, parameters, described, None, wanted=expected_sequence, locked=True),
    )


def _with_reason(metadata: Mapping[str, Any] | None, reason: str | None) -> Any:
    given = metadata or {}
    if reason is None or not isinstance(given, dict):
        return given  # what is no object is refused with its code
    return {**given, "reason": reason}


def _take(
    instance_id: str,
    parameters: dict[str, Any],
    described: dict[str, Any],
    base: Checkpoint | None,
    *,
    wanted: int | None,
    locked: bool = False,
) -> Steps[Checkpoint]:
    """Read the state, then write under the condition that nothing was appended since; else read again. Many
    writers could go on being faster for ever: then it is done under the lock of the session's row."""
    row: Rows = []
    if locked:
        row = yield Statement("lock_session", {"instance_id": instance_id})
        if (yield Statement("find_event", {"event_ids": [parameters["event_id"]]})):
            return (yield from _taken_before(instance_id, parameters, described))
    for _ in range(1 if locked else _OPTIMISTIC_TRIES):
        if base is not None and base.instance_id == instance_id and base.state_hash is not None:
            state = cast("WorkState", dict(base.work_state))
            base = None
        else:
            state = (yield from recover_steps(instance_id)).work_state
        expected = state["sequence_num"] if state["instance_id"] == instance_id else 0
        if locked and row:  # the last events may have been deleted since
            expected = session_from_row(row[0]).last_sequence_num
        if wanted is not None and expected != wanted:
            if (yield Statement("find_event", {"event_ids": [parameters["event_id"]]})):
                return (yield from _taken_before(instance_id, parameters, described))
            yield from explain_refusal(instance_id)
            raise moved_on(instance_id, wanted, expected)
        created = FoldedEvent(instance_id, "checkpoint_created", expected + 1, described)
        encoded = canonical(fold(state, [created]))
        try:
            rows = yield Statement(
                "take_checkpoint",
                {
                    **parameters,
                    "expected": expected,
                    "work_state": encoded.decode(),
                    "state_hash": state_hash(encoded),
                },
            )
        except Conflict as refused:
            if locked:
                raise
            return (yield from _taken_before(instance_id, parameters, described, refused))
        if rows:
            return checkpoint_from_row((*rows[0][:5], cast("dict[str, Any]", state), *rows[0][5:]))
        stored = yield Statement("find_event", {"event_ids": [parameters["event_id"]]})
        if stored:
            return (yield from _taken_before(instance_id, parameters, described))
        yield from explain_refusal(instance_id)
    if not locked:
        raise Contended
    raise Conflict(f"the checkpoint of {instance_id} could not be taken; try again", instance_id=instance_id)


def _taken_before(
    instance_id: str, parameters: dict[str, Any], described: dict[str, Any], refused: Conflict | None = None
) -> Steps[Checkpoint]:
    rows = yield Statement("get_checkpoint", {"checkpoint_id": parameters["event_id"]})
    if rows:
        checkpoint = checkpoint_from_row(rows[0])
        if (checkpoint.instance_id, checkpoint.checkpoint_type, checkpoint.metadata) == (
            instance_id,
            described["checkpoint_type"],
            json.loads(parameters["metadata"]),
        ):
            return checkpoint
    elif isinstance(refused, Fenced):
        raise refused
    raise OperationConflict(
        f"operation {parameters['event_id']} was used before for something else; take a new id",
        operation_id=str(parameters["event_id"]),
        instance_id=instance_id,
    )


def get_checkpoint(checkpoint_id: UUID) -> Operation[Checkpoint]:
    """One checkpoint by its id. Raises NotFound."""

    def steps() -> Steps[Checkpoint]:
        rows = yield Statement("get_checkpoint", {"checkpoint_id": checkpoint_id})
        if not rows:
            raise checkpoint_not_found(checkpoint_id)
        return checkpoint_from_row(rows[0])

    return Operation("get_checkpoint", steps)


def checkpoint_not_found(checkpoint_id: UUID) -> NotFound:
    return NotFound(
        f"no checkpoint {checkpoint_id}; `continuity checkpoints list` shows what is there",
        checkpoint_id=str(checkpoint_id),
    )


def latest_checkpoint(instance_id: str) -> Operation[Checkpoint]:
    """The session's latest checkpoint by sequence number. Raises NotFound."""
    check_instance_id(instance_id)

    def steps() -> Steps[Checkpoint]:
        rows = yield Statement("latest_checkpoint", {"instance_id": instance_id})
        if not rows:
            yield from require_session(instance_id)
            raise NotFound(f"session {instance_id} has no checkpoint yet", instance_id=instance_id)
        return checkpoint_from_row(rows[0])

    return Operation("latest_checkpoint", steps)


def list_checkpoints(
    instance_id: str | None = None,
    *,
    checkpoint_type: CheckpointType | None = None,
    before: Place | None = None,
    limit: int = 100,
) -> Operation[list[Checkpoint]]:
    """Checkpoints of one session or of all, latest first. Page on with `before` = (created_at,
    checkpoint_id) of the last one."""
    parameters = {
        **ALL_PROJECTS,
        "instance_id": instance_id and check_instance_id(instance_id),
        "checkpoint_type": checkpoint_type and check_choice("checkpoint_type", checkpoint_type, CHECKPOINT_TYPES),
        **check_place(before, UUID(int=0)),
        "limit": check_limit(limit),
    }

    def steps() -> Steps[list[Checkpoint]]:
        rows = yield Statement("list_checkpoints", parameters)
        return [checkpoint_from_row(row) for row in rows]

    return Operation("list_checkpoints", steps)
