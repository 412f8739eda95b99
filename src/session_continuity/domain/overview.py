"""The overview: the latest sessions with what each is doing now (report: Create Admin Dashboard)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from session_continuity.domain.operation import ALL_PROJECTS, Operation, Statement, Steps
from session_continuity.domain.paging import Place, check_limit, check_place
from session_continuity.domain.session_registry import (
    INSTANCE_TYPES,
    STATUSES,
    InstanceType,
    Session,
    Status,
    check_choice,
    session_from_row,
)

AMONG = 10_000
"""A text is looked for among so many sessions of each state, the latest heartbeat first."""

_SESSION = len(Session.__dataclass_fields__)


class CommandInFlight(NamedTuple):
    """A command whose outcome is not known yet."""

    id: int
    action: str
    tool_name: str | None
    started_at: datetime


class LastEvent(NamedTuple):
    """The event with the session's highest sequence number."""

    sequence_num: int
    event_type: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionNow:
    """A session and what it is doing. `unsaved_events` were appended since its latest checkpoint, or ever."""

    session: Session
    in_flight: CommandInFlight | None
    last_event: LastEvent | None
    checkpoint_at: datetime | None
    unsaved_events: int


def get_overview(
    *,
    project: str | None = None,
    statuses: Sequence[Status] = STATUSES,
    instance_type: InstanceType | None = None,
    text: str | None = None,
    before: Place | None = None,
    limit: int = 100,
) -> Operation[list[SessionNow]]:
    """The sessions of these states by latest heartbeat, each with its command in flight, last event and unsaved
    events. `text` is looked for in id, project, epic, harness, host, folder and branch, without regard to case.
    `before` pages on: (last_heartbeat, instance_id) of the last one. Raises InvalidInput."""
    for status in statuses:
        check_choice("status", status, STATUSES)
    if instance_type is not None:
        check_choice("instance_type", instance_type, INSTANCE_TYPES)
    parameters = {
        **ALL_PROJECTS,
        "project": project,
        "statuses": list(statuses),
        "instance_type": instance_type,
        "text": text,
        "among": AMONG,
        **check_place(before, ""),
        "limit": check_limit(limit, 1_000),
    }

    def steps() -> Steps[list[SessionNow]]:
        rows = yield Statement("get_overview", parameters)
        return [_now(row) for row in rows]

    return Operation("get_overview", steps)


def list_projects(*, limit: int = 1_000) -> Operation[list[str]]:
    """The projects that have a session, by name."""
    parameters = {**ALL_PROJECTS, "limit": check_limit(limit)}

    def steps() -> Steps[list[str]]:
        rows = yield Statement("list_projects", parameters)
        return [row[0] for row in rows]

    return Operation("list_projects", steps)


def _now(row: tuple[Any, ...]) -> SessionNow:
    session = session_from_row(row[:_SESSION])
    command, event, checkpoint = (
        row[_SESSION : _SESSION + 4],
        row[_SESSION + 4 : _SESSION + 7],
        row[_SESSION + 7 :],
    )
    return SessionNow(
        session=session,
        in_flight=None if command[0] is None else CommandInFlight._make(command),
        last_event=None if event[0] is None else LastEvent._make(event),
        checkpoint_at=checkpoint[1],
        unsaved_events=max(0, session.last_sequence_num - (checkpoint[0] or 0)),
    )
