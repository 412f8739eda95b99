"""Resources: what can be read of the records by address."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, ParamSpec
from uuid import UUID

import orjson
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError

from session_continuity.domain.errors import InvalidInput, NotFound, SessionContinuityError
from session_continuity.mcp_server.answers import plain
from session_continuity.mcp_server.context import App
from session_continuity.mcp_server.errors import explain
from session_continuity.mcp_server.thread_tools import brief

P = ParamSpec("P")

ROWS = 50
"""Rows of a list that is read as a resource; tools page on."""

_JSON, _MARKDOWN = "application/json", "text/markdown"


def _told(read: Callable[P, Awaitable[str]]) -> Callable[P, Awaitable[str]]:
    @wraps(read)
    async def told(*args: P.args, **kwargs: P.kwargs) -> str:
        try:
            return await read(*args, **kwargs)
        except (NotFound, InvalidInput) as error:
            raise ResourceNotFoundError(explain(error)) from None
        except SessionContinuityError as error:
            raise ResourceError(explain(error)) from None

    return told


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def add_resources(server: MCPServer[Any], app: App) -> None:
    """Offer the sessions, and of each its timeline, brief and checkpoints."""

    @server.resource(
        "continuity://sessions",
        name="sessions",
        title="Sessions",
        description="The sessions with the latest heartbeats.",
        mime_type=_JSON,
    )
    @_told
    async def sessions() -> str:
        return _json([plain(session) for session in await app.client.find_sessions(limit=ROWS)])

    @server.resource(
        "continuity://sessions/{instance_id}",
        name="session",
        title="Session",
        description="What the registry knows of one session.",
        mime_type=_JSON,
    )
    @_told
    async def session(instance_id: str) -> str:
        return _json(plain(await app.client.get_session(instance_id)))

    @server.resource(
        "continuity://sessions/{instance_id}/timeline{?cursor}",
        name="timeline",
        title="Timeline of a session",
        description="Events, commands and checkpoints in time order; an entry's cursor leads on from it.",
        mime_type=_JSON,
    )
    @_told
    async def timeline(instance_id: str, cursor: str | None = None) -> str:
        entries = await app.client.get_timeline(instance_id, after=cursor, limit=ROWS)
        return _json([plain(entry) for entry in entries])

    @server.resource(
        "continuity://sessions/{instance_id}/brief",
        name="brief",
        title="Brief of a session",
        description="The text that lets an agent go on where the session is now.",
        mime_type=_MARKDOWN,
    )
    @_told
    async def session_brief(instance_id: str) -> str:
        # A fork's preview: it may be read of a session that was taken over, too.
        continued = await app.client.preview_continuation(instance_id, continuation="fork")
        return (await brief(app, continued)).brief.text

    @server.resource(
        "continuity://sessions/{instance_id}/checkpoints",
        name="checkpoints",
        title="Checkpoints of a session",
        description="The latest checkpoints, without their work states.",
        mime_type=_JSON,
    )
    @_told
    async def checkpoints(instance_id: str) -> str:
        await app.client.get_session(instance_id)
        found = await app.client.list_checkpoints(instance_id, limit=ROWS)
        return _json(
            [{name: value for name, value in plain(each).items() if name != "work_state"} for each in found]
        )

    @server.resource(
        "continuity://checkpoints/{checkpoint_id}",
        name="checkpoint",
        title="Checkpoint",
        description="One checkpoint with its work state.",
        mime_type=_JSON,
    )
    @_told
    async def checkpoint(checkpoint_id: str) -> str:
        try:
            named = UUID(checkpoint_id)
        except ValueError:
            raise InvalidInput("a checkpoint's id is a UUID", code="checkpoint_id_format") from None
        return _json(plain(await app.client.get_checkpoint(named)))
