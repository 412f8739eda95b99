"""The command log: tool calls and explicit actions, intent before and outcome after (report: Command Log)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

from session_continuity.domain.errors import InvalidInput, NotFound, OperationConflict
from session_continuity.domain.identity import check_instance_id, operation_id
from session_continuity.domain.operation import ALL_PROJECTS, Operation, Statement, Steps
from session_continuity.domain.paging import Place, check_limit, check_place
from session_continuity.domain.payload import check_text, check_time, encode_object, encode_payload
from session_continuity.domain.session_registry import check_choice, refuse_forgotten

Outcome = Literal["success", "failure", "unknown", "cancelled"]
OUTCOMES = ("success", "failure", "unknown", "cancelled")
SearchedOutcome = Literal["success", "failure", "unknown", "cancelled", "in_flight"]
SEARCHED_OUTCOMES = (*OUTCOMES, "in_flight")


class Command(NamedTuple):
    """A row of command_log. `outcome` is None while the command is in flight; `late` marks what a copy
    recorded after it was fenced."""

    id: int
    instance_id: str
    command_type: str
    action: str
    tool_name: str | None
    parameters: dict[str, Any]
    result: Any
    success: bool | None
    error_message: str | None
    execution_time_ms: int | None
    tags: list[str]
    context_data: dict[str, Any]
    created_at: datetime
    operation_id: UUID | None
    tool_call_id: str | None
    outcome: Outcome | None
    started_at: datetime
    late: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCommand:
    """A command to record: without `outcome` it is an intent, with it intent and outcome at once. The same
    `tool_call_id` (or `operation`) within a session is the same command: an outcome completes it, with its tags
    and context data, and `unknown` never changes an outcome that is known."""

    command_type: str
    action: str
    tool_name: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    outcome: Outcome | None = None
    result: Any = None
    error_message: str | None = None
    execution_time_ms: int | None = None
    tags: Sequence[str] = ()
    context_data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tool_call_id: str | None = None
    started_at: datetime | None = None
    operation: UUID | str | None = None


def command_operation_id(instance_id: str, tool_call_id: str | None, given: UUID | str | None) -> UUID:
    """The operation id of a command: the caller's, or the one that belongs to its tool call."""
    return operation_id(
        instance_id, given if given is not None or not tool_call_id else f"tool call {tool_call_id}"
    )


def record_command(instance_id: str, command: NewCommand) -> Operation[Command]:
    """Record one command; recording it again with its outcome completes it. Raises NotFound, InvalidInput,
    OperationConflict when an outcome is already known and differs. A fenced copy's commands are kept as late."""

    one = record_commands(instance_id, [command])  # checked, and its id made, once for all attempts

    def steps() -> Steps[Command]:
        return (yield from one.steps())[0]

    return Operation("record_command", steps)


def record_commands(instance_id: str, commands: Sequence[NewCommand]) -> Operation[list[Command]]:
    """Record up to 1,000 commands in one transaction; else as record_command."""
    check_instance_id(instance_id)
    if not 1 <= len(commands) <= 1_000:
        raise InvalidInput(f"1 to 1,000 commands are recorded at once, not {len(commands):,}", code="record_size")
    columns = [_checked(instance_id, command) for command in commands]
    rounds = _rounds(columns)

    def steps() -> Steps[list[Command]]:
        recorded: dict[UUID, Command] = {}
        for batch in rounds:
            parameters = {f"{name}s": [column[name] for column in batch] for name in batch[0]}
            rows = yield Statement("record_commands", {"instance_id": instance_id} | parameters)
            if not rows:
                yield from refuse_forgotten(instance_id)
            recorded.update({row[13]: Command._make(row) for row in rows})
        for column in columns:
            command = recorded.get(column["operation_id"])
            if command is None or (command.command_type, command.action) != (
                column["command_type"],
                column["action"],
            ):
                raise OperationConflict(
                    f"operation {column['operation_id']} was used before for another command",
                    operation_id=str(column["operation_id"]),
                    instance_id=instance_id,
                )
            if column["outcome"] not in (None, "unknown", command.outcome):
                raise OperationConflict(
                    f"command {command.id} already ended in {command.outcome}, not {column['outcome']}",
                    command_id=command.id,
                    outcome=command.outcome,
                )
        return [recorded[column["operation_id"]] for column in columns]

    return Operation("record_commands", steps, atomic=len(rounds) > 1)


