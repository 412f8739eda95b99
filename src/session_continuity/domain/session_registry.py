"""The session registry: one Session for every incarnation of an agent, with its heartbeat and its place
in a thread (report: Session Registry)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from session_continuity.domain.errors import (
    Conflict,
    Fenced,
    InvalidInput,
    NotFound,
    OperationConflict,
    SequenceConflict,
)
from session_continuity.domain.identity import check_instance_id, new_instance_id, operation_id
from session_continuity.domain.operation import ALL_PROJECTS, Operation, Rows, Statement, Steps
from session_continuity.domain.paging import Place, check_limit, check_place
from session_continuity.domain.payload import check_text, check_time, encode_object

InstanceType = Literal["PS", "MS"]
Status = Literal["active", "stale", "closed"]
Relation = Literal["spawned", "resumed_from", "forked_from", "handed_off_to", "imported_from"]

INSTANCE_TYPES = ("PS", "MS")
STATUSES = ("active", "stale", "closed")
RELATIONS = ("spawned", "resumed_from", "forked_from", "handed_off_to", "imported_from")
INHERITING = ("resumed_from", "forked_from")
"""The relations by which a session goes on with its parent's work state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A row of supervisor_sessions. Times are aware, from the database clock."""

    instance_id: str
    project: str
    instance_type: InstanceType
    status: Status
    context_percent: int | None
    current_epic: str | None
    last_heartbeat: datetime
    created_at: datetime
    closed_at: datetime | None
    thread_id: UUID
    owner_epoch: int
    superseded_by: str | None
    last_sequence_num: int
    parent_instance_id: str | None
    parent_sequence_num: int | None
    relation: Relation | None
    harness: str | None
    harness_session_id: str | None
    host: str | None
    pid: int | None
    cwd: str | None
    git_branch: str | None
    git_head: str | None
    heartbeat_interval_seconds: int | None
    metadata: dict[str, Any]
    legal_hold: bool
    process_seen_at: datetime | None = None


# A day inside what Python can hold, so that every zone can show it; the tables have the same bounds.

_FIELDS = tuple(Session.__dataclass_fields__)


