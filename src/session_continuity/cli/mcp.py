"""continuity mcp: the MCP server over standard input and output, and its entry in the clients' configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from session_continuity.cli.arguments import Call, Group, pass_call
from session_continuity.cli.confirmation import confirm
from session_continuity.cli.init import SCOPE, close_edits, current_place, dsn_note, show_edits
from session_continuity.cli.output import write_note, write_text

if TYPE_CHECKING:
    from session_continuity.capture.harnesses.harness_settings import Scope
    from session_continuity.capture.setup.file_parts import PlannedEdit
    from session_continuity.capture.setup.mcp_configuration import McpConfiguration

CLIENT = click.Choice(["claude-code", "codex", "gemini-cli", "opencode", "cursor", "vscode"])


@click.group(
    cls=Group,
    invoke_without_command=True,
    examples=("continuity mcp", "continuity mcp config claude-code --write"),
)
@click.pass_context
@pass_call
def mcp(call: Call, ctx: click.Context) -> None:
    """Serve the records to an agent over MCP on standard input and output, or set its client up for that."""
    if ctx.invoked_subcommand is None:
        _serve(call)


@mcp.command(
    "config",
    examples=(
        "continuity mcp config codex",
        "continuity mcp config claude-code --write",
        "continuity mcp config vscode --http http://127.0.0.1:7433/mcp --token-env CONTINUITY_TOKEN",
    ),
)
@click.argument("client", type=CLIENT)
@click.option("--write", is_flag=True, help="Write it into the client's configuration, showing the diff first.")
@click.option("--undo", is_flag=True, help="Take it out of the client's configuration.")
@click.option(
    "--scope",
    type=SCOPE,
    default="user",
    show_default=True,
    help="For all your projects, or the current folder's.",
)
@click.option("--http", "url", metavar="URL", help="Ask a server that runs there, instead of starting one.")
@click.option("--token-env", metavar="NAME", help="The environment variable that holds the server's token.")
@click.option("--dry-run", is_flag=True, help="Show what would be changed, and change nothing.")
@click.option("--yes", is_flag=True, help="Do it without asking.")
@pass_call
def config(
    call: Call,
    *,
    client: str,
    write: bool,
    undo: bool,
    scope: Scope,
    url: str | None,
    token_env: str | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """Print the entry of the MCP server for CLIENT, write it into its configuration, or take it out."""
    from session_continuity.capture.setup.mcp_configuration import McpConfiguration, http_entry, stdio_entry

    if token_env is not None and url is None:
        raise click.UsageError("--token-env goes with --http.")
    if undo and (write or url):
        raise click.UsageError("--undo goes with neither --write nor --http.")
    configuration = McpConfiguration(call.settings, current_place(scope))
    if undo:
        planned = configuration.plan_undo(client)
    else:
        entry = stdio_entry(call.settings) if url is None else http_entry(url, token_env)
        if not write:
            shown = configuration.show(client, entry)
            answer = {"client": client, "file": configuration.file(client), "entry": shown}
            call.answer(answer, lambda: _print(configuration, client, shown))
            return
        planned = configuration.plan(client, entry)
    _carry_out(call, configuration, planned, undo=undo, dry_run=dry_run, yes=yes)


def _print(configuration: McpConfiguration, client: str, shown: str) -> None:
    write_text(shown.rstrip("\n"))
    write_note(f"it belongs into {configuration.file(client)}; --write puts it there")


def _carry_out(
    call: Call,
    configuration: McpConfiguration,
    planned: Sequence[PlannedEdit],
    *,
    undo: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    changes = [each for each in planned if each.edit.action != "keep"]
    if changes and not dry_run and not yes:
        confirm(call, f"this changes {changes[0].edit.path}", list(planned), lambda: show_edits(planned))
    elif not call.as_json:
        show_edits(planned)
    if not dry_run:
        configuration.undo(planned) if undo else configuration.apply(planned)
    applied = bool(changes) and not dry_run
    notes = [] if undo else dsn_note(call, "an agent that does not pass its environment on")
    call.answer(
        {"applied": applied, "edits": planned, "notes": notes}, lambda: close_edits(applied, changes, notes)
    )


def _serve(call: Call) -> None:
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
