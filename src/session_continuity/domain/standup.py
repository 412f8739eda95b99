"""The stand-up: what the sessions of a project did since a time, told by the events that mark results."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from session_continuity.domain.errors import InvalidInput
from session_continuity.domain.event_store import Event
from session_continuity.domain.operation import ALL_PROJECTS, Operation, Statement, Steps
from session_continuity.domain.paging import check_limit
from session_continuity.domain.payload import check_text, check_time
from session_continuity.domain.session_registry import Session, session_from_row

RESULTS = (
    "epic_started",
    "epic_completed",
    "epic_failed",
    "test_failed",
    "validation_failed",
    "commit_created",
    "pr_created",
    "pr_merged",
    "deployment_completed",
    "deployment_failed",
    "feature_requested",
    "note_recorded",
    "instance_resumed",
    "instance_closed",
)
"""The event types of a stand-up: results and what the next one must know, not the steps on the way."""

_SESSIONS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Standup:
    """The sessions that lived since then, the latest heartbeat first, and their results in time order. When
    there were more results than asked for, `is_whole` is false and the earliest ones are missing."""

    project: str
    since: datetime
    sessions: list[Session]
    events: list[Event]
    is_whole: bool


def gather_standup(project: str, since: datetime, *, limit: int = 200) -> Operation[Standup]:
    """What the sessions of a project did since a time: at most 100 sessions and `limit` events. Raises
    InvalidInput."""
    check_text("project", project, 200)
    if check_time("since", since) is None:
        raise InvalidInput("since is missing", code="since_missing")
    parameters = {**ALL_PROJECTS, "project": project, "since": since}
    check_limit(limit)

    def steps() -> Steps[Standup]:
        lived = yield Statement("find_sessions_since", {**parameters, "limit": _SESSIONS})
        found = yield Statement(
            "find_results_since", {**parameters, "event_types": list(RESULTS), "limit": limit + 1}
        )
        return Standup(
            project=project,
            since=since,
            sessions=[session_from_row(row) for row in lived],
            events=[Event._make(row) for row in reversed(found[:limit])],
            is_whole=len(found) <= limit,
        )

    return Operation("gather_standup", steps)
