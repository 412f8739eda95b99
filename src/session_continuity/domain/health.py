"""Health: the figures that tell whether the fleet and its database are well (report: Monitoring
Recommendations)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from session_continuity.domain.errors import InvalidInput
from session_continuity.domain.operation import ALL_PROJECTS, Operation, Statement, Steps
from session_continuity.domain.paging import check_limit

SILENT_AFTER = timedelta(minutes=30)
"""The report's limit: an active session without a heartbeat for longer is suspect."""

SLOW_MS = 5_000
"""The report's limit: a command that takes longer is slow."""

COUNTED = 10_000
"""Counts end here, so that a look at the health of a huge store stays cheap."""

NAMED_PROJECTS = 50
OTHER_PROJECTS = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemHealth:
    """Counts end at 10,000. `silent` are active sessions without a heartbeat for `silent_for_seconds`; `in_flight`
    are commands whose outcome is not known yet; `failed_last_hour` and `slow_last_hour` are commands that failed
    or took over 5 seconds; `alerts` are those that last. `table_bytes`: each table's size with its indexes."""

    checked_at: datetime
    server_version: str
    project: str | None
    silent_for_seconds: float
    active: int
    stale: int
    closed: int
    silent: int
    in_flight: int
    failed_last_hour: int
    slow_last_hour: int
    alerts: int
    table_bytes: dict[str, int]


class MinuteCount(NamedTuple):
    """The events of one minute."""

    minute: datetime
    events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetMetrics:
    """What is counted by name, and the ages and sums. `active_by_project` names the fifty busiest, the rest is
    `other`; `alerts_by_rule` are those that last."""

    active_by_project: dict[str, int]
    alerts_by_rule: dict[str, int]
    oldest_heartbeat_seconds: float
    unsaved_events: int


_COUNTS = ("active", "stale", "closed", "silent", "in_flight", "failed_last_hour", "slow_last_hour", "alerts")
_FIELDS = ("checked_at", "server_version", *_COUNTS, "table_bytes")


def get_system_health(
    *, project: str | None = None, silent_for: timedelta = SILENT_AFTER
) -> Operation[SystemHealth]:
    """The figures of now, of one project or of all. Raises InvalidInput when `silent_for` is not positive."""
    if not timedelta(0) < silent_for <= timedelta(days=3_650):
        raise InvalidInput("silent_for must be more than nothing and at most ten years", code="silent_for_range")
    parameters = {**ALL_PROJECTS, "project": project, "silent_for": silent_for, "counted": COUNTED}

    def steps() -> Steps[SystemHealth]:
        rows = yield Statement("get_system_health", parameters)
        return SystemHealth(
            project=project,
            silent_for_seconds=silent_for.total_seconds(),
            **dict(zip(_FIELDS, rows[0], strict=True)),
        )

    return Operation("get_system_health", steps)


def count_events_by_minute(minutes: int) -> Operation[list[MinuteCount]]:
    """How many events happened in each of the last minutes, the running one last; a minute counts to 10,000.
    Raises InvalidInput."""
    parameters = {**ALL_PROJECTS, "minutes": check_limit(minutes, 1_440), "counted": COUNTED}

    def steps() -> Steps[list[MinuteCount]]:
        rows = yield Statement("count_events_by_minute", parameters)
        return [MinuteCount._make(row) for row in rows]

    return Operation("count_events_by_minute", steps)


def get_fleet_metrics() -> Operation[FleetMetrics]:
    """The figures of now of all projects."""

    def steps() -> Steps[FleetMetrics]:
        rows = yield Statement("get_fleet_metrics", {"counted": COUNTED, "named": NAMED_PROJECTS})
        by_project, active, by_rule, oldest, unsaved = rows[0]
        rest = active - sum(by_project.values())
        return FleetMetrics(
            active_by_project={**by_project, **({OTHER_PROJECTS: rest} if rest > 0 else {})},
            alerts_by_rule=by_rule,
            oldest_heartbeat_seconds=max(0.0, oldest or 0.0),
            unsaved_events=unsaved,
        )

    return Operation("get_fleet_metrics", steps)
