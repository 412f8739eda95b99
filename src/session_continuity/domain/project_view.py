"""The records as someone finds them who may see some projects alone.

An operation asks for rows by named statements; here each of them is narrowed before it runs. A session of another
project is asked for under a name that no session can have, a list is asked for among the allowed projects. So what
an operation then answers, lists, pages, counts and "not found" alike, is what it would answer if nothing else were
stored. A statement that is not known here is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from session_continuity.domain.errors import Forbidden, InvalidInput, SessionContinuityError
from session_continuity.domain.identity import slug
from session_continuity.domain.operation import Operation, Rows, Statement, Steps

T = TypeVar("T")

BY_INSTANCE: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "send_heartbeat", "mark_stale", "close_session", "lock_session", "supersede_session",
            "settle_unknown_commands", "get_lineage", "append_event", "append_events", "compare_events",
            "read_events", "read_folded",
            "number_at", "recover", "take_checkpoint", "latest_checkpoint", "record_commands", "record_outcome",
            "get_command", "find_commands_for_brief", "get_timeline",
            "get_timeline_before", "find_timeline_entry", "get_context_points", "get_check_points",
            "get_tool_figures",
        ),
        "instance_id",
    ),
    "continue_session": "predecessor_id",
}  # fmt: skip
"""Statements about one session, and the parameter that names it."""

OVER_SESSIONS = frozenset({
    "find_sessions", "find_silent_sessions", "find_resumable", "find_events", "search_commands",
    "search_failed_commands", "list_checkpoints", "get_family", "get_system_health", "find_sessions_since",
    "find_results_since", "get_overview", "count_events_by_minute", "list_projects", "list_actions",
    "list_alerts", "acknowledge_alert", "search_records",
})  # fmt: skip
"""Statements over many sessions: they take `projects`."""

BY_ROW: Mapping[str, int] = {"find_event": 1, "get_checkpoint": 1}
"""Statements by another id, and the column of their rows that names the session."""

_PROJECT = 1
"""The column of a session's row."""

_NO_SESSION = ""


def within(projects: frozenset[str], operation: Operation[T]) -> Operation[T]:
    """The operation for someone who may see these projects alone. Raises what the operation raises, and Forbidden
    for a session that would be registered in another project."""
    locked = operation.locked
    return Operation(
        operation.name,
        lambda: _narrowed(projects, operation.steps()),
        atomic=operation.atomic,
        locked=None if locked is None else lambda: _narrowed(projects, locked()),
    )


def _narrowed(projects: frozenset[str], steps: Steps[T]) -> Steps[T]:
    seen: dict[str, bool] = {}
    try:
        asked = next(steps)
        while True:
            try:
                rows = yield from _ask(projects, seen, asked)
            except SessionContinuityError as error:
                asked = steps.throw(error)
            else:
                asked = steps.send(rows)
    except StopIteration as done:
        return done.value
    finally:
        steps.close()


def _ask(projects: frozenset[str], seen: dict[str, bool], asked: Statement) -> Steps[Rows]:
    name, parameters = asked
    if name == "get_session":
        rows = yield asked
        return [row for row in rows if row[_PROJECT] in projects]
    if name in BY_INSTANCE:
        named = BY_INSTANCE[name]
        if not (yield from _sees(projects, seen, parameters[named])):
            asked = Statement(name, {**parameters, named: _NO_SESSION})
        return (yield asked)
    if name in OVER_SESSIONS:
        return (yield Statement(name, {**parameters, "projects": sorted(projects)}))
    if name in BY_ROW:
        rows = yield asked
        kept: Rows = []
        for row in rows:
            if (yield from _sees(projects, seen, row[BY_ROW[name]])):
                kept.append(row)
        return kept
    if name == "record_action":  # it says who did what, and answers nothing
        return (yield asked)
    if name == "register_session":
        _check_registration(projects, parameters)
        return (yield asked)
    raise Forbidden(f"{name} is not for those who may see some projects alone")


def _sees(projects: frozenset[str], seen: dict[str, bool], instance_id: str) -> Steps[bool]:
    if instance_id not in seen:
        rows = yield Statement("get_session", {"instance_id": instance_id})
        seen[instance_id] = bool(rows) and rows[0][_PROJECT] in projects
    return seen[instance_id]


def _check_registration(projects: frozenset[str], parameters: Mapping[str, Any]) -> None:
    if parameters["project"] not in projects:
        raise Forbidden(
            f"no session of project {parameters['project']!r} may be registered; allowed are: "
            + (", ".join(sorted(projects)) or "none"),
            code="project_not_allowed",
        )
    # "That id is taken" would tell of sessions elsewhere.
    own = f"{slug(parameters['project'])}-{parameters['instance_type']}-"
    if not parameters["instance_id"].startswith(own) or len(parameters["instance_id"]) != len(own) + 6:
        raise InvalidInput(
            f"instance_id must be {own} and six of a-z 0-9, or be left out", code="instance_id_format"
        )
