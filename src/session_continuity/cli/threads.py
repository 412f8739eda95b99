"""continuity resume, fork and rewind: one line of work over many instances."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from session_continuity.cli.arguments import NUMBER, Call, Command, operation_option, pass_call
from session_continuity.cli.output import write_note, write_text

if TYPE_CHECKING:
    from session_continuity.briefing import Briefing
    from session_continuity.domain.threads import Continuation

F = TypeVar("F", bound=Callable[..., Any])

_NEXT = {
    "resume": "{new} goes on; {old} may write no more. Give the brief to the new agent, and write as {new}.",
    "rewind": "{new} goes on from event {number}; {old} may write no more. Write as {new}.",
    "fork": "{new} goes on in a thread of its own from event {number}; {old} is left as it is.",
}


def _continuation(function: F) -> F:
    """The options of resume, fork and rewind."""
    for option in reversed(
        (
            click.option("--dry-run", is_flag=True, help="Print the brief and change nothing."),
            click.option("--budget", type=NUMBER, help="Most tokens of the brief (default: the setting brief_tokens)."),
            click.option("--project", help="Look for NAME in this project only."),
            click.option("--cwd", help="Folder to compare with and to go on in (default: this one)."),
            click.option("--successor-id", help="Id of the new instance; without it one is made."),
            click.option("--harness", help="Client program of the new instance."),
            operation_option,
        )
    ):
        function = option(function)
    return function


_NAME_HELP = "NAME is an instance id, its last six characters, an epic, a project, or `last`."


@click.command(
    cls=Command,
    examples=(
        "continuity resume last --dry-run",
        "continuity resume abc123 --budget 1500 > brief.md",
        "continuity resume consilio-PS-abc123 --json",
    ),
)
@click.argument("name")
@_continuation
@pass_call
def resume(call: Call, name: str, **options: Any) -> None:
    """Continue a session in a new instance, fence the old one and print the brief.

    NAME is an instance id, its last six characters, an epic, a project, or `last`.
    """
    _continue(call, "resume", name, None, **options)


@click.command(cls=Command, examples=("continuity fork abc123 --at 40",))
@click.argument("name")
@click.option("--at", "sequence_num", type=NUMBER, help="Branch off after this event (default: the last one).")
@_continuation
@pass_call
def fork(call: Call, name: str, sequence_num: int | None, **options: Any) -> None:
    """Start a new thread from a session's state and leave the session as it is.

    NAME is an instance id, its last six characters, an epic, a project, or `last`.
    """
    _continue(call, "fork", name, sequence_num, **options)


@click.command(cls=Command, examples=("continuity rewind abc123 40 --dry-run",))
@click.argument("name")
@click.argument("sequence_num", type=NUMBER)
@_continuation
@pass_call
def rewind(call: Call, name: str, sequence_num: int, **options: Any) -> None:
    """Continue a session from an earlier event; nothing is deleted.

    NAME is an instance id, its last six characters, an epic, a project, or `last`.
    """
    _continue(call, "rewind", name, sequence_num, **options)


def _continue(
    call: Call,
    continuation: Continuation,
    name: str,
    sequence_num: int | None,
    *,
    dry_run: bool,
    budget: int | None,
    project: str | None,
    cwd: str | None,
    successor_id: str | None,
    harness: str | None,
    operation: str | None,
) -> None:
    from session_continuity.briefing import brief_continuation
    from session_continuity.cli.workspace import here

    client = call.client
    budget = call.settings.brief_tokens if budget is None else budget
    instance_id = client.find_resumable(name, project=project).instance_id
    preview = client.preview_continuation(instance_id, continuation=continuation, until=sequence_num)
    briefing = brief_continuation(preview, budget=budget, cwd=cwd)
    if not dry_run:
        chosen: dict[str, Any] = {
            "successor_id": successor_id,
            "origin": here(cwd, harness=harness),
            "operation": operation,
        }
        if continuation == "resume":
            continued = client.resume_session(instance_id, **chosen)
        elif continuation == "fork":
            continued = client.fork_session(instance_id, sequence_num=sequence_num, **chosen)
        else:
            continued = client.rewind_session(instance_id, sequence_num or 0, **chosen)
        briefing = brief_continuation(continued, budget=budget, cwd=cwd)
    call.answer(briefing, lambda: _show(briefing))


def _show(briefing: Briefing) -> None:
    done = briefing.continued
    old, number = done.predecessor.instance_id, done.recovery.sequence_num
    if done.successor is None:
        write_note(f"dry run: {done.continuation} would go on from {old}, event {number}; nothing was changed")
    else:
        write_note(_NEXT[done.continuation].format(new=done.successor.instance_id, old=old, number=number))
    write_text(briefing.brief.text)
