"""Errors as an agent can act on them: what was wrong, what is allowed, what to call next.

What comes from the caller's own words is told as it is. What comes from the database is told in words of ours:
its own would name tables, roles and hosts.
"""

from __future__ import annotations

import re
from typing import Any

import orjson
from pydantic import ValidationError

from session_continuity.domain.errors import (
    Ambiguous,
    DeadlineExceeded,
    Forbidden,
    InvalidInput,
    NotFound,
    Refused,
    SessionContinuityError,
    Unavailable,
)
from session_continuity.domain.text import printable, printable_lines, shorten

_FOR_A_SHELL = re.compile(r"; `continuity [^`]*`[^;]*$")
_OF_THE_DATABASE = frozenset({"constraint", "sqlstate"})
_MESSAGE_LIMIT = 2_000

_UNTOLD = {
    "supervisor_sessions_legal_hold": "the session is under legal hold",
}

_NEXT = {
    "fenced": "stop writing as {instance_id}; get_session {successor} shows who goes on; to work on beside it,"
    " fork_session",
    "superseded": "resume_session {successor}, or fork_session {instance_id}",
    "session_closed": "resume_session {instance_id} to go on with its work",
    "sequence_conflict": "query_events with instance_id={instance_id} and after={expected}, then decide again"
    " with expected_sequence={actual}",
    "operation_conflict": "keep the first answer, or take a new operation_id for a new write",
    "instance_id_taken": "register_session without instance_id",
    "command_not_found": "search_commands with this instance_id",
    "checkpoint_not_found": "list_checkpoints",
    "not_found": "list_sessions, or get_session with an epic, a project or `last`",
    "ambiguous": "get_session with one of: {matches}",
    "cursor": "take next_cursor of the page before, or leave cursor out for the first page",
}


def explain(error: SessionContinuityError) -> str:
    """The error for an agent: code and message, what is known of it, the next step."""
    code = error.stable_code
    details = {name: value for name, value in error.details.items() if name not in _OF_THE_DATABASE}
    lines = [f"{code}: {shorten(' '.join(printable_lines(_message(error))), _MESSAGE_LIMIT)}"]
    if details and not isinstance(error, Ambiguous):
        lines.append(f"details: {printable(shorten(orjson.dumps(details, default=str).decode(), _MESSAGE_LIMIT))}")
    step = _next_step(error, code, details)
    return "\n".join([*lines, f"next: {step}"]) if step else "\n".join(lines)


def _message(error: SessionContinuityError) -> str:
    if isinstance(error, DeadlineExceeded):
        return "no answer in time; a write may or may not have happened"
    if isinstance(error, Unavailable):
        return "the database can't be reached"
    if isinstance(error, Refused):
        return "the database is not in a state that allows it"
    constraint = error.details.get("constraint")
    if constraint is not None:
        return _UNTOLD.get(constraint, error.message if _is_ours(error) else "the records don't allow this value")
    if error.stable_code in ("invalid_value", "database_error"):
        return "the database does not take this value"
    return _FOR_A_SHELL.sub("", error.message)


def _is_ours(error: SessionContinuityError) -> bool:
    """Whether a message that came with a constraint's name was written by us and not by the database."""
    return not re.search(r"relation|violates|constraint|syntax", error.message)


def _next_step(error: SessionContinuityError, code: str, details: dict[str, Any]) -> str:
    if isinstance(error, Unavailable):
        return "call again in a few seconds, a write with the same operation_id; if it stays so, tell the operator"
    if isinstance(error, Refused):
        return "tell the operator to run `continuity db verify` on the server's machine"
    if isinstance(error, Forbidden):
        return "ask the operator for a token that admits to it (continuity tokens create)"
    if isinstance(error, NotFound) and "checkpoint_id" in details:
        code = "checkpoint_not_found"
    if code in _NEXT:
        return printable(_NEXT[code].format_map(_Known(details)))
    return "correct the argument and call again" if isinstance(error, InvalidInput) else ""


class _Known(dict[str, Any]):
    """Details for a sentence; a missing one leaves its name."""

    def __missing__(self, key: str) -> str:
        return key


def explain_arguments(error: ValidationError, allowed: list[str]) -> str:
    """Arguments that do not fit a tool's schema: each with its reason, then the names that are allowed."""
    reasons: list[str] = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False)[:10]:
        place = ".".join(printable(shorten(str(part), 60)) for part in fault["loc"]) or "arguments"
        reason = {"extra_forbidden": "is not known", "missing": "is missing"}.get(
            fault["type"], fault["msg"].removeprefix("Value error, ")
        )
        reasons.append(f"{place}: {printable(shorten(reason, 300))}")
    told = "; ".join(reasons)
    return f"invalid_arguments: {told}\nnext: call again; the arguments are: {', '.join(allowed) or 'none'}"


def explain_defect(tool: str) -> str:
    """A failure of the server itself: nothing of it is told."""
    return (
        f"internal: {tool} failed inside the server; a write may or may not have happened\n"
        "next: call again once with the same operation_id; if it stays so, tell the operator to look at the log"
    )
