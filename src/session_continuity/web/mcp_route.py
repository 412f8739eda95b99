"""POST /mcp: the records for agents, by the Model Context Protocol.

The protocol's SDK takes the better part of a second to import and some 60 MB. It is loaded by the first request: a
session's start waits for the resident server and must not wait for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from session_continuity.settings import Settings
from session_continuity.web.refusals import RefusedRequest, bearer_challenge
from session_continuity.web.tokens import READ, Token

PATH = "/mcp"


class McpRoute:
    """Answers with the MCP server, which runs from its first request until the end of `running`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = asyncio.Event()
        self._server: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[ASGIApp] | None = None

    def route(self) -> Route:
        """The route: POST alone, for no stream is held open."""
        return Route(PATH, self, methods=["POST"])

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """While it lasts requests are answered."""
        try:
            yield
        finally:
            self._stopping.set()
            if self._server is not None:
                await self._server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request with what its token admits to."""
        token: Token = scope["state"]["token"]
        if READ not in token.scopes:
            raise RefusedRequest(
                403,
                "insufficient_scope",
                "the token has no scope for MCP: read, write or admin",
                www_authenticate=bearer_challenge(
                    scope["state"]["resource_metadata"], error="insufficient_scope", scope=READ
                ),
            )
        app = await self._app()
        from session_continuity.mcp_server.permissions import Permission, permitted

        with permitted(Permission(token.scopes, token.projects)):
            await app(scope, receive, send)

    async def _app(self) -> ASGIApp:
        if self._opened is None:
            self._opened = asyncio.get_running_loop().create_future()
            # In a task of its own: what the SDK opens must be closed by the same task.
            self._server = asyncio.create_task(self._serve(self._opened))
        return await asyncio.shield(self._opened)

    async def _serve(self, opened: asyncio.Future[ASGIApp]) -> None:
        try:
            await asyncio.to_thread(import_module, "session_continuity.mcp_server")
            from session_continuity.mcp_server import open_guarded_app

            async with open_guarded_app(self._settings) as app:
                opened.set_result(app)
                await self._stopping.wait()
        except Exception as error:
            if opened.done():
                raise
            self._opened = None
            opened.set_exception(error)
