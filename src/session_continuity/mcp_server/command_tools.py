"""Tools of the command log."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from session_continuity.domain.command_log import Command, NewCommand
from session_continuity.domain.paging import read_place, write_place
from session_continuity.mcp_server.answers import Answer, page_answer, record_answer
from session_continuity.mcp_server.arguments import (
    Cursor,
    FieldNames,
    InstanceId,
    JsonObject,
    Limit,
    LongText,
    Milliseconds,
    Moment,
    Name,
    OperationId,
)
from session_continuity.mcp_server.context import App
from session_continuity.mcp_server.schemas import page_schema, record_schema
from session_continuity.mcp_server.tool import APPENDS, READS, SETTLES, tool

SHOWN = (
    "id", "instance_id", "created_at", "outcome", "tool_name", "action", "parameters", "error_message", "late",
)  # fmt: skip

STORED = ("id", "instance_id", "created_at", "outcome", "tool_call_id", "late")
CHANGED = record_schema(Command, STORED)

Outcome = Literal["success", "failure", "unknown", "cancelled"]
ErrorMessage = Annotated[str, Field(max_length=20_000)]
CommandId = Annotated[int, Field(ge=1, le=2**62)]


@tool("Record a command", APPENDS, CHANGED)
async def record_command(
    app: App,
    instance_id: InstanceId,
    command_type: Annotated[Name, Field(description="Like tool or action.")],
    action: LongText,
    tool_name: Name | None = None,
    parameters: JsonObject | None = None,
    outcome: Annotated[Outcome, Field(description="Leave out before it ran.")] | None = None,
    result: Annotated[Any, Field(description="Any JSON.")] = None,
    error_message: ErrorMessage | None = None,
    execution_time_ms: Milliseconds | None = None,
    tool_call_id: Name | None = None,
    operation_id: OperationId | None = None,
) -> Answer:
    """Log a command before it runs, or with its outcome. Not needed where hooks do it."""
    recorded = await app.client.record_command(
        instance_id,
        NewCommand(
            command_type=command_type,
            action=action,
            tool_name=tool_name,
            parameters=parameters or {},
            outcome=outcome,
            result=result,
            error_message=error_message,
            execution_time_ms=execution_time_ms,
            tool_call_id=tool_call_id,
            operation=operation_id,
        ),
    )
    return record_answer(recorded, STORED, STORED)


@tool("Settle a command", SETTLES, CHANGED)
async def settle_command(
    app: App,
    instance_id: InstanceId,
    outcome: Outcome,
    command_id: CommandId | None = None,
    tool_call_id: Name | None = None,
    result: Annotated[Any, Field(description="Any JSON.")] = None,
    error_message: ErrorMessage | None = None,
) -> Answer:
    """Give a command in flight, or of unknown outcome, its outcome. Name it by command_id or tool_call_id."""
    settled = await app.client.record_outcome(
        instance_id,
        command_id=command_id,
        tool_call_id=tool_call_id,
        outcome=outcome,
        result=result,
        error_message=error_message,
    )
    return record_answer(settled, STORED, STORED)


@tool("Search commands", READS, page_schema("commands", Command))
async def search_commands(
    app: App,
    instance_id: InstanceId | None = None,
    project: Name | None = None,
    text: Annotated[Name, Field(description="Found in action, tool, parameters or error.")] | None = None,
    tool_name: Name | None = None,
    outcome: Literal["success", "failure", "unknown", "cancelled", "in_flight"] | None = None,
    slower_than_ms: Milliseconds | None = None,
    since: Moment | None = None,
    limit: Limit = 20,
    cursor: Cursor | None = None,
    fields: FieldNames | None = None,
) -> Answer:
    """Search the command log, the latest first."""
    place = read_place(cursor)
    found = await app.client.search_commands(
        instance_id=instance_id,
        project=project,
        text=text,
        tool_name=tool_name,
        outcome=outcome,
        slower_than_ms=slower_than_ms,
        since=since,
        before=place,
        limit=limit + 1,
    )
    return page_answer(
        "commands",
        found,
        limit,
        lambda command: write_place(command.created_at, command.id),
        SHOWN,
        fields,
        known=Command._fields,
    )


TOOLS = (record_command, settle_command, search_commands)
