"""A tool call, against an empty tool over the same transport plus the same call of the client.

A client checks each answer against the tool's schema, which takes the longer the larger the answer is. So the
list, whose answer is large, is compared with a tool that does nothing but give that very answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any

from mcp import StdioServerParameters
from mcp.client import Client

from harness import Bench, Figures
from session_continuity import AsyncSessionContinuity

ERA = "2026-07-28"

Subjects = dict[str, Callable[[], Awaitable[Any]]]

CALLS: dict[str, tuple[str, Callable[[str], dict[str, Any]], Callable[..., Awaitable[Any]]]] = {
    "heartbeat": (
        "send_heartbeat",
        lambda session: {"instance_id": session},
        lambda client, session: client.send_heartbeat(session),
    ),
    "append one": (
        "append_events",
        lambda session: {
            "instance_id": session,
            "events": [{"event_type": "test_passed", "event_data": {"command": "pytest"}}],
        },
        lambda client, session: client.append_event(session, "test_passed", {"command": "pytest"}),
    ),
    "list 20 sessions": (
        "list_sessions",
        lambda _: {"limit": 20},
        lambda client, _: client.find_sessions(limit=21),
    ),
}

EMPTY = """
import json, sys
from mcp.server.mcpserver import MCPServer
from mcp_types import CallToolResult
server = MCPServer("empty", subscriptions=False, log_level="WARNING")

@server.tool()
async def nothing() -> dict[str, str]:
    return {}

if len(sys.argv) > 2:
    given, schema = json.loads(sys.argv[2]), json.loads(sys.argv[3])
    answer = CallToolResult.model_validate(given)

    @server.tool(structured_output=False)
    async def same() -> CallToolResult:
        return answer

    server._tool_manager.get_tool("same").fn_metadata.output_schema = schema

if sys.argv[1] == "stdio":
    server.run()
else:
    server.run("streamable-http", port=int(sys.argv[1]), stateless_http=True, json_response=True)
"""

OURS = """
import asyncio, sys, uvicorn
from mcp.server.transport_security import TransportSecuritySettings
from session_continuity import AsyncSessionContinuity
from session_continuity.mcp_server import create_server, http_app, serve_stdio

async def main():
    async with AsyncSessionContinuity() as client:
        if sys.argv[1] == "stdio":
            await serve_stdio(client)
        else:
            security = TransportSecuritySettings(allowed_hosts=["127.0.0.1:*"])
            app = http_app(create_server(client), security=security)
            config = uvicorn.Config(app, port=int(sys.argv[1]), log_level="warning")
            await uvicorn.Server(config).serve()

asyncio.run(main())
"""


@contextmanager
def served(code: str, environment: dict[str, str], *arguments: str) -> Iterator[str]:
    """The address of a server over HTTP in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-c", code, str(port), *arguments], env=os.environ | environment)
    try:
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > until or process.poll() is not None:
                    raise
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        process.wait(10)


@asynccontextmanager
async def connected(
    transport: str, code: str, environment: dict[str, str], *arguments: str
) -> AsyncIterator[Client]:
    async with AsyncExitStack() as stack:
        if transport == "stdio":
            server: Any = StdioServerParameters(
                command=sys.executable, args=["-c", code, "stdio", *arguments], env=environment
            )
        else:
            server = stack.enter_context(served(code, environment, *arguments))
        yield await stack.enter_async_context(Client(server, mode=ERA))


def run(bench: Bench) -> None:
    with bench.server.database("mcp_calls", "library") as dsn, asyncio.Runner() as runner:
        environment = {"CONTINUITY_DSN": dsn}
        for transport in ("stdio", "http"):
            runner.run(_measure(bench, transport, dsn, environment))


async def _measure(bench: Bench, transport: str, dsn: str, environment: dict[str, str]) -> None:
    async with (
        AsyncSessionContinuity(dsn=dsn) as client,
        connected(transport, OURS, environment) as ours,
    ):
        session = (await client.register_session("bench")).instance_id
        for _ in range(25):
            await client.register_session("bench")
        tools = {tool.name: tool for tool in (await ours.list_tools()).tools}
        listed = await ours.call_tool("list_sessions", {"limit": 20})
        arguments = (
            listed.model_dump_json(by_alias=True, exclude_none=True),
            json.dumps(tools["list_sessions"].output_schema),
        )
        async with connected(transport, EMPTY, environment, *arguments) as empty:
            await empty.list_tools()
            for what, (tool, arguments_of, direct) in CALLS.items():
                given = arguments_of(session)
                nothing, baseline = (
                    ("same", "the same answer") if tool == "list_sessions" else ("nothing", "empty")
                )
                subjects: Subjects = {
                    "tool": partial(ours.call_tool, tool, given),
                    baseline: partial(empty.call_tool, nothing, {}),
                    "client": partial(direct, client, session),
                }
                figures = await _alternated(bench, subjects)
                both = f"{baseline} and the client's call"
                figures[both] = [sum(pair) for pair in zip(figures[baseline], figures["client"], strict=True)]
                bench.compare(f"{what} over {transport}, ms a call", figures, "tool", both, at_most=1.3)


async def _alternated(bench: Bench, subjects: Subjects) -> Figures:
    """Milliseconds a call of each, taking turns."""

    async def per_call(call: Callable[[], Awaitable[Any]]) -> float:
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < bench.options.seconds:
            await call()
            done += 1
        return (time.perf_counter() - start) / done * 1_000

    figures: Figures = {name: [] for name in subjects}
    for call in subjects.values():
        await per_call(call)
    names = list(subjects)
    for turn in range(bench.options.rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            figures[name].append(await per_call(subjects[name]))
    return figures
