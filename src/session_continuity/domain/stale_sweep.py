"""The stale sweep: active sessions that nothing was heard of in time become stale, and may return by a heartbeat.

All times are the database clock's. Each transition is one statement under the row's lock, with the event's number
allocated in it, so any number of sweepers makes each transition once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from session_continuity.domain.errors import InvalidInput
from session_continuity.domain.health import SILENT_AFTER
from session_continuity.domain.identity import check_instance_id, new_operation_id, operation_id
from session_continuity.domain.operation import Operation, Statement, Steps
from session_continuity.domain.paging import check_limit
from session_continuity.domain.payload import check_text, encode_object
from session_continuity.domain.session_registry import Session, Status, explain_refusal, session_from_row

MISSED_BEATS = 3
"""A session that declared how often it beats is silent after as many of its intervals."""

SHORTEST = timedelta(seconds=60)
"""No session is silent earlier, however often it wanted to beat: captures wait in spools, networks pause."""

QUIET_FOR = timedelta(seconds=8)
"""A session whose process is gone is left alone for so long after the last sign of it: its end may be on its
way."""


BEAT_EVERY = timedelta(seconds=15)
"""Between two heartbeats of a session whose process is seen running."""


class SilentSession(NamedTuple):
    """An active session whose time has run out. Times are aware, from the database clock. A named tuple, since a
    fleet may fall silent at once."""

    instance_id: str
    project: str
    host: str | None
    last_heartbeat: datetime
    process_seen_at: datetime | None
    heartbeat_interval_seconds: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SilentCount:
    """How many active sessions are silent; of the `others` no more are counted than of these."""

    silent: int
    others: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """A session that became stale, with the number of its `instance_stale` event."""

    instance_id: str
    sequence_num: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenProcess:
    """A session that may still run on a host, with its process as it was seen running: `beat_due` when the last
    heartbeat is old enough for another one."""

    instance_id: str
    status: Status
    process: dict[str, Any]
    beat_due: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleUnsaved:
    """A session that became stale and has no checkpoint since: the number of its event, and why (silent,
    process_gone)."""

    instance_id: str
    sequence_num: int
    reason: str


_PROCESS_FIELDS = tuple(SeenProcess.__dataclass_fields__)


def find_silent(*, stale_after: timedelta = SILENT_AFTER, limit: int = 1_000) -> Operation[list[SilentSession]]:
    """The sessions that a sweep would make stale now, in no order: those without a heartbeat for `stale_after`,
    or, where they declared an interval, for three of these, at least a minute. Raises InvalidInput."""
    parameters = {**_limits(stale_after), "limit": check_limit(limit)}

    def steps() -> Steps[list[SilentSession]]:
        rows = yield Statement("find_silent", parameters)
        return [SilentSession._make(row) for row in rows]

    return Operation("find_silent", steps)


def count_silent(*, stale_after: timedelta = SILENT_AFTER) -> Operation[SilentCount]:
    """How many sessions find_silent would find, and whether as many others are active. Raises InvalidInput."""
    parameters = _limits(stale_after)

    def steps() -> Steps[SilentCount]:
        rows = yield Statement("count_silent", parameters)
        return SilentCount(silent=rows[0][0], others=rows[0][1])

    return Operation("count_silent", steps)


def mark_silent(*, stale_after: timedelta = SILENT_AFTER, limit: int = 500) -> Operation[list[Stale]]:
    """Make silent sessions stale, at most `limit`, each with its `instance_stale` event. Raises InvalidInput."""
    parameters = {**_limits(stale_after), "limit": check_limit(limit)}
    return Operation("mark_silent", lambda: _mark("mark_silent", parameters, limit))


def mark_gone(processes: Sequence[tuple[str, dict[str, Any] | None]]) -> Operation[list[Stale]]:
    """Make active sessions stale whose process was seen to be gone: pairs of the instance id and the process as
    the registry keeps it (None: whatever it keeps). One that runs in another process by now, or was heard of in
    the last seconds, is passed over. Raises InvalidInput."""
    parameters = {
        "instance_ids": [check_instance_id(instance_id) for instance_id, _ in processes],
        "processes": [process and encode_object("process", process) for _, process in processes],
        "quiet_for": QUIET_FOR,
    }
    return Operation("mark_gone", lambda: _mark("mark_gone", parameters, len(processes)))


def mark_stale(instance_id: str, *, reason: str, operation: UUID | str | None = None) -> Operation[Session]:
    """Make one active session stale because somebody says so; a heartbeat brings it back. One that is not active
    stays as it is. Raises NotFound, Fenced."""
    parameters = {
        "instance_id": check_instance_id(instance_id),
        "event_id": operation_id(instance_id, operation),
        "event_data": encode_object("event_data", {"reason": check_text("reason", reason, 500)}),
    }

    def steps() -> Steps[Session]:
        rows = yield Statement("mark_stale", parameters)
        return session_from_row((rows or (yield from explain_refusal(instance_id)))[0])

    return Operation("mark_stale", steps)


def find_processes(
    host: str, *, beat_every: timedelta = BEAT_EVERY, limit: int = 10_000
) -> Operation[list[SeenProcess]]:
    """The sessions of a host whose process was seen running, and that are active or became stale within a week.
    Raises InvalidInput."""
    parameters = {"host": check_text("host", host, 4_096), "due_after": beat_every, "limit": check_limit(limit)}

    def steps() -> Steps[list[SeenProcess]]:
        rows = yield Statement("find_processes", parameters)
        return [SeenProcess(**dict(zip(_PROCESS_FIELDS, row, strict=True))) for row in rows]

    return Operation("find_processes", steps)


def find_stale_unsaved(*, limit: int = 500) -> Operation[list[StaleUnsaved]]:
    """Sessions that became stale in the last ten minutes and have no checkpoint since. Raises InvalidInput."""
    parameters = {"limit": check_limit(limit)}

    def steps() -> Steps[list[StaleUnsaved]]:
        rows = yield Statement("find_stale_unsaved", parameters)
        return [
            StaleUnsaved(instance_id=instance_id, sequence_num=sequence_num, reason=reason or "silent")
            for instance_id, sequence_num, reason in rows
        ]

    return Operation("find_stale_unsaved", steps)


def bring_back_from_future(*, limit: int = 500) -> Operation[list[str]]:
    """After the database clock was set back, count heartbeats of a time to come as of now, at most `limit`: a
    session that is dead would else seem alive until then. Returns the instance ids. Raises InvalidInput."""
    parameters = {"limit": check_limit(limit)}

    def steps() -> Steps[list[str]]:
        rows = yield Statement("bring_back_from_future", parameters)
        return [row[0] for row in rows]

    return Operation("bring_back_from_future", steps)


def _mark(statement: str, parameters: dict[str, Any], most: int) -> Steps[list[Stale]]:
    # New ids at each attempt: after a lost reply it is other sessions that are still to be marked.
    event_ids = [new_operation_id() for _ in range(most)]
    rows = yield Statement(statement, {**parameters, "event_ids": event_ids})
    return [Stale(instance_id=instance_id, sequence_num=sequence_num) for instance_id, sequence_num in rows]


def _limits(stale_after: timedelta) -> dict[str, Any]:
    if not SHORTEST <= stale_after <= timedelta(days=3_650):
        raise InvalidInput("stale_after must be a minute to ten years", code="stale_after_range")
    return {
        "stale_after": stale_after,
        "missed_beats": MISSED_BEATS,
        "shortest_seconds": round(SHORTEST.total_seconds()),
    }
