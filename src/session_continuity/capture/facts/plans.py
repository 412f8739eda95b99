"""The agent's plan, kept from the tools that write it whole or change one step of it."""

from __future__ import annotations

from typing import get_args

from session_continuity.capture.facts.facts import JSON, PlanItem, PlanStatus, Record
from session_continuity.capture.facts.transcripts import fields, parts_text, text

WHOLE_PLAN_TOOLS = frozenset({"TodoWrite", "update_plan", "todowrite", "write_todos"})
"""Tools that write the whole plan: Claude Code (seen: 1.0), Codex, OpenCode, Gemini CLI."""

PLAN_TOOLS = WHOLE_PLAN_TOOLS | {"TaskCreate", "TaskUpdate", "TaskList", "ExitPlanMode"}
"""All that say something about the plan; the others are Claude Code's (2.1, not in our recordings)."""

_MAX_ITEMS = 500


class Plan:
    """The current steps by id; `apply` is told of each plan tool that succeeded."""

    def __init__(self) -> None:
        self._items: dict[str, PlanItem] = {}

    @property
    def items(self) -> tuple[PlanItem, ...]:
        """All steps, in the order in which they were made."""
        return tuple(self._items.values())

    def apply(self, tool: str, parameters: Record, result: JSON) -> bool:
        """Change the plan by one finished call; False when the call says nothing about it."""
        if tool in ("TodoWrite", "todowrite"):
            return self._replace(parameters.get("todos"), name="content")
        if tool == "write_todos":
            return self._replace(parameters.get("todos"), name="description")
        if tool == "update_plan":
            return self._replace(parameters.get("plan"), name="step")
        if tool == "TaskList":
            return self._replace(fields(result).get("tasks"), name="subject")
        if tool == "TaskCreate":
            return self._create(parameters, result)
        if tool == "TaskUpdate":
            return self._update(parameters)
        return False

    def _replace(self, steps: JSON, *, name: str) -> bool:
        if not isinstance(steps, list):
            return False
        items: dict[str, PlanItem] = {}
        for number, step in enumerate(steps[:_MAX_ITEMS], start=1):
            words = text(fields(step).get(name))
            if words and fields(step).get("status") != "cancelled":
                key = _id(fields(step).get("id")) or f"#{number}"
                items[key] = PlanItem(text=words, status=_status(fields(step).get("status")))
        self._items = items
        return True

    def _create(self, parameters: Record, result: JSON) -> bool:
        task = fields(fields(result).get("task"))
        words = text(parameters.get("subject")) or text(task.get("subject"))
        key = _id(task.get("id")) or _number_in(parts_text(result)) or f"#{len(self._items) + 1}"
        if not words or len(self._items) >= _MAX_ITEMS:
            return False
        self._items[key] = PlanItem(text=words, status="pending")
        return True

    def _update(self, parameters: Record) -> bool:
        key = _id(parameters.get("taskId"))
        item = self._items.get(key or "")
        if not key or not item:
            return False
        if parameters.get("status") == "deleted":
            del self._items[key]
            return True
        status = _status(parameters["status"]) if "status" in parameters else item.status
        changed = PlanItem(text=text(parameters.get("subject")) or item.text, status=status)
        self._items[key] = changed
        return changed != item


def plan_text(parameters: Record, result: JSON) -> str | None:
    """The plan in words that ExitPlanMode hands over; newer versions keep it in a file and in the result."""
    return text(parameters.get("plan")) or text(fields(result).get("plan"))


def _status(value: JSON) -> PlanStatus:
    for status in get_args(PlanStatus):
        if value == status:
            return status
    return "pending"


def _id(value: JSON) -> str | None:
    return str(value) if isinstance(value, str | int) and str(value).strip() else None


def _number_in(answer: str) -> str | None:
    """The 7 of "Task #7 created successfully: ...", when the structured result is missing."""
    _, mark, rest = answer[:200].partition("#")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    return digits if mark and digits else None
