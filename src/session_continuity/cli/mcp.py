"""continuity mcp: the MCP server over standard input and output."""

from __future__ import annotations

import click

from session_continuity.cli.arguments import Call, Command, pass_call
from session_continuity.cli.output import write_note


@click.command(cls=Command, examples=("continuity mcp", "claude mcp add session-continuity -- continuity mcp"))
@pass_call
def mcp(call: Call) -> None:
    """Serve the records to an agent over MCP on standard input and output."""
    import asyncio
    import gc
    import sys

    from session_continuity.async_client import AsyncSessionContinuity
    from session_continuity.mcp_server import serve_stdio

    if sys.stdin.isatty():
        write_note("speaking MCP on standard input: an agent's client starts this command; Ctrl-D ends it")

    async def serve() -> None:
        async with AsyncSessionContinuity(call.settings) as client:
            await serve_stdio(client)

    gc.enable()  # unlike other commands it runs for long
    asyncio.run(serve())
