"""The figures of the fleet for metrics: few, bounded, and by no name that grows without end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from session_continuity.domain.operation import Operation, Statement, Steps

COUNTED = 10_000
"""Where a count ends that no index makes cheap."""

NAMED_PROJECTS = 50
OTHER_PROJECTS = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetMetrics:
    """`sessions` by state; `active_by_project` names the fifty busiest, the rest is `other`; `alerts` that last by
    rule. Commands are those of the last hour, events those of the last whole minute."""

    at: datetime
    sessions: dict[str, int]
    active_by_project: dict[str, int]
    oldest_heartbeat_seconds: float
    unsaved_events: int
    in_flight: int
    failed_commands: int
    slow_commands: int
    events_last_minute: int
    alerts: dict[str, int]


def get_fleet_metrics() -> Operation[FleetMetrics]:
    """The figures of now."""

    def steps() -> Steps[FleetMetrics]:
        rows = yield Statement("get_fleet_metrics", {"counted": COUNTED, "projects": NAMED_PROJECTS})
        at, active, stale, closed, by_project, oldest, unsaved, in_flight, failed, slow, events, alerts = rows[0]
        rest = active - sum(by_project.values())
        return FleetMetrics(
            at=at,
            sessions={"active": active, "stale": stale, "closed": closed},
            active_by_project={**by_project, **({OTHER_PROJECTS: rest} if rest > 0 else {})},
            oldest_heartbeat_seconds=max(0.0, oldest or 0.0),
            unsaved_events=unsaved,
            in_flight=in_flight,
            failed_commands=failed,
            slow_commands=slow,
            events_last_minute=events,
            alerts=alerts,
        )

    return Operation("get_fleet_metrics", steps)
