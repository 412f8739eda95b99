"""MCP as `continuity serve` offers it: behind the access rules, with tokens, on the test's database."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from starlette.applications import Starlette

from session_continuity import resident
from session_continuity.settings import load_settings
from session_continuity.web.access import Access
from session_continuity.web.app import create_app
from session_continuity.web.mcp_route import McpRoute
from session_continuity.web.tokens import TokenFile

from .conftest import Agent

HEADERS = {
    "Accept": "application/json, text/event-stream",
    "Content-Type": "application/json",
    "MCP-Protocol-Version": "2025-11-25",
}


@dataclass
class Served:
    """A running application, its home, and the server that runs it."""

    url: str
    home: Path
    server: Any

    def token(self, *scopes: str, **limits: Any) -> str:
        return TokenFile(self.home).create(scopes or ["write"], **limits)[0]

    def http(self, token: str | None = None) -> httpx2.Client:
        headers = HEADERS if token is None else {**HEADERS, "Authorization": f"Bearer {token}"}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=60)

    @asynccontextmanager
    async def agent(self, token: str, era: str = "2026-07-28") -> AsyncIterator[Agent]:
        """The official client with this token."""
        async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as http:
            transport = streamable_http_client(f"{self.url}/mcp", http_client=http)
            async with Client(transport, mode=era, read_timeout_seconds=60) as client:
                yield Agent(client)


def message(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


@contextmanager
def serving(home: Path, database: str, **access: Any) -> Iterator[Served]:
    """The application over HTTP, as the resident server makes it."""
    settings = load_settings(home=home, dsn=database)
    with resident._listen(settings, exposed_when=False) as listener:
        url, port = resident._url(listener)
        mcp = McpRoute(settings)

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            async with mcp.running():
                yield

        app = create_app(
            Access(port=port, hosts=frozenset(), tokens=TokenFile(home), **access),
            routes=[mcp.route(), *([oauth.route()] if (oauth := access.get("oauth")) else [])],
            is_well=lambda: True,
            lifespan=lifespan,
        )
        server = resident.http_server(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                thread.join(0.01)
            yield Served(url, home, server)
        finally:
            server.should_exit = True
            thread.join(10)
            assert not thread.is_alive()
