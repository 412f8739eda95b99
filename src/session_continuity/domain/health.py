"""Health: the figures that tell whether the fleet and its database are well (report: Monitoring
Recommendations)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from session_continuity.domain.errors import InvalidInput
from session_continuity.domain.operation import ALL_PROJECTS, Operation, Statement, Steps

SILENT_AFTER = timedelta(minutes=30)
"""The report's limit: an active session without a heartbeat for longer is suspect."""

COUNTED = 10_000
"""Sessions and commands are counted up to here, so that a look at the health of a huge store stays cheap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemHealth:
    """Counts end at 10,000. `silent` are active sessions without a heartbeat for `silent_for_seconds`; `in_flight`
    are commands whose outcome is not known yet, `failed_last_hour` those that failed. `table_bytes` holds each
    table's size with its indexes."""

    checked_at: datetime
    server_version: str
    project: str | None
    silent_for_seconds: float
    active: int
    stale: int
    silent: int
    in_flight: int
    failed_last_hour: int
    table_bytes: dict[str, int]


_FIELDS = ("checked_at", "server_version", "active", "stale", "silent", "in_flight", "failed_last_hour")


def get_system_health(
    *, project: str | None = None, silent_for: timedelta = SILENT_AFTER
) -> Operation[SystemHealth]:
    """The figures of now, of one project or of all. Raises InvalidInput when `silent_for` is not positive."""
    if not timedelta(0) < silent_for <= timedelta(days=3_650):
        raise InvalidInput("silent_for must be more than nothing and at most ten years", code="silent_for_range")
    parameters = {**ALL_PROJECTS, "project": project, "silent_for": silent_for, "counted": COUNTED}

    def steps() -> Steps[SystemHealth]:
        rows = yield Statement("get_system_health", parameters)
        *figures, table_bytes = rows[0]
        return SystemHealth(
            project=project,
            silent_for_seconds=silent_for.total_seconds(),
            table_bytes=table_bytes,
            **dict(zip(_FIELDS, figures, strict=True)),
        )

    return Operation("get_system_health", steps)