def session_from_row(row: tuple[Any, ...]) -> Session:
    """A Session from the columns in the order of its fields."""
    return Session(**dict(zip(_FIELDS, row, strict=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a session runs and what it comes from; every part may be unknown."""

    parent_instance_id: str | None = None
    relation: Relation | None = None
    harness: str | None = None
    harness_session_id: str | None = None
    host: str | None = None
    pid: int | None = None
    cwd: str | None = None
    git_branch: str | None = None
    git_head: str | None = None


def register_session(
    project: str,
    *,
    instance_type: InstanceType = "PS",
    instance_id: str | None = None,
    context_percent: int | None = None,
    current_epic: str | None = None,
    origin: Origin | None = None,
    heartbeat_interval: timedelta | None = None,
    metadata: Mapping[str, Any] | None = None,
    started_at: datetime | None = None,
    operation: UUID | str | None = None,
) -> Operation[Session]:
    """Register a session and append its `instance_registered` event. Without `instance_id` one is made.
    Raises InvalidInput; Conflict when the id is taken by another session."""
    check_text("project", project, 200)
    check_choice("instance_type", instance_type, INSTANCE_TYPES)
    chosen = check_instance_id(instance_id) if instance_id else new_instance_id(project, instance_type)
    origin = origin or Origin()
    for name in ("harness", "harness_session_id", "host", "cwd", "git_branch", "git_head"):
        value = getattr(origin, name)
        if value is not None:
            check_text(name, value, 4_096)
    if origin.relation is not None:
        check_choice("relation", origin.relation, RELATIONS)
    event = operation_id(chosen if instance_id else f"{project} {instance_type}", operation)
    described = {
        "project": project,
        "instance_type": instance_type,
        "harness": origin.harness,
        "cwd": origin.cwd,
        "git_branch": origin.git_branch,
        "git_head": origin.git_head,
        "current_epic": current_epic,
    }
    parameters: dict[str, Any] = {
        "instance_id": chosen,
        "project": project,
        "instance_type": instance_type,
        "context_percent": check_percent("context_percent", context_percent),
        "current_epic": current_epic and check_text("current_epic", current_epic, 200),
        "parent_instance_id": origin.parent_instance_id and check_instance_id(origin.parent_instance_id),
        "relation": origin.relation,
        "harness": origin.harness,
        "harness_session_id": origin.harness_session_id,
        "host": origin.host,
        "pid": origin.pid,
        "cwd": origin.cwd,
        "git_branch": origin.git_branch,
        "git_head": origin.git_head,
        "heartbeat_interval_seconds": heartbeat_interval and max(1, round(heartbeat_interval.total_seconds())),
        "metadata": encode_object("metadata", {} if metadata is None else metadata),
        "started_at": check_time("started_at", started_at),
        "event_id": event,
        "event_data": encode_object("event_data", {k: v for k, v in described.items() if v is not None}),
    }

    def steps() -> Steps[Session]:
        try:
            rows = yield Statement("register_session", parameters)
        except Conflict:
            registered = yield Statement("find_event", {"event_ids": [event]})
            if not registered or registered[0][2] != 1 or (instance_id and registered[0][1] != chosen):
                raise Conflict(
                    f"instance id {chosen} is taken; leave it out to get a new one", code="instance_id_taken"
                ) from None
            rows = yield Statement("get_session", {"instance_id": registered[0][1]})
        session = session_from_row(rows[0])
        if (session.project, session.instance_type) != (project, instance_type):
            raise OperationConflict(
                f"the operation id was used before for {session.instance_id}", instance_id=session.instance_id
            )
        return session

    return Operation("register_session", steps)


def send_heartbeat(
    instance_id: str, *, context_percent: int | None = None, current_epic: str | None = None
) -> Operation[Session]:
    """Say that the session lives; a stale one is active again. Raises NotFound, Fenced, and Conflict
    (session_closed) for a closed one."""
    parameters = {
        "instance_id": check_instance_id(instance_id),
        "context_percent": check_percent("context_percent", context_percent),
        "current_epic": current_epic and check_text("current_epic", current_epic, 200),
    }

    def steps() -> Steps[Session]:
        rows = yield Statement("send_heartbeat", parameters)
        if not rows:
            yield from explain_refusal(instance_id)
            raise Conflict(
                f"session {instance_id} is closed; resume it to go on",
                code="session_closed",
                instance_id=instance_id,
            )
        return session_from_row(rows[0])

    return Operation("send_heartbeat", steps)


def send_heartbeats(
    instance_ids: Sequence[str],
    context_percents: Sequence[int | None] | None = None,
    *,
    process_seen: bool = False,
) -> Operation[list[str]]:
    """Heartbeats of many sessions in one statement, `process_seen` when it is their processes that were seen
    running. Returns the ids that were accepted; the others are unknown, closed or fenced (send_heartbeat tells
    which)."""
    percents = list(context_percents) if context_percents is not None else [None] * len(instance_ids)
    if len(percents) != len(instance_ids):
        raise InvalidInput("context_percents must have one entry for each instance id")
    parameters = {
        "instance_ids": [check_instance_id(instance_id) for instance_id in instance_ids],
        "context_percents": [
            None if percent is None else str(check_percent("context_percent", percent)) for percent in percents
        ],
        "process_seen": process_seen,
    }

    def steps() -> Steps[list[str]]:
        rows = yield Statement("send_heartbeats", parameters)
        return [row[0] for row in rows]

    return Operation("send_heartbeats", steps)


def close_session(
    instance_id: str, *, reason: str = "closed", operation: UUID | str | None = None
) -> Operation[Session]:
    """End a session in good order and append `instance_closed`; closing twice changes nothing.
    Raises NotFound, Fenced."""
    parameters = {
        "instance_id": check_instance_id(instance_id),
        "event_id": operation_id(instance_id, operation),
        "event_data": encode_object("event_data", {"reason": check_text("reason", reason, 500)}),
    }

    def steps() -> Steps[Session]:
        rows = yield Statement("close_session", parameters)
        if not rows:
            closed = yield Statement("find_event", {"event_ids": [parameters["event_id"]]})
            if closed and closed[0][1] == instance_id:  # acknowledged before a takeover
                rows = yield Statement("get_session", {"instance_id": instance_id})
            else:
                rows = yield from explain_refusal(instance_id)
        return session_from_row(rows[0])

    return Operation("close_session", steps)


def settle_imported(
    instance_id: str,
    *,
    status: Status,
    last_seen: datetime | None,
    context_percent: int | None = None,
) -> Operation[Session]:
    """The registry's last word on a session that was imported from a recording: it is not running, and was last
    seen then. A session that was resumed since stays as it is. Raises NotFound."""
    parameters = {
        "instance_id": check_instance_id(instance_id),
        "status": check_choice("status", status, STATUSES),
        "last_seen": check_time("last_seen", last_seen),
        "context_percent": check_percent("context_percent", context_percent),
    }

    def steps() -> Steps[Session]:
        rows = yield Statement("settle_imported", parameters)
        if not rows:
            rows = yield Statement("get_session", {"instance_id": instance_id})
        if not rows:
            raise not_found(instance_id)
        return session_from_row(rows[0])

    return Operation("settle_imported", steps)


def record_context_percent(instance_id: str, context_percent: int) -> Operation[Session]:
    """How full the context window was last seen, without a heartbeat: also of a session that is closed. One that
    was taken over stays as it is. Raises NotFound."""
    parameters = {
        "instance_id": check_instance_id(instance_id),
        "context_percent": check_percent("context_percent", context_percent),
    }

    def steps() -> Steps[Session]:
        rows = yield Statement("record_context_percent", parameters)
        return session_from_row(rows[0]) if rows else (yield from get_session(instance_id).steps())

    return Operation("record_context_percent", steps)


def get_session(instance_id: str) -> Operation[Session]:
    """The session by its full id. Raises NotFound."""
    check_instance_id(instance_id)

    def steps() -> Steps[Session]:
        rows = yield Statement("get_session", {"instance_id": instance_id})
        if not rows:
            raise not_found(instance_id)
        return session_from_row(rows[0])

    return Operation("get_session", steps)


def find_sessions(
    *,
    project: str | None = None,
    status: Status | None = None,
    instance_type: InstanceType | None = None,
    thread_id: UUID | None = None,
    harness_session_id: str | None = None,
    silent_for: timedelta | None = None,
    before: Place | None = None,
    limit: int = 100,
) -> Operation[list[Session]]:
    """Sessions by latest heartbeat first. `silent_for` keeps those without a heartbeat for that long; `before`
    pages on: (last_heartbeat, instance_id) of the last session seen. At most 10,000 at once."""
    if status is not None:
        check_choice("status", status, STATUSES)
    if instance_type is not None:
        check_choice("instance_type", instance_type, INSTANCE_TYPES)
    parameters = {
        **ALL_PROJECTS,
        "project": project,
        "status": status,
        "instance_type": instance_type,
        "thread_id": thread_id,
        "harness_session_id": harness_session_id,
        "silent_for": silent_for,
        **check_place(before, ""),
        "limit": check_limit(limit),
    }
    statement = "find_silent_sessions" if silent_for is not None and status == "active" else "find_sessions"

    def steps() -> Steps[list[Session]]:
        rows = yield Statement(statement, parameters)
        return [session_from_row(row) for row in rows]

    return Operation("find_sessions", steps)


def explain_refusal(instance_id: str) -> Steps[Rows]:
    """Why no write went through: raises NotFound or Fenced, else returns the session's row."""
    rows = yield Statement("get_session", {"instance_id": instance_id})
    if not rows:
        raise not_found(instance_id)
    session = session_from_row(rows[0])
    if session.superseded_by == instance_id:
        raise forgotten(instance_id)
    if session.superseded_by is not None:
        successor = yield Statement("get_session", {"instance_id": session.superseded_by})
        epoch = session_from_row(successor[0]).owner_epoch if successor else None
        raise Fenced(
            f"instance {instance_id} (epoch {session.owner_epoch}) was taken over by {session.superseded_by}"
            f" (epoch {epoch}); stop writing as {instance_id}",
            instance_id=instance_id,
            epoch=session.owner_epoch,
            successor=session.superseded_by,
            owner_epoch=epoch,
        )
    return rows


def moved_on(instance_id: str, expected: int | None, actual: int) -> SequenceConflict:
    return SequenceConflict(
        f"{instance_id} is at sequence number {actual}, not {expected};"
        " read the events since then and decide again",
        instance_id=instance_id,
        expected=expected,
        actual=actual,
    )


def require_session(instance_id: str) -> Steps[None]:
    """Raises NotFound when there is no such session."""
    rows = yield Statement("get_session", {"instance_id": instance_id})
    if not rows:
        raise not_found(instance_id)


def refuse_forgotten(instance_id: str) -> Steps[None]:
    """Raises NotFound when there is no such session, Fenced when it was forgotten."""
    rows = yield Statement("get_session", {"instance_id": instance_id})
    if not rows:
        raise not_found(instance_id)
    if session_from_row(rows[0]).superseded_by == instance_id:
        raise forgotten(instance_id)


def forgotten(instance_id: str) -> Fenced:
    return Fenced(
        f"session {instance_id} was forgotten; nothing is written to it any more",
        code="session_forgotten",
        instance_id=instance_id,
    )


def not_found(instance_id: str) -> NotFound:
    return NotFound(
        f"no session {instance_id}; `continuity sessions list` shows what is there", instance_id=instance_id
    )


def check_choice(name: str, value: str, choices: Sequence[str]) -> str:
    if value not in choices:
        raise InvalidInput(f"{name} {value!r} is not one of {', '.join(choices)}", code=f"{name}_enum")
    return value


def check_percent(name: str, value: int | None) -> int | None:
    if value is not None and (isinstance(value, bool) or not 0 <= value <= 100):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidInput(f"{name} {value} is not between 0 and 100", code=f"{name}_range")
    return value
