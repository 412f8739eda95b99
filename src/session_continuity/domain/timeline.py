"""The timeline: one session's events, commands and checkpoints merged by time. The report's own query joins
the three on instance_id alone, which multiplies their rows; this one merges them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from session_continuity.domain.command_log import SEARCHED_OUTCOMES, SearchedOutcome
from session_continuity.domain.errors import InvalidInput, NotFound
from session_continuity.domain.identity import check_instance_id
from session_continuity.domain.operation import Operation, Statement, Steps
from session_continuity.domain.paging import check_limit
from session_continuity.domain.session_registry import check_choice, not_found

Kind = Literal["event", "command", "checkpoint"]
KINDS = ("event", "command", "checkpoint")


class TimelineEntry(NamedTuple):
    """One entry. `name` is the event type, the command's action or the checkpoint type; `reference` the sequence
    number of an event or checkpoint, the id of a command. `detail` is the event's data or the command's
    parameters; `outcome` is a command's, None while it is in flight, like its tool and how long it took."""

    at: datetime
    kind: Kind
    reference: int
    name: str
    detail: Any
    outcome: str | None
    context_window_percent: int | None
    tool_name: str | None
    execution_time_ms: int | None

    @property
    def cursor(self) -> str:
        """Where the next page starts when this is the last entry of a page."""
        return f"{self.at.isoformat()},{_RANK[self.kind]},{self.reference}"


_RANK = {"event": 1, "command": 2, "checkpoint": 3}


def get_timeline(
    instance_id: str,
    *,
    after: str | None = None,
    before: str | None = None,
    newest_first: bool = False,
    kinds: Sequence[Kind] | None = None,
    type: str | None = None,
    outcome: SearchedOutcome | None = None,
    text: str | None = None,
    limit: int = 200,
) -> Operation[list[TimelineEntry]]:
    """A page of the timeline, oldest first; `after` is the cursor of the last entry seen. With `newest_first`, or
    `before` a cursor, the latest come first and lead back. `kinds`, `type` (an event type, tool or checkpoint
    type), `outcome` (of commands) and `text` (in any case) keep those that fit. Raises NotFound, InvalidInput
    (cursor)."""
    check_instance_id(instance_id)
    if after is not None and (before is not None or newest_first):
        raise InvalidInput("after leads on and before leads back: give one of them", code="cursor")
    for kind in kinds or ():
        check_choice("kind", kind, KINDS)
    if outcome is not None:
        check_choice("outcome", outcome, SEARCHED_OUTCOMES)
    at, rank, reference = _parse(after if after is not None else before)
    parameters = {
        "instance_id": instance_id,
        "at": at,
        "rank": rank,
        "reference": reference,
        "kinds": None if kinds is None else list(kinds),
        "type": type,
        "outcome": outcome,
        "text": text,
        "limit": check_limit(limit),
    }
    statement = "get_timeline_before" if newest_first or before is not None else "get_timeline"

    def steps() -> Steps[list[TimelineEntry]]:
        rows = yield Statement(statement, parameters)
        if not rows:
            found = yield Statement("get_session", {"instance_id": instance_id})
            if not found:
                raise not_found(instance_id)
        return [TimelineEntry._make(row) for row in rows]

    return Operation("get_timeline", steps)


def find_timeline_entry(instance_id: str, kind: Kind, reference: int) -> Operation[str]:
    """The cursor from which a page leads back that begins with that entry. Raises NotFound."""
    check_choice("kind", kind, KINDS)
    parameters = {"instance_id": check_instance_id(instance_id), "kind": kind, "reference": reference}

    def steps() -> Steps[str]:
        rows = yield Statement("find_timeline_entry", parameters)
        if not rows:
            raise NotFound(f"{instance_id} has no {kind} {reference}", instance_id=instance_id)
        return f"{rows[0][0].isoformat()},{_RANK[kind]},{reference + 1}"

    return Operation("find_timeline_entry", steps)


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
