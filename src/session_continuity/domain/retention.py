"""Retention: which rows the policy lets go to the archive. What recovery rests on and what a brief shows is never
among them, so every session is recovered, resumed and forked without its archives."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from session_continuity.domain.operation import Operation, Statement, Steps
from session_continuity.domain.retention_policy import Retention, RetentionPolicy
from session_continuity.domain.work_state import SCHEMA_VERSION

MOST_ROWS, MOST_SESSIONS = 1_000_000, 2_000
"""Of one archive."""

BRIEF_COMMANDS = 10
"""So many of the last commands, and of the last failed ones, stay (threads.BRIEF_COMMANDS)."""

_ALL = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectPlan:
    """What the policy of a project does now. `held` are old closed sessions under legal hold;
    `without_checkpoint` those without a checkpoint that recovery could rest on, whose events stay. The `expired`
    archives are deleted for good."""

    project: str
    policy: RetentionPolicy
    sessions: int
    events: int
    commands: int
    checkpoints: int
    held: int
    without_checkpoint: int
    expired: tuple[str, ...]

    @property
    def rows(self) -> int:
        return self.events + self.commands + self.checkpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class Archivable:
    """Rows of one session for the archive: events from `first` to `last`, commands and checkpoints by id."""

    instance_id: str
    first: int | None
    last: int | None
    events: int
    commands: tuple[int, ...]
    checkpoints: tuple[UUID, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpiredArchive:
    """An archive past its age."""

    archive_id: str
    host: str
    folder: str
    rows: int
    bytes: int


def plan_retention(retention: Retention, *, project: str | None = None) -> Operation[list[ProjectPlan]]:
    """What each project's policy does now, for the projects for which it does anything at all."""

    def steps() -> Steps[list[ProjectPlan]]:
        plans: list[ProjectPlan] = []
        for name, policy in (yield from _policies(retention, project)):
            plans.append((yield from _plan(name, policy)))
        return plans

    return Operation("plan_retention", steps)


def list_policies(
    retention: Retention, *, project: str | None = None
) -> Operation[list[tuple[str, RetentionPolicy]]]:
    """The projects for which their policy does anything at all, with it; nothing is counted."""
    return Operation("list_policies", lambda: _policies(retention, project))


def _policies(retention: Retention, project: str | None) -> Steps[list[tuple[str, RetentionPolicy]]]:
    rows = yield Statement("list_retained_projects", {})
    found = [(name, retention.of(name)) for (name,) in rows if project in (None, name)]
    return [(name, policy) for name, policy in found if policy.archives or policy.delete_archives_after]


def _plan(project: str, policy: RetentionPolicy) -> Steps[ProjectPlan]:
    counts, held, without = [0, 0, 0, 0], 0, 0
    if policy.archives:
        rows = yield Statement("plan_retention", {**_parameters(project, policy), "most": _ALL})
        counts = list(rows[0])
        rows = yield Statement("count_held", _parameters(project, policy))
        held, without = rows[0]
    expired: tuple[str, ...] = ()
    if policy.delete_archives_after:
        rows = yield Statement(
            "find_expired_archives", {"project": project, "delete_after": policy.delete_archives_after}
        )
        expired = tuple(row[0] for row in rows)
    return ProjectPlan(
        project=project,
        policy=policy,
        sessions=counts[0],
        events=counts[1],
        commands=counts[2],
        checkpoints=counts[3],
        held=held,
        without_checkpoint=without,
        expired=expired,
    )


def find_archivable(
    project: str, policy: RetentionPolicy, *, most_rows: int = MOST_ROWS, distrusted: Collection[str] = ()
) -> Operation[list[Archivable]]:
    """The rows for the next archive of a project: at most `most_rows` of at most 2,000 sessions. Of `distrusted`
    sessions, whose checkpoint recovery can't rest on, commands alone."""
    parameters = {
        **_parameters(project, policy, distrusted),
        "most": most_rows,
        "sessions": MOST_SESSIONS,
    }

    def steps() -> Steps[list[Archivable]]:
        found: list[Archivable] = []
        room = most_rows
        for row in (yield Statement("find_archivable", parameters)):
            one = _within(room, *row)
            found.append(one)
            room -= one.events + len(one.commands) + len(one.checkpoints)
            if room <= 0:
                break
        return found

    return Operation("find_archivable", steps)


def _within(
    room: int,
    instance_id: str,
    first: int | None,
    last: int | None,
    events: int,
    commands: list[int] | None,
    checkpoints: list[UUID] | None,
) -> Archivable:
    if first is not None and last is not None and events > room:
        last, events = first + room - 1, room  # numbers that plain SQL left out make it fewer
    return Archivable(
        instance_id=instance_id,
        first=first,
        last=last,
        events=events,
        commands=tuple(commands or ())[: max(0, room - events)],
        checkpoints=tuple(checkpoints or ())[: max(0, room - events - len(commands or ()))],
    )


def find_expired_archives(project: str, policy: RetentionPolicy) -> Operation[list[ExpiredArchive]]:
    """The archives of a project that its policy deletes now."""

    def steps() -> Steps[list[ExpiredArchive]]:
        if policy.delete_archives_after is None:
            return []
        rows = yield Statement(
            "find_expired_archives", {"project": project, "delete_after": policy.delete_archives_after}
        )
        return [
            ExpiredArchive(archive_id=row[0], host=row[1], folder=row[2], rows=sum(row[3:6]), bytes=row[6])
            for row in rows
        ]

    return Operation("find_expired_archives", steps)


def _parameters(project: str, policy: RetentionPolicy, distrusted: Collection[str] = ()) -> dict[str, Any]:
    return {
        "project": project,
        "distrusted": list(distrusted),
        "schema_version": SCHEMA_VERSION,
        "brief_commands": BRIEF_COMMANDS,
        "sessions_after": policy.archive_sessions_after,
        "events_after": policy.archive_events_after,
        "commands_after": policy.archive_commands_after,
        "checkpoints_after": policy.archive_checkpoints_after,
        "shortest": policy.shortest,
        "keep_sessions": policy.keep_sessions,
        "keep_events": policy.keep_events,
        "keep_commands": policy.keep_commands,
        "keep_checkpoints": policy.keep_checkpoints,
    }
