"""Automatic checkpoints of sessions that nobody else takes them for, such as those written by the plain library:
once for each crossing of the context threshold, when an epic is completed, after many events, and of idle sessions
with events that no checkpoint covers.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from uuid import UUID

from session_continuity.domain.checkpoints import Checkpoint, take_checkpoint
from session_continuity.domain.errors import InvalidInput
from session_continuity.domain.operation import Operation, Statement, Steps
from session_continuity.domain.paging import check_limit
from session_continuity.domain.session_registry import check_percent

IDLE_AFTER = timedelta(minutes=10)
"""Without an event for so long, a session is idle."""

MOST_EVENTS = 100
"""With so many events after the last checkpoint another one is due: recovery folds no more than about these."""

Cause = Literal["epic completed", "context threshold", "many events", "idle"]
Place = tuple[str, UUID]
"""Host and thread of the last session of a page."""

FIRST_PLACE: Place = ("", UUID(int=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointDue:
    """A session whose state is to be saved: at its event `sequence_num`, the last checkpoint being that of event
    `saved` (0: none yet)."""

    instance_id: str
    sequence_num: int
    saved: int
    percent: int | None
    cause: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class DuePage:
    """The sessions of one page that are due, how many were looked at, and the place to go on from (None: the last
    page)."""

    due: list[CheckpointDue]
    looked_at: int
    next_place: Place | None


def find_checkpoints_due(
    *,
    threshold_percent: int = 80,
    idle_after: timedelta = IDLE_AFTER,
    after: Place = FIRST_PLACE,
    page: int = 2_000,
) -> Operation[DuePage]:
    """One page of the sessions that may still run, from after the place `after`. Raises InvalidInput."""
    if not timedelta(seconds=1) <= idle_after <= timedelta(days=3_650):
        raise InvalidInput("idle_after must be a second to ten years", code="idle_after_range")
    parameters = {
        "threshold": check_percent("threshold_percent", threshold_percent),
        "idle_after": idle_after,
        "most_events": MOST_EVENTS,
        "after_host": after[0],
        "after_thread": after[1],
        "page": check_limit(page),
    }

    def steps() -> Steps[DuePage]:
        rows = yield Statement("find_checkpoints_due", parameters)
        if not rows:
            return DuePage(due=[], looked_at=0, next_place=None)
        last = rows.pop()
        return DuePage(
            due=[
                CheckpointDue(instance_id=row[0], sequence_num=row[1], saved=row[2], percent=row[3], cause=row[4])
                for row in rows
            ],
            looked_at=last[5],
            next_place=(last[6], last[7]) if last[5] == page else None,
        )

    return Operation("find_checkpoints_due", steps)


def take_due_checkpoint(due: CheckpointDue) -> Operation[Checkpoint]:
    """The checkpoint that is due, once, whoever else takes it at this moment: it is named by the one before it,
    and taken only while the session is where it was found. Raises SequenceConflict when it has moved on, and what
    take_checkpoint raises."""
    return take_checkpoint(
        due.instance_id,
        checkpoint_type="automatic",
        context_window_percent=due.percent,
        reason=due.cause,
        operation=f"automatic checkpoint after {due.saved}",
        expected_sequence=due.sequence_num,
    )
