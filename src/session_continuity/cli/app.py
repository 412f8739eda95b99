"""The root of the command line: its groups, loaded when they are asked for, and errors told in one place."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from session_continuity.cli.arguments import Group
from session_continuity.cli.failures import FAILED, INTERRUPTED, USAGE, exit_code
from session_continuity.domain.errors import SessionContinuityError

COMMANDS = {
    "init": (
        "init",
        "Install the hooks and the MCP server into the settings of the agents, showing the diff first.",
    ),
    "doctor": ("doctor", "Check every link from the hook to the row, and say what to do."),
    "statusline": ("statusline", "Print the status line of an agent from the JSON on standard input."),
    "sessions": ("sessions", "Register sessions, keep them alive, list, sweep, close and forget them."),
    "commands": ("commands", "Record tool calls and actions with their outcome, and search them."),
    "events": ("events", "Append events, read them, and replay them into a work state."),
    "checkpoints": ("checkpoints", "Take checkpoints, show them and verify recovery from them."),
    "timeline": ("timeline", "Show a session's events, commands and checkpoints in time order."),
    "standup": ("standup", "Show what all sessions of PROJECT did since a time: results, notes and who lives."),
    "status": (
        "status",
        "Show fleet, services and their last pass, tables and growth, indexes, slow commands and queries, server.",
    ),
    "coverage": (
        "coverage",
        "Compare what the hooks of a session saw with its own recording, in both directions.",
    ),
    "resume": ("threads", "Continue a session in a new instance, fence the old one and print the brief."),
    "fork": ("threads", "Start a new thread from a session's state and leave the session as it is."),
    "rewind": ("threads", "Continue a session from an earlier event; nothing is deleted."),
    "import": ("imports", "Read the transcripts of agents into the records."),
    "spool": ("spool", "Show captured records that are not stored yet, and deal with those that can't be."),
    "serve": ("serve", "Run the resident server: it drains the spool and takes captures of other machines."),
    "forward": ("serve", "Forward this machine's spool to the resident server of another."),
    "archive": (
        "archive",
        "Move old rows into archives by the retention policy, verify, search and restore them.",
    ),
    "dashboard": ("dashboard", "Open the dashboard, signed in by a link that works once."),
    "search": ("search", "Find words in sessions, events, commands and checkpoints, the latest first."),
    "alerts": ("alerts", "Show what needs a person, say that it was seen, and try who is told."),
    "audit": ("audit", "Show what people did to the records, by name."),
    "tokens": ("tokens", "Create, list and revoke the tokens of the HTTP server."),
    "services": ("services", "Show what the services did, and run one of them now."),
    "heartbeat": ("heartbeat", "Keep a session alive for as long as a process lives."),
    "redact": ("redact", "Check what would be taken out of a file before it is stored."),
    "mcp": (
        "mcp",
        "Serve the records to an agent over MCP on standard input and output, or set its client up for that.",
    ),
    "db": ("db", "Set up, inspect, verify and stop the database."),
    "settings": ("settings", "Show the settings and where each value comes from."),
    "completion": ("completion", "Print the shell's completion script."),
}
"""Every command: the module that holds it, and its help in one sentence."""


class Root(Group):
    """Imports a command's module only when that command is run: `--help` needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"session_continuity.cli.{COMMANDS[cmd_name][0]}")
        return getattr(module, "import_" if cmd_name == "import" else cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _show_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:  # noqa: ARG001
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"continuity {version('session-continuity')}")
        ctx.exit()


@click.command(
    cls=Root,
    examples=(
        "continuity sessions list --status active",
        "continuity resume last --dry-run",
        "continuity --dsn postgresql://localhost/supervisor_meta db status",
        'eval "$(continuity completion bash)"',
    ),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version.",
)
def root() -> None:
    """Records every AI agent session as it happens and gives the next one an exact, checkable brief."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code. A failure is one line, or with --json one document."""
    as_json = "--json" in arguments
    try:
        code = root.main(list(arguments), prog_name="continuity", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except SessionContinuityError as error:
        return _fail(exit_code(error), error.as_json(), as_json)
    except click.exceptions.NoArgsIsHelpError as error:
        if not as_json:
            click.echo(error.format_message(), err=True)
            return USAGE
        return _fail(USAGE, {"error": "usage", "message": "a command is missing"}, as_json)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "continuity"
        message = f"{error.format_message()} See `{path} --help`."
        return _fail(USAGE, {"error": "usage", "message": message}, as_json)
    except click.ClickException as error:
        return _fail(error.exit_code, {"error": "failed", "message": error.format_message()}, as_json)
    except click.Abort:
        return _fail(INTERRUPTED, {"error": "interrupted", "message": "interrupted"}, as_json)
    except UnicodeEncodeError:
        document = {"error": "text_lone_surrogate", "message": "an argument is not valid UTF-8"}
        return _fail(USAGE, document, as_json)
    except OSError as error:
        message = ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
        return _fail(FAILED, {"error": "operating_system", "message": message}, as_json)
    except Exception as error:
        return _fail(FAILED, _unexpected(error), as_json)


def _unexpected(error: Exception) -> dict[str, Any]:
    if os.environ.get("CONTINUITY_DEBUG"):
        import traceback

        traceback.print_exc()
    name = type(error).__name__
    return {
        "error": "internal",
        "message": f"{name}: {error} (a defect; CONTINUITY_DEBUG=1 shows where)",
        "exception": name,
    }


def _fail(code: int, document: dict[str, Any], as_json: bool) -> int:
    from session_continuity.cli.output import write_error, write_json

    try:
        if as_json:
            write_json(document)
        else:
            write_error(str(document["message"]))
    except click.exceptions.Exit as done:
        return done.exit_code
    return code
