"""Tools of the session registry, and the health of the whole."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from session_continuity.domain.health import SILENT_AFTER, SystemHealth
from session_continuity.domain.identity import INSTANCE_ID
from session_continuity.domain.paging import read_place, write_place
from session_continuity.domain.session_registry import Origin, Session
from session_continuity.mcp_server.answers import Answer, document_answer, line, page_answer, plain, record_answer
from session_continuity.mcp_server.arguments import (
    Cursor,
    Duration,
    FieldNames,
    InstanceId,
    JsonObject,
    Limit,
    LongText,
    Name,
    OperationId,
    Percent,
)
from session_continuity.mcp_server.context import App
from session_continuity.mcp_server.lifeline import marked
from session_continuity.mcp_server.schemas import OBJECT, list_of, object_schema, page_schema, record_schema
from session_continuity.mcp_server.tool import APPENDS, READS, SETTLES, tool
from session_continuity.processes import Process
from session_continuity.workspace import here

SHOWN = (
    "instance_id", "status", "project", "current_epic", "context_percent", "last_heartbeat", "owner_epoch",
    "last_sequence_num", "superseded_by", "parent_instance_id", "relation",
)  # fmt: skip


CHANGED = record_schema(Session, SHOWN)


async def origin_of(app: App, cwd: str | None, process: Process | None = None, **known: str | None) -> Origin:
    """Where a session runs: on this machine what its folder says, elsewhere what the caller says; and the process
    that runs it, where that is known."""
    if app.is_local and cwd is not None:
        origin = await asyncio.to_thread(here, cwd, **known)
    else:
        origin = Origin(cwd=cwd, **known)  # pyright: ignore[reportArgumentType]
    return origin if process is None else replace(origin, host=socket.gethostname(), pid=process.pid)


@tool("Register a session", APPENDS, CHANGED)
async def register_session(
    app: App,
    project: Name,
    instance_type: Annotated[Literal["PS", "MS"], Field(description="Project or meta supervisor.")] = "PS",
    instance_id: InstanceId | None = None,
    current_epic: Name | None = None,
    context_percent: Percent | None = None,
    parent_instance_id: Annotated[str, Field(max_length=80, description="Who started it.")] | None = None,
    harness: Name | None = None,
    cwd: LongText | None = None,
    metadata: JsonObject | None = None,
    operation_id: OperationId | None = None,
) -> Answer:
    """Start a session and get its instance_id. Not needed where hooks capture it."""
    process = app.life_line and await app.life_line.process_of_new(instance_type, parent_instance_id)
    origin = await origin_of(
        app,
        cwd,
        process,
        harness=harness,
        parent_instance_id=parent_instance_id,
        relation="spawned" if parent_instance_id else None,
    )
    session = await app.client.register_session(
        project,
        instance_type=instance_type,
        instance_id=instance_id,
        context_percent=context_percent,
        current_epic=current_epic,
        origin=origin,
        metadata={**(metadata or {}), **marked(process)},
        operation=operation_id,
    )
    return record_answer(session, SHOWN, SHOWN)


@tool("Send a heartbeat", SETTLES, CHANGED)
async def send_heartbeat(
    app: App, instance_id: InstanceId, context_percent: Percent | None = None, current_epic: Name | None = None
) -> Answer:
    """Say that a session lives; a stale one is active again."""
    session = await app.client.send_heartbeat(
        instance_id, context_percent=context_percent, current_epic=current_epic
    )
    return record_answer(session, SHOWN, SHOWN)


@tool("Close a session", SETTLES, CHANGED)
async def close_session(
    app: App,
    instance_id: InstanceId,
    reason: Annotated[str, Field(max_length=500)] = "closed",
    operation_id: OperationId | None = None,
) -> Answer:
    """End a session in good order; it can still be resumed."""
    session = await app.client.close_session(instance_id, reason=reason, operation=operation_id)
    return record_answer(session, SHOWN, SHOWN)


@tool("Get a session", READS, record_schema(Session))
async def get_session(
    app: App,
    session: Annotated[
        Name, Field(description="Instance id, its last 6 characters, an epic, a project, or last.")
    ],
    project: Name | None = None,
    fields: FieldNames | None = None,
) -> Answer:
    """Find one session: by full id that very one, by any other name the one that owns its thread now."""
    if INSTANCE_ID.fullmatch(session):
        found = await app.client.get_session(session)
    else:
        found = await app.client.find_resumable(session, project=project)
    return record_answer(found, SHOWN, fields)


@tool("List sessions", READS, page_schema("sessions", Session))
async def list_sessions(
    app: App,
    project: Name | None = None,
    status: Literal["active", "stale", "closed"] | None = None,
    instance_type: Literal["PS", "MS"] | None = None,
    silent_for: Annotated[Duration, Field(description="Without a heartbeat for this long, like 30m.")]
    | None = None,
    limit: Limit = 20,
    cursor: Cursor | None = None,
    fields: FieldNames | None = None,
) -> Answer:
    """List sessions, the latest heartbeat first."""
    found = await app.client.find_sessions(
        project=project,
        status=status,
        instance_type=instance_type,
        silent_for=silent_for,
        before=read_place(cursor),
        limit=limit + 1,
    )
    return page_answer(
        "sessions",
        found,
        limit,
        lambda session: write_place(session.last_heartbeat, session.instance_id),
        SHOWN,
        fields,
        known=tuple(Session.__dataclass_fields__),
    )


@tool(
    "Show the family of a session",
    READS,
    object_schema(sessions=list_of(OBJECT)),
)
async def get_family(app: App, instance_id: InstanceId, fields: FieldNames | None = None) -> Answer:
    """Show the tree of a session: who started, resumed or forked whom."""
    family = await app.client.get_family(instance_id)
    shown = ("instance_id", "parent_instance_id", "relation", "status", "owner_epoch", "superseded_by")
    rows: list[dict[str, Any]] = []
    lines: list[str] = []
    for relative in family:
        answer = record_answer(relative.session, shown, fields or shown)
        rows.append({"depth": relative.depth, **answer.document})
        lines.append("  " * relative.depth + answer.text)
    return Answer("\n".join(lines), {"sessions": rows})


@tool("Get the system's health", READS, record_schema(SystemHealth))
async def get_system_health(app: App, project: Name | None = None, silent_for: Duration | None = None) -> Answer:
    """Count sessions, commands in flight, failed and slow, and alerts; give table sizes."""
    health = await app.client.get_system_health(
        project=project, silent_for=SILENT_AFTER if silent_for is None else silent_for
    )
    names = (
        "active", "stale", "closed", "silent", "in_flight", "failed_last_hour", "slow_last_hour", "alerts",
        "table_bytes",
    )  # fmt: skip
    text = line(plain(health), names)
    if health.silent:
        text += f"\nthe silent ones: list_sessions status=active silent_for={health.silent_for_seconds:g}s"
    return document_answer(plain(health), text)


TOOLS = (
    register_session,
    send_heartbeat,
    close_session,
    get_session,
    list_sessions,
    get_family,
    get_system_health,
)
