"""The timeline: one session's events, commands and checkpoints merged by time. The report's own query joins
the three on instance_id alone, which multiplies their rows; this one merges them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, NamedTuple

from session_continuity.domain.errors import InvalidInput
from session_continuity.domain.identity import check_instance_id
from session_continuity.domain.operation import Operation, Statement, Steps
from session_continuity.domain.session_registry import check_limit, not_found


class TimelineEntry(NamedTuple):
    """One entry. `name` is the event type, the command's action or the checkpoint type; `reference` the sequence
    number of an event or checkpoint, the id of a command. `detail` is the event's data or the command's
    parameters; `outcome` is a command's, None while it is in flight."""

    at: datetime
    kind: Literal["event", "command", "checkpoint"]
    reference: int
    name: str
    detail: Any
    outcome: str | None
    context_window_percent: int | None

    @property
    def cursor(self) -> str:
        """Where the next page starts when this is the last entry of a page."""
        return f"{self.at.isoformat()},{_RANK[self.kind]},{self.reference}"


_RANK = {"event": 1, "command": 2, "checkpoint": 3}


def get_timeline(
    instance_id: str, *, after: str | None = None, limit: int = 200
) -> Operation[list[TimelineEntry]]:
    """A page of the timeline, oldest first; `after` is the cursor of the last entry seen. Raises NotFound,
    InvalidInput (cursor)."""
    check_instance_id(instance_id)
    at, rank, reference = _parse(after)
    parameters = {
        "instance_id": instance_id,
        "at": at,
        "rank": rank,
        "reference": reference,
        "limit": check_limit(limit),
    }

    def steps() -> Steps[list[TimelineEntry]]:
        rows = yield Statement("get_timeline", parameters)
        if not rows:
            found = yield Statement("get_session", {"instance_id": instance_id})
            if not found:
                raise not_found(instance_id)
        return [TimelineEntry._make(row) for row in rows]

    return Operation("get_timeline", steps)


def _parse(cursor: str | None) -> tuple[datetime | None, int, int]:
    if cursor is None:
        return None, 0, 0
    try:
        at, rank, reference = cursor.split(",")
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None:
            raise ValueError("no time zone")
        return moment, int(rank), int(reference)
    except ValueError:
        raise InvalidInput(
            f"{cursor[:80]!r} is not a timeline cursor; take one from a page", code="cursor"
        ) from None
