"""continuity resume, fork and rewind: one line of work over many instances."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from session_continuity.cli.arguments import NUMBER, Call, Command, operation_option, pass_call
from session_continuity.cli.output import write_note, write_text

if TYPE_CHECKING:
    from session_continuity.briefing import Briefing
    from session_continuity.client import SessionContinuity
    from session_continuity.domain.session_registry import Session
    from session_continuity.domain.threads import Continuation

F = TypeVar("F", bound=Callable[..., Any])

_NEXT = {
    "resume": "{new} goes on; {old} may write no more. Give the brief to the new agent, and write as {new}.",
    "rewind": "{new} goes on from event {number}; {old} may write no more. Write as {new}.",
    "fork": "{new} goes on in a thread of its own from event {number}; {old} is left as it is.",
}


_START = {
    "claude-code": "claude",
    "codex": "codex",
    "gemini-cli": "gemini --prompt-interactive",
    "opencode": "opencode --prompt",
}
"""How each harness is started with a first prompt: the words before it."""


def _continuation(function: F) -> F:
    """The options of resume, fork and rewind."""
    for option in reversed(
        (
            click.option("--dry-run", is_flag=True, help="Print the brief and change nothing."),
            click.option(
                "--budget", type=NUMBER, help="Most tokens of the brief (default: the setting brief_tokens)."
            ),
            click.option("--project", help="Look for NAME in this project only."),
            click.option("--cwd", help="Folder to compare with and to go on in (default: the recorded one)."),
            click.option("--successor-id", help="Id of the new instance; without it one is made."),
            click.option("--harness", help="Client program of the new instance."),
            operation_option,
        )
    ):
        function = option(function)
    return function


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
    from session_continuity.domain.identity import new_operation_id
    from session_continuity.domain.threads import AWAITS_AGENT
    from session_continuity.workspace import here

    client = call.client
    tokens = _checked_budget(call.settings.brief_tokens if budget is None else budget)
    by_number = continuation == "fork" or sequence_num is not None
    predecessor = _named(client, name, project, exactly=operation is not None or by_number)
    old = predecessor.instance_id
    if dry_run:
        continued = client.preview_continuation(old, continuation=continuation, until=sequence_num)
    else:
        folder = cwd or (predecessor.cwd if predecessor.cwd and os.path.isdir(predecessor.cwd) else None)
        operation = operation or str(new_operation_id())
        successor: dict[str, Any] = {
            "successor_id": successor_id,
            "origin": here(folder, harness=harness),
            "metadata": {AWAITS_AGENT: True},
            "operation": operation,
        }
        if continuation == "resume":
            continued = client.resume_session(old, **successor)
        elif continuation == "fork":
            continued = client.fork_session(old, sequence_num=sequence_num, **successor)
        else:
            continued = client.rewind_session(old, sequence_num or 0, **successor)
    if continued.successor is not None and continuation != "fork":
        _tell_hooks(call, predecessor, continued.successor)
    briefing = brief_continuation(continued, budget=tokens, cwd=cwd)
    given = {"--budget": budget, "--cwd": cwd, "--operation": None if dry_run else operation}
    start = _start_line(briefing, harness, name if dry_run else old, sequence_num, given)
    call.answer(briefing, lambda: _show(briefing, start))


def _tell_hooks(call: Call, loser: Session, successor: Session) -> None:
    """Let the hooks of the session that was taken over know it at once."""
    if loser.harness_session_id:
        from session_continuity.capture.recorder.fence_notice import mark_fenced

        mark_fenced(call.settings, loser, successor.instance_id, successor.owner_epoch)


def _start_line(
    briefing: Briefing, harness: str | None, name: str, sequence_num: int | None, given: dict[str, Any]
) -> str | None:
    """What to type to start the agent with the brief: the same operation again, which only prints it."""
    import shlex

    done = briefing.continued
    program = _START.get(harness or done.predecessor.harness or "")
    if program is None:
        return None
    words = ["continuity", done.continuation, name]
    if sequence_num is not None:
        words += ["--at", str(sequence_num)] if done.continuation == "fork" else [str(sequence_num)]
    for option, value in given.items():
        words += [option, str(value)] if value is not None else []
    folder = (done.successor or done.predecessor).cwd
    there = f"cd {shlex.quote(folder)} && " if folder and folder != os.getcwd() else ""
    return f'{there}{program} "$({shlex.join(words)})"'


def _checked_budget(budget: int) -> int:
    """Checked before anything is fenced: afterwards it would be too late to fail."""
    from session_continuity.domain.brief import LEAST_TOKENS
    from session_continuity.domain.errors import InvalidInput

    if budget < LEAST_TOKENS:
        raise InvalidInput(
            f"a brief needs a budget of at least {LEAST_TOKENS} tokens, not {budget}", code="budget"
        )
    return budget


def _named(client: SessionContinuity, name: str, project: str | None, *, exactly: bool) -> Session:
    """The session that is meant. Where a sequence number or an operation id goes with it, a full instance id
    means `exactly` this instance, not its successor, whose numbers are others."""
    from session_continuity.domain.identity import INSTANCE_ID

    if exactly and INSTANCE_ID.fullmatch(name):
        return client.get_session(name)
    return client.find_resumable(name, project=project)


def _show(briefing: Briefing, start: str | None) -> None:
    done = briefing.continued
    old, number = done.predecessor.instance_id, done.recovery.sequence_num
    if done.successor is None:
        write_note(f"dry run: {done.continuation} would go on from {old}, event {number}; nothing was changed")
    else:
        write_note(_NEXT[done.continuation].format(new=done.successor.instance_id, old=old, number=number))
    if start is not None:
        write_note(f"start the agent with the brief: {start}")
    write_text(briefing.brief.text)
