"""The MCP server as agents reach it: the SDK's own client over a real process and over real HTTP, in both eras."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from mcp import StdioServerParameters
from mcp.client import Client
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import CallToolResult
from starlette.applications import Starlette

from session_continuity import AsyncSessionContinuity
from session_continuity.mcp_server import create_server, http_app

LEGACY, MODERN = "legacy", "2026-07-28"
SECURITY = TransportSecuritySettings(
    allowed_hosts=["127.0.0.1:*"], allowed_origins=["http://127.0.0.1:*"], enable_dns_rebinding_protection=True
)

Extend = Callable[[MCPServer[Any]], None]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Agent:
    """What an agent does: calls a tool, and reads either the object or the text of the answer."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def result(self, tool: str, **arguments: Any) -> CallToolResult:
        return await self.client.call_tool(tool, arguments)

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The object of an answer that is no error."""
        result = await self.result(tool, **arguments)
        assert not result.is_error, result.content
        assert result.structured_content is not None
        return result.structured_content

    async def text(self, tool: str, **arguments: Any) -> str:
        """The text of an answer that is no error."""
        result = await self.result(tool, **arguments)
        assert not result.is_error, result.content
        return text_of(result)

    async def refused(self, tool: str, **arguments: Any) -> str:
        """The text of an error."""
        result = await self.result(tool, **arguments)
        assert result.is_error, result.content
        assert result.structured_content is None
        return text_of(result)


def text_of(result: CallToolResult) -> str:
    (block,) = result.content
    assert block.type == "text"
    return block.text


def product(client: AsyncSessionContinuity, extend: Extend | None = None) -> Starlette:
    """An application that serves MCP as `continuity serve` does: with its routes and its lifespan."""
    inner = http_app(create_server(client, extend=extend), security=SECURITY)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with client, inner.router.lifespan_context(inner):
            yield

    return Starlette(routes=[*inner.routes], lifespan=lifespan)


@contextmanager
def listening(app: Starlette) -> Iterator[str]:
    """The address of an application served by uvicorn on loopback."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                thread.join(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)
            assert not thread.is_alive()


@dataclass(frozen=True)
class Road:
    """A transport and an era."""

    transport: str
    era: str

    def __str__(self) -> str:
        return f"{self.transport}-{self.era}"


ROADS = [Road(transport, era) for transport in ("stdio", "http") for era in (LEGACY, MODERN)]

Connect = Callable[[], AbstractAsyncContextManager[Agent]]


@pytest.fixture
def address(database: str) -> Iterator[str]:
    """The server over HTTP on the test's database."""
    with listening(product(AsyncSessionContinuity(dsn=database))) as url:
        yield url


def command(database: str, home: Path) -> StdioServerParameters:
    """`continuity mcp` on a database."""
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "session_continuity", "mcp"],
        env={"CONTINUITY_DSN": database, "CONTINUITY_HOME": str(home), "HOME": str(home)},
        cwd=str(home),
    )


@pytest.fixture(params=ROADS, ids=str)
def road(request: pytest.FixtureRequest) -> Road:
    """Each transport in each era."""
    return request.param


@pytest.fixture
def connect(road: Road, database: str, tmp_path: Path, request: pytest.FixtureRequest) -> Connect:
    """Connects an agent by this road."""
    server = (
        command(database, tmp_path) if road.transport == "stdio" else request.getfixturevalue("address") + "/mcp"
    )

    @asynccontextmanager
    async def connected() -> AsyncIterator[Agent]:
        async with Client(server, mode=road.era, read_timeout_seconds=60) as client:
            yield Agent(client)

    return connected


@pytest.fixture
async def agent(address: str) -> AsyncIterator[Agent]:
    """An agent over HTTP."""
    async with Client(address + "/mcp", mode=MODERN, read_timeout_seconds=60) as client:
        yield Agent(client)
