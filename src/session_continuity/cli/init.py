"""continuity init: the hooks and the MCP server in the settings of the installed agents."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from session_continuity.cli.arguments import Call, Command, pass_call
from session_continuity.cli.confirmation import confirm
from session_continuity.cli.output import write_note, write_text

if TYPE_CHECKING:
    from session_continuity.capture.harnesses.harness_settings import Place, Scope
    from session_continuity.capture.setup.installation import PlannedEdit

AGENT = click.Choice(["claude-code", "codex", "gemini-cli", "opencode"])
SCOPE = click.Choice(["user", "project"])


@click.command(
    cls=Command,
    examples=(
        "continuity init --dry-run",
        "continuity init --agent claude-code --scope project",
        "continuity init --undo",
    ),
)
@click.option(
    "--agent", "agents", type=AGENT, multiple=True, help="Only this agent (default: all that are found)."
)
@click.option(
    "--scope",
    type=SCOPE,
    default="user",
    show_default=True,
    help="For all your projects, or the current folder's.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be changed, and change nothing.")
@click.option("--undo", is_flag=True, help="Put the settings back as they were before.")
@click.option("--no-mcp", is_flag=True, help="Only the hooks: leave the entry of the MCP server as it is.")
@click.option("--yes", is_flag=True, help="Do it without asking.")
@pass_call
def init(
    call: Call, *, agents: tuple[str, ...], scope: Scope, dry_run: bool, undo: bool, no_mcp: bool, yes: bool
) -> None:
    """Install the hooks and the MCP server into the settings of the agents, showing the diff first."""
    from session_continuity.capture.setup.installation import HARNESSES, Installation

    place = current_place(scope)
    installation = Installation(call.settings, place)
    if undo and no_mcp:
        raise click.UsageError("--undo takes all out; `continuity mcp config AGENT --undo` the MCP server alone.")
    if undo:
        planned = installation.plan_undo(agents or tuple(HARNESSES))
    else:
        planned = installation.plan(agents or installation.find_harnesses(), mcp=not no_mcp)
    changes = [each for each in planned if each.edit.action != "keep"]
    if changes and not dry_run and not yes:
        what = f"this changes {len(changes)} of the agents' settings files"
        confirm(call, what, planned, lambda: show_edits(planned))
    elif not call.as_json:
        show_edits(planned)
    applied = bool(changes) and not dry_run
    if not dry_run:
        installation.undo(planned) if undo else installation.apply(planned)
    if applied and not undo:
        from session_continuity.capture.redaction.redaction import engine_of

        engine_of(call.settings)  # its rules are compiled now: a session's start has no seconds to spare
    notes = [] if undo else _next_steps(call, place, planned)
    answer = {"applied": applied, "edits": planned, "notes": notes}
    call.answer(answer, lambda: close_edits(applied, changes, notes))


def current_place(scope: Scope) -> Place:
    """This user, or the project in the current folder."""
    from session_continuity.capture.harnesses.harness_settings import Place

    return Place(scope=scope, home=Path.home(), project=Path.cwd(), environment=dict(os.environ))


def _next_steps(call: Call, place: Place, planned: Sequence[PlannedEdit]) -> list[str]:
    """What the user has to do, since nobody else may."""
    from session_continuity.capture.setup.installation import HARNESSES

    notes = dsn_note(call, "hooks")
    for harness in dict.fromkeys(each.harness for each in planned):
        for obstacle in HARNESSES[harness].find_obstacles(place):
            notes.append(f"{HARNESSES[harness].TITLE}: {obstacle.found}; {obstacle.remedy}")
    return notes


def dsn_note(call: Call, reader: str) -> list[str]:
    """What to do when the DSN stands where this reader does not look."""
    if not call.settings.dsn or call.settings.sources["dsn"] not in ("option", "CONTINUITY_DSN"):
        return []
    file = call.settings.home / "settings.toml"
    return [
        f'the DSN of an option or the environment does not reach {reader}; write it into {file} as dsn = "..."'
    ]


def show_edits(planned: Sequence[PlannedEdit]) -> None:
    """Print the diffs, and the notes on each."""
    for each in planned:
        if each.edit.action != "keep":
            write_text(each.edit.diff().rstrip("\n"))
        for note in each.notes:
            write_note(note)


def close_edits(applied: bool, changes: Sequence[PlannedEdit], notes: Sequence[str]) -> None:
    """Say what was done, and what is left to the user."""
    if applied:
        write_note("changed: " + ", ".join(str(each.edit.path) for each in changes))
    elif changes:
        write_note("nothing was changed; this is what would be")
    else:
        write_note("nothing to change")
    for note in notes:
        write_note(note)
