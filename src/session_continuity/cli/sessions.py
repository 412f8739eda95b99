"""continuity sessions: the session registry."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from session_continuity.cli.arguments import (
    DURATION,
    INSTANCE_TYPE,
    JSON_OBJECT,
    NUMBER,
    STATUS,
    Call,
    Group,
    before_option,
    context_percent_option,
    instance_argument,
    limit_option,
    operation_option,
    pass_call,
    project_option,
)
from session_continuity.cli.output import log_to_stderr, write_fields, write_note, write_table, write_text
from session_continuity.cli.person import person_option
from session_continuity.domain.errors import InvalidInput
from session_continuity.domain.measures import ago

if TYPE_CHECKING:
    from collections.abc import Iterator

    from session_continuity.domain.family import Relative
    from session_continuity.domain.forgetting import Forgotten
    from session_continuity.domain.session_registry import Relation, Session
    from session_continuity.domain.stale_sweep import SilentSession
    from session_continuity.web.dashboard.export import Format

FORM = click.Choice(["html", "json"])
RELATION = click.Choice(["spawned", "resumed_from", "forked_from", "handed_off_to", "imported_from"])


@click.group(cls=Group)
def sessions() -> None:
    """Register sessions, keep them alive, list, sweep, close and forget them."""


@sessions.command(
    "list",
    examples=(
        "continuity sessions list --project consilio-s --status active",
        "continuity sessions list --status active --silent-for 30m --json",
    ),
)
@project_option
@click.option("--status", type=STATUS, help="Only with this status.")
@click.option("--type", "instance_type", type=INSTANCE_TYPE, help="Only project (PS) or meta (MS) supervisors.")
@click.option("--silent-for", type=DURATION, help="Only without a heartbeat for this long, like 30m.")
@before_option
@limit_option(100)
@pass_call
def list_sessions(
    call: Call,
    *,
    project: str | None,
    status: Literal["active", "stale", "closed"] | None,
    instance_type: Literal["PS", "MS"] | None,
    silent_for: timedelta | None,
    before: datetime | None,
    limit: int,
) -> None:
    """List sessions, the latest heartbeat first."""
    found = call.client.find_sessions(
        project=project,
        status=status,
        instance_type=instance_type,
        silent_for=silent_for,
        before=before,
        limit=limit,
    )
    call.answer(found, lambda: _show_table(found))


@sessions.command("show")
@instance_argument
@pass_call
def show_session(call: Call, instance_id: str) -> None:
    """Show everything the registry knows of one session."""
    session = call.client.get_session(instance_id)
    call.answer(session, lambda: show(session))


@sessions.command("family", examples=("continuity sessions family consilio-PS-abc123",))
@instance_argument
@limit_option(200)
@pass_call
def get_family(call: Call, instance_id: str, limit: int) -> None:
    """Show the tree of a session: who started, resumed or forked whom."""
    family = call.client.get_family(instance_id, limit=limit)
    call.answer(family, lambda: _show_family(family))


@sessions.command(
    "register",
    examples=(
        "continuity sessions register consilio-s --epic epic-001 --context-percent 45",
        "continuity sessions register consilio-s --instance-id consilio-PS-abc123 --json",
    ),
)
@click.argument("project")
@click.option(
    "--type", "instance_type", type=INSTANCE_TYPE, default="PS", show_default=True, help="Kind of supervisor."
)
@click.option("--instance-id", help="Id of the new instance; without it one is made.")
@click.option("--epic", help="The epic it works on.")
@context_percent_option
@click.option("--cwd", help="Folder it works in (default: this one).")
@click.option("--harness", help="Its client program, like claude-code.")
@click.option("--harness-session-id", help="The client program's own id of the session.")
@click.option("--pid", type=NUMBER, help="Its process.")
@click.option("--parent", help="Instance id of the session that it comes from.")
@click.option("--relation", type=RELATION, help="How it comes from its parent.")
@click.option("--heartbeat-interval", type=DURATION, help="How often it will send a heartbeat, like 60s.")
@click.option("--metadata", type=JSON_OBJECT, help="A JSON object.")
@operation_option
@pass_call
def register_session(
    call: Call,
    *,
    project: str,
    instance_type: Literal["PS", "MS"],
    instance_id: str | None,
    epic: str | None,
    context_percent: int | None,
    cwd: str | None,
    harness: str | None,
    harness_session_id: str | None,
    pid: int | None,
    parent: str | None,
    relation: Relation | None,
    heartbeat_interval: timedelta | None,
    metadata: Any,
    operation: str | None,
) -> None:
    """Register a session of PROJECT and print its instance id."""
    from session_continuity.workspace import here

    session = call.client.register_session(
        project,
        instance_type=instance_type,
        instance_id=instance_id,
        context_percent=context_percent,
        current_epic=epic,
        origin=here(
            cwd,
            harness=harness,
            harness_session_id=harness_session_id,
            pid=pid,
            parent_instance_id=parent,
            relation=relation,
        ),
        heartbeat_interval=heartbeat_interval,
        metadata=metadata,
        operation=operation,
    )
    call.answer(session, lambda: show(session))


@sessions.command("heartbeat")
@instance_argument
@context_percent_option
@click.option("--epic", help="The epic it works on now.")
@pass_call
def send_heartbeat(call: Call, instance_id: str, context_percent: int | None, epic: str | None) -> None:
    """Say that a session lives; a stale one is active again."""
    session = call.client.send_heartbeat(instance_id, context_percent=context_percent, current_epic=epic)
    call.answer(session, lambda: write_note(f"{session.instance_id} is {session.status}"))


@sessions.command("close")
@instance_argument
@click.option("--reason", default="closed", show_default=True, help="Why it ends.")
@operation_option
@pass_call
def close_session(call: Call, instance_id: str, reason: str, operation: str | None) -> None:
    """End a session in good order; closing it twice changes nothing."""
    session = call.client.close_session(instance_id, reason=reason, operation=operation)
    call.answer(session, lambda: write_note(f"{session.instance_id} is {session.status}"))


@sessions.command(
    "export",
    examples=(
        "continuity sessions export consilio-PS-abc123",
        "continuity sessions export consilio-PS-abc123 --format json --output - > session.json",
    ),
)
@instance_argument
@click.option("--format", "form", type=FORM, default="html", show_default=True, help="The form of the file.")
@click.option("--output", "-o", metavar="FILE", help="Where to; - for standard output (default: ID.FORMAT here).")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@pass_call
def export_session(call: Call, instance_id: str, form: Format, output: str | None, force: bool) -> None:
    """Export a session as one file: an HTML page that needs nothing else, or JSON with all records."""
    import sys

    from session_continuity.web.dashboard.export import export_session as export

    threshold = call.settings.context_threshold_percent
    pieces = export(call.client.run, instance_id, form, threshold=threshold)
    if output == "-":
        if call.as_json:
            raise click.UsageError("--json prints what was written: give --output a file.")
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        return
    file = Path(output or f"{instance_id}.{form}")
    if file.exists() and not force:
        raise InvalidInput(f"{file} is there already; --force replaces it", code="file_exists")
    written = _write_whole(file, pieces)
    call.answer({"file": file, "bytes": written}, lambda: write_note(f"wrote {file}"))


def _write_whole(file: Path, pieces: Iterator[bytes]) -> int:
    """Write a file of which never a part is seen; what is no regular file, like /dev/null, stays what it is."""
    is_special = file.exists() and not file.is_file()
    target = file if is_special else file.with_name(f".{file.name}.unfinished")
    try:
        with target.open("wb") as opened:
            written = sum(opened.write(piece) for piece in pieces)
        if not is_special:
            target.replace(file)
    except OSError as error:
        if not is_special:
            target.unlink(missing_ok=True)
        raise InvalidInput(f"{file} can't be written: {error.strerror}", code="file_unwritable") from None
    return written


@sessions.command("hold", examples=("continuity sessions hold consilio-PS-abc123 --reason 'case 7'",))
@instance_argument
@click.option("--reason", required=True, help="Why; kept in the audit.")
@person_option
@pass_call
def hold_session(call: Call, **asked: str) -> None:
    """Put a session on legal hold: nothing forgets, deletes or archives it."""
    _set_hold(call, True, **asked)


@sessions.command("release", examples=("continuity sessions release consilio-PS-abc123 --reason 'case closed'",))
@instance_argument
@click.option("--reason", required=True, help="Why; kept in the audit.")
@person_option
@pass_call
def release_session(call: Call, **asked: str) -> None:
    """Take a session off its legal hold."""
    _set_hold(call, False, **asked)


def _set_hold(call: Call, hold: bool, *, instance_id: str, reason: str, person: str) -> None:
    from session_continuity.domain.audit import audited
    from session_continuity.domain.legal_hold import hold_session, release_session

    change = hold_session(instance_id) if hold else release_session(instance_id)
    session = call.client.run(
        audited(change, change.name, instance_id, person=person, via="cli", details={"reason": reason})
    )
    held = "on legal hold" if session.legal_hold else "not on legal hold"
    call.answer(session, lambda: write_note(f"{session.instance_id} is {held}"))


@sessions.command(
    "sweep",
    examples=("continuity sessions sweep --dry-run", "continuity sessions sweep --all --json"),
)
@click.option("--dry-run", is_flag=True, help="List the sessions that would become stale, and change nothing.")
@click.option(
    "--all", "release", is_flag=True, help="Mark them even when they are more than half of the active ones."
)
@pass_call
def sweep_sessions(call: Call, dry_run: bool, release: bool) -> None:
    """Mark silent sessions stale now, and those of this machine whose process is gone; save their state."""
    if dry_run:
        silent = call.client.find_silent(stale_after=timedelta(minutes=call.settings.stale_after_minutes))
        call.answer({"would_mark": silent}, lambda: _show_silent(silent))
        return
    from session_continuity.resident_services import sweep_now

    log_to_stderr()
    swept = sweep_now(call.client, release=release)
    call.answer(swept, lambda: _show_swept(swept))


@sessions.command(
    "forget",
    examples=(
        "continuity sessions forget consilio-PS-abc123",
        "continuity sessions forget consilio-PS-abc123 --yes",
    ),
)
@instance_argument
@click.option("--thread", "whole_thread", is_flag=True, help="All instances of its thread.")
@click.option("--yes", is_flag=True, help="Do it.")
@pass_call
def forget_session(call: Call, instance_id: str, whole_thread: bool, yes: bool) -> None:
    """Erase a session's content for good, in the archives too, and leave a tombstone; shows the plan and does
    nothing without --yes."""
    if not yes:
        forgotten = call.client.preview_forgetting(instance_id, whole_thread=whole_thread)
        call.answer(
            {"done": False, **asdict(forgotten)},
            lambda: _show_forgotten(forgotten, done=False, whole_thread=whole_thread),
        )
        return
    from session_continuity.archive.erasing import erase_archived

    forgotten = call.client.forget_session(instance_id, whole_thread=whole_thread)
    erased = erase_archived(call.client, forgotten.instance_ids)

    def show() -> None:
        _show_forgotten(forgotten, done=True, whole_thread=whole_thread)
        for archive_id in erased.archives:
            write_note(f"and erased it from archive {archive_id}")
        for one in erased.elsewhere:
            write_note(
                f"archive {one.archive_id} holds it still and lies on {one.host}:"
                " the next `continuity archive run` there erases it"
            )

    archives = {"archives": erased.archives, "archives_elsewhere": [asdict(one) for one in erased.elsewhere]}
    call.answer({"done": True, **asdict(forgotten), **archives}, show)


def _show_silent(silent: list[SilentSession]) -> None:
    write_table(
        ("instance_id", "project", "host", "last heartbeat", "process seen", "interval"),
        [
            (
                session.instance_id,
                session.project,
                session.host,
                ago(session.last_heartbeat),
                ago(session.process_seen_at),
                session.heartbeat_interval_seconds and f"{session.heartbeat_interval_seconds} s",
            )
            for session in silent
        ],
        nothing="no session is silent",
    )


def _show_swept(swept: dict[str, int]) -> None:
    write_note(f"became stale: {swept['marked']} that were silent, {swept['gone']} whose process is gone")
    if swept["held"]:
        write_note(
            f"held back {swept['held']}, more than half of the active ones: the clock may have jumped, or the"
            " machine slept; --all marks them"
        )


def _show_forgotten(forgotten: Forgotten, *, done: bool, whole_thread: bool) -> None:
    verb = "erased" if done else "would erase"
    write_text(
        f"{verb} {forgotten.events} events, {forgotten.commands} commands, {forgotten.checkpoints} checkpoints of"
        f" {', '.join(forgotten.instance_ids)}, and what the registry says of epic, place and metadata"
    )
    if forgotten.still_holding:
        others = ", ".join(forgotten.still_holding)
        write_text(
            f"their work state goes on in {others}, which {'hold' if done else 'will hold'} parts of their text"
        )
        if not whole_thread:
            write_note("with --thread the later instances of the same thread are erased, too")
    write_note(
        "not touched: backups, archives, the agent's own recordings and, until PostgreSQL writes over them, the"
        " files of the database"
    )
    if not done:
        write_note("nothing was changed; do it with --yes")


def show(session: Session) -> None:
    """Print one session for people."""
    write_fields({name: getattr(session, name) for name in session.__dataclass_fields__})


def _show_family(family: list[Relative]) -> None:
    write_table(
        ("instance_id", "relation", "status", "epoch", "successor", "last heartbeat"),
        [
            (
                "· " * depth + session.instance_id,
                session.relation,
                session.status,
                session.owner_epoch,
                session.superseded_by,
                ago(session.last_heartbeat),
            )
            for depth, session in family
        ],
        nothing="no sessions",
    )


def _show_table(found: list[Session]) -> None:
    write_table(
        ("instance_id", "project", "status", "context", "epic", "events", "last heartbeat"),
        [
            (
                session.instance_id,
                session.project,
                session.status,
                None if session.context_percent is None else f"{session.context_percent} %",
                session.current_epic,
                session.last_sequence_num,
                ago(session.last_heartbeat),
            )
            for session in found
        ],
        nothing="no sessions",
    )