def record_outcome(
    instance_id: str,
    *,
    command_id: int | None = None,
    tool_call_id: str | None = None,
    outcome: Outcome,
    result: Any = None,
    error_message: str | None = None,
    execution_time_ms: int | None = None,
) -> Operation[Command]:
    """The outcome of a recorded intent, named by its id or tool call id. A retry changes nothing. Raises
    NotFound; OperationConflict when another outcome is already known."""
    named = _named(instance_id, command_id, tool_call_id)
    parameters = {
        **named,
        "outcome": check_choice("outcome", outcome, OUTCOMES),
        "result": None if result is None else encode_payload("result", result),
        "error_message": error_message and check_text("error_message", error_message, 100_000),
        "execution_time_ms": _check_duration(execution_time_ms),
    }

    def steps() -> Steps[Command]:
        rows = yield Statement("record_outcome", parameters)
        if not rows:
            rows = yield Statement("get_command", named)
        if not rows:
            raise NotFound(f"no command {command_id or tool_call_id} of {instance_id}", code="command_not_found")
        command = Command._make(rows[0])
        if command.outcome != outcome:
            raise OperationConflict(
                f"command {command.id} already ended in {command.outcome}, not {outcome}",
                command_id=command.id,
                outcome=command.outcome,
            )
        return command

    return Operation("record_outcome", steps)


def get_command(
    instance_id: str, *, command_id: int | None = None, tool_call_id: str | None = None
) -> Operation[Command]:
    """One command of an instance, by its id or its tool call id. Raises NotFound, InvalidInput."""
    named = _named(instance_id, command_id, tool_call_id)

    def steps() -> Steps[Command]:
        rows = yield Statement("get_command", named)
        if not rows:
            raise NotFound(f"no command {command_id or tool_call_id} of {instance_id}", code="command_not_found")
        return Command._make(rows[0])

    return Operation("get_command", steps)


def _named(instance_id: str, command_id: int | None, tool_call_id: str | None) -> dict[str, Any]:
    if (command_id is None) == (tool_call_id is None):
        raise InvalidInput("name the command by its id or by its tool call id", code="command_unnamed")
    return {
        "instance_id": check_instance_id(instance_id),
        "command_id": command_id,
        "operation_id": None if tool_call_id is None else command_operation_id(instance_id, tool_call_id, None),
    }


def search_commands(
    *,
    instance_id: str | None = None,
    project: str | None = None,
    tool_name: str | None = None,
    action: str | None = None,
    command_type: str | None = None,
    outcome: SearchedOutcome | None = None,
    text: str | None = None,
    tag: str | None = None,
    slower_than_ms: int | None = None,
    since: datetime | None = None,
    before: Place | None = None,
    limit: int = 100,
) -> Operation[list[Command]]:
    """Commands, latest first. `text` is looked for, ignoring case, in action, tool, parameters and error.
    Page on with `before` = (created_at, id) of the last command seen."""
    if outcome is not None and outcome != "in_flight":
        check_choice("outcome", outcome, OUTCOMES)
    parameters = {
        **ALL_PROJECTS,
        "instance_id": instance_id and check_instance_id(instance_id),
        "project": project,
        "tool_name": tool_name,
        "action": action,
        "command_type": command_type,
        "outcome": outcome,
        "pattern": None if text is None else f"%{_escape_like(text)}%",
        "tag": tag,
        "slower_than_ms": slower_than_ms,
        "since": check_time("since", since),
        **check_place(before, 0),
        "limit": check_limit(limit),
    }

    def steps() -> Steps[list[Command]]:
        rows = yield Statement(
            "search_failed_commands" if outcome == "failure" and instance_id is None else "search_commands",
            parameters,
        )
        return [Command._make(row) for row in rows]

    return Operation("search_commands", steps)


def _rounds(columns: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The commands in their order, parted so that no statement holds the same command twice (an intent and
    its outcome, drained together)."""
    rounds: list[list[dict[str, Any]]] = []
    seen: dict[UUID, int] = {}
    for column in columns:
        at = seen.get(column["operation_id"], -1) + 1
        seen[column["operation_id"]] = at
        if at == len(rounds):
            rounds.append([])
        rounds[at].append(column)
    return rounds


def _checked(instance_id: str, command: NewCommand) -> dict[str, Any]:
    if command.outcome is not None:
        check_choice("outcome", command.outcome, OUTCOMES)
    return {
        "operation_id": command_operation_id(instance_id, command.tool_call_id, command.operation),
        "command_type": check_text("command_type", command.command_type, 200),
        "action": check_text("action", command.action, 2_000),
        "tool_name": command.tool_name and check_text("tool_name", command.tool_name, 500),
        "parameter": encode_object("parameters", command.parameters),
        "outcome": command.outcome,
        "result": None if command.result is None else encode_payload("result", command.result),
        "error_message": command.error_message and check_text("error_message", command.error_message, 100_000),
        "execution_time": _check_duration(command.execution_time_ms),
        "tag": encode_payload("tags", [check_text("tag", tag, 200) for tag in command.tags]),
        "context_data": encode_object("context_data", command.context_data) if command.context_data else "{}",
        "tool_call_id": command.tool_call_id and check_text("tool_call_id", command.tool_call_id, 1_000),
        "started_at": check_time("started_at", command.started_at),
    }


def _check_duration(milliseconds: int | None) -> int | None:
    if milliseconds is not None and not 0 <= milliseconds < 2**63:
        raise InvalidInput(f"execution_time_ms {milliseconds} is out of range", code="execution_time_ms_range")
    return milliseconds


def _escape_like(text: str) -> str:
    return check_text("text", text, 1_000).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
