"""continuity statusline: one line for the status line of an agent."""

from __future__ import annotations

import sys

import click

from session_continuity.cli.arguments import Call, Group, pass_call

_LIMIT = 1_048_576


@click.group(cls=Group)
def statusline() -> None:
    """Print the status line of an agent from the JSON on standard input."""


@statusline.command(
    "claude-code", examples=("continuity statusline claude-code --wrap ~/.claude/statusline.sh < status.json",)
)
@click.option("--wrap", metavar="COMMAND", help="Another status line command, whose output is shown above ours.")
@pass_call
def claude_code(call: Call, wrap: str | None) -> None:
    """Print instance, epic, context percentage and active hours of a Claude Code session."""
    from session_continuity.capture.recorder.statusline import status_line

    shown = status_line(call.settings, "claude-code", sys.stdin.buffer.read(_LIMIT), wrap)
    call.answer({"line": shown.decode("utf-8", "replace").rstrip("\n")}, lambda: _write(shown))


def _write(shown: bytes) -> None:
    """As it is: the wrapped command's colours are the user's own."""
    sys.stdout.flush()
    sys.stdout.buffer.write(shown)
    sys.stdout.buffer.flush()
