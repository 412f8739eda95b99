"""continuity commands: the command log."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from session_continuity.cli.arguments import (
    DURATION,
    JSON,
    JSON_OBJECT,
    NUMBER,
    OUTCOME,
    SEARCHED_OUTCOME,
    TIME,
    Call,
    Group,
    before_option,
    instance_argument,
    limit_option,
    operation_option,
    pass_call,
    project_option,
    since_option,
)
from session_continuity.cli.output import write_fields, write_table

if TYPE_CHECKING:
    from session_continuity.domain.command_log import Command, Outcome


@click.group(cls=Group)
def commands() -> None:
    """Record tool calls and actions with their outcome, and search them."""


@commands.command(
    "search",
    examples=(
        "continuity commands search --instance consilio-PS-abc123 --outcome failure",
        "continuity commands search --text pytest --slower-than 5s --since 2h --json",
    ),
)
@click.option("--instance", "instance_id", help="Only of this instance.")
@project_option
@click.option("--tool", "tool_name", help="Only by this tool.")
@click.option("--action", help="Only this action, in full.")
@click.option("--type", "command_type", help="Only this type of command.")
@click.option("--outcome", type=SEARCHED_OUTCOME, help="Only with this outcome; in_flight has none yet.")
@click.option("--text", help="Only with this text in action, tool, parameters or error.")
@click.option("--tag", help="Only with this tag.")
@click.option("--slower-than", type=DURATION, help="Only those that took longer, like 5s.")
@since_option
@before_option
@limit_option(100)
@pass_call
def search_commands(call: Call, slower_than: timedelta | None, **filters: Any) -> None:
    """Search commands, the latest first."""
    milliseconds = None if slower_than is None else round(slower_than.total_seconds() * 1_000)
    found = call.client.search_commands(slower_than_ms=milliseconds, **filters)
    call.answer(found, lambda: _show_table(found))


commands.add_command(search_commands, "list")


@commands.command(
    "record",
    examples=(
        "continuity commands record consilio-PS-abc123 task spawn_subagent --tool-call-id toolu_01",
        "continuity commands record consilio-PS-abc123 shell 'make test' --outcome success",
    ),
)
@instance_argument
@click.argument("command_type", metavar="TYPE")
@click.argument("action")
@click.option("--tool", "tool_name", help="The tool that runs it.")
@click.option("--parameters", type=JSON_OBJECT, help="A JSON object, or - for standard input.")
@click.option("--outcome", type=OUTCOME, help="How it ended; without it the command is in flight.")
@click.option("--result", type=JSON, help="Any JSON value, or - for standard input.")
@click.option("--error", "error_message", help="What it said when it failed.")
@click.option("--duration-ms", "execution_time_ms", type=NUMBER, help="How long it took.")
@click.option("--tag", "tags", multiple=True, help="A tag; may be given several times.")
@click.option("--context", "context_data", type=JSON_OBJECT, help="A JSON object of context data.")
@click.option("--tool-call-id", help="The harness's id of the call: the same id is the same command.")
@click.option("--started-at", type=TIME, help="When it began (default: now).")
@operation_option
@pass_call
def record_command(call: Call, instance_id: str, **fields: Any) -> None:
    """Record one command of an instance: its intent, or with --outcome the whole of it."""
    from session_continuity.domain.command_log import NewCommand

    for name in ("parameters", "context_data"):
        fields[name] = {} if fields[name] is None else fields[name]
    command = call.client.record_command(instance_id, NewCommand(**fields))
    call.answer(command, lambda: _show(command))


@commands.command(
    "outcome",
    examples=("continuity commands outcome consilio-PS-abc123 failure --tool-call-id toolu_01 --error 'exit 1'",),
)
@instance_argument
@click.argument("outcome", type=OUTCOME)
@click.option("--command-id", type=NUMBER, help="The command by its number ...")
@click.option("--tool-call-id", help="... or by the harness's id of the call.")
@click.option("--result", type=JSON, help="Any JSON value, or - for standard input.")
@click.option("--error", "error_message", help="What it said when it failed.")
@click.option("--duration-ms", "execution_time_ms", type=NUMBER, help="How long it took.")
@pass_call
def record_outcome(call: Call, instance_id: str, outcome: Outcome, **fields: Any) -> None:
    """Record how a command ended that was in flight."""
    command = call.client.record_outcome(instance_id, outcome=outcome, **fields)
    call.answer(command, lambda: _show(command))


@commands.command("show", examples=("continuity commands show consilio-PS-abc123 --command-id 41 --json",))
@instance_argument
@click.option("--command-id", type=NUMBER, help="The command by its number ...")
@click.option("--tool-call-id", help="... or by the harness's id of the call.")
@pass_call
def show_command(call: Call, *, instance_id: str, command_id: int | None, tool_call_id: str | None) -> None:
    """Show everything the log knows of one command."""
    command = call.client.get_command(instance_id, command_id=command_id, tool_call_id=tool_call_id)
    call.answer(command, lambda: _show(command))


def _show(command: Command) -> None:
    write_fields(command._asdict())


def _outcome(command: Command) -> str:
    if command.outcome is None and command.success is not None:
        return "success" if command.success else "failure"
    return command.outcome or "in_flight"


def _show_table(found: list[Command]) -> None:
    write_table(
        ("id", "when", "instance_id", "tool", "action", "outcome", "ms", "error"),
        [
            (
                command.id,
                command.created_at,
                command.instance_id,
                command.tool_name,
                command.action,
                _outcome(command),
                command.execution_time_ms,
                command.error_message,
            )
            for command in found
        ],
        nothing="no commands",
    )
