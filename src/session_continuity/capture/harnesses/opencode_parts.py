"""OpenCode's message parts as facts: its plugin's events and its database hold the same objects."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from session_continuity.capture.facts import facts
from session_continuity.capture.facts.actions import SHELL_TOOLS, SUBAGENT_TOOLS, action_of
from session_continuity.capture.facts.facts import JSON, Fact, Outcome, Record
from session_continuity.capture.facts.plans import WHOLE_PLAN_TOOLS, Plan
from session_continuity.capture.facts.transcripts import fields, text, whole

ABORTED = "MessageAbortedError"
"""The error of an answer that the user stopped."""

_REFUSED = ("The user rejected permission to use", "The user has specified a rule which prevents")
_TOOL_ABORTED = "Tool execution aborted"
_BULKY = frozenset({"output", "preview", "diff", "description"})
"""Second copies of the output, and of the edit that is in the parameters."""

_MAX_SCALAR_CHARACTERS = 1000


def moment_of(milliseconds: JSON) -> datetime | None:
    """Milliseconds since 1970 as an aware UTC time."""
    told = whole(milliseconds)
    try:
        return datetime.fromtimestamp(told / 1000, UTC) if told else None
    except (OverflowError, ValueError, OSError):
        return None


def called(part: Record, *, subagent: str | None, at: datetime | None) -> facts.ToolCalled | None:
    """The intent of a tool part; None while its input is still being written."""
    call_id, state = text(part.get("callID")), fields(part.get("state"))
    if part.get("type") != "tool" or not call_id or state.get("status") == "pending":
        return None
    tool, parameters = text(part.get("tool")) or "unknown", fields(state.get("input"))
    return facts.ToolCalled(
        key=f"call:{call_id}",
        at=moment_of(fields(state.get("time")).get("start")) or at,
        tool_call_id=call_id,
        tool=tool,
        action=action_of(tool, parameters),
        parameters=parameters,
        subagent=subagent,
    )


def sent_off(call: facts.ToolCalled) -> facts.SubagentStarted | None:
    """The task that a call hands to a subagent."""
    if call.tool not in SUBAGENT_TOOLS:
        return None
    return facts.SubagentStarted(
        key=f"subagent:{call.tool_call_id}",
        at=call.at,
        subagent_id=call.tool_call_id,
        agent_type=text(call.parameters.get("subagent_type")),
        description=text(call.parameters.get("description")),
        tool_call_id=call.tool_call_id,
    )


def outcome(part: Record, call: facts.ToolCalled, *, at: datetime | None) -> Iterator[Fact]:
    """How a call ended, what it changed of the plan, and whether it was refused; nothing while it runs.

    A shell command that exits with a code is completed to OpenCode: its code is in the metadata.
    """
    state = fields(part.get("state"))
    if state.get("status") not in ("completed", "error"):
        return
    metadata, time = fields(state.get("metadata")), fields(state.get("time"))
    result, error = _result(call.tool, state, metadata), text(state.get("error"))
    ended: Outcome = "success"
    if state.get("status") == "error":
        error = error or "no message"
        cancelled = metadata.get("interrupted") is True or error.startswith((_TOOL_ABORTED, *_REFUSED))
        ended = "cancelled" if cancelled else "failure"
    elif code := result.get("exit_code"):
        ended, error = "failure", f"Exit code {code}\n{result['output']}".strip()
    at = moment_of(time.get("end")) or at
    if error and error.startswith(_REFUSED):
        yield facts.PermissionDenied(
            key=f"denied:{call.tool_call_id}",
            at=at,
            tool_call_id=call.tool_call_id,
            tool=call.tool,
            parameters=call.parameters,
            reason=error,
        )
    start, end = whole(time.get("start")), whole(time.get("end"))
    yield facts.ToolFinished(
        key=f"result:{call.tool_call_id}",
        at=at,
        tool_call_id=call.tool_call_id,
        result=result,
        error=error,
        outcome=ended,
        duration_ms=end - start if start and end and end >= start else None,
        call=call,
    )
    yield from _consequences(call, ended, metadata, at)


def _consequences(call: facts.ToolCalled, ended: Outcome, metadata: Record, at: datetime | None) -> Iterator[Fact]:
    if (task := sent_off(call)) is not None:
        yield facts.SubagentEnded(
            key=f"subagent-ended:{call.tool_call_id}",
            at=at,
            subagent_id=task.subagent_id,
            agent_type=task.agent_type,
            description=task.description,
            tool_call_id=call.tool_call_id,
            agent_id=text(metadata.get("sessionId")),
        )
    plan = Plan()
    if ended == "success" and call.tool in WHOLE_PLAN_TOOLS and plan.apply(call.tool, call.parameters, None):
        yield facts.PlanUpdated(key=f"plan:{call.tool_call_id}", at=at, items=plan.items)


def _result(tool: str, state: Record, metadata: Record) -> Record:
    """Output and title, and of the metadata what is short; `exit_code` of a shell command."""
    output = state.get("output")
    result: Record = {"output": output if isinstance(output, str) else text(metadata.get("output")) or ""}
    if title := text(state.get("title")):
        result["title"] = title
    for name, value in metadata.items():
        short = isinstance(value, bool | int | float) or (
            isinstance(value, str) and len(value) <= _MAX_SCALAR_CHARACTERS
        )
        if short and name not in _BULKY and name not in result:
            result[name] = value
    code = whole(result.pop("exit", None)) if tool in SHELL_TOOLS else None
    if code is not None:
        result["exit_code"] = code
    return result


def used_tokens(message: Record) -> int | None:
    """The tokens that a finished answer's request took of the context window."""
    tokens = fields(message.get("tokens"))
    cache = fields(tokens.get("cache"))
    parts = (tokens.get("input"), cache.get("read"), cache.get("write"))
    return sum(whole(part) or 0 for part in parts) or None
