"""The activity of one session over its life: context, tests and tools, for charts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from session_continuity.domain.identity import check_instance_id
from session_continuity.domain.operation import Operation, Statement, Steps
from session_continuity.domain.session_registry import require_session

MOST_POINTS = 400
MOST_TOOLS = 40


class ContextPoint(NamedTuple):
    """A `context_window_updated`, `context_compacted` or `checkpoint_created`; `percent` is of the first kind."""

    event_type: str
    sequence_num: int
    timestamp: datetime
    percent: float | None


class CheckPoint(NamedTuple):
    """A test or validation that passed or failed."""

    event_type: str
    sequence_num: int
    timestamp: datetime
    command: str


class ToolFigures(NamedTuple):
    """The commands of one tool; times in milliseconds, None when none is known."""

    tool: str
    commands: int
    failed: int
    median_ms: float | None
    p95_ms: float | None
    total_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """Each list in time order, tools by use. Of more than 400 points of a kind every n-th is there."""

    context: list[ContextPoint]
    checks: list[CheckPoint]
    tools: list[ToolFigures]


def get_activity(instance_id: str) -> Operation[Activity]:
    """What the charts of a session are drawn from. Raises NotFound."""
    one = {"instance_id": check_instance_id(instance_id)}

    def steps() -> Steps[Activity]:
        yield from require_session(instance_id)
        context = yield Statement("get_context_points", {**one, "most": MOST_POINTS})
        checks = yield Statement("get_check_points", {**one, "most": MOST_POINTS})
        tools = yield Statement("get_tool_figures", {**one, "most": MOST_TOOLS})
        return Activity(
            context=[ContextPoint._make(row) for row in context],
            checks=[CheckPoint._make(row) for row in checks],
            tools=[ToolFigures._make(row) for row in tools],
        )

    return Operation("get_activity", steps)
