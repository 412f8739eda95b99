"""continuity archive: old rows in files, by the retention policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import click

from session_continuity.cli.arguments import (
    NUMBER,
    Call,
    Group,
    before_option,
    limit_option,
    pass_call,
    project_option,
)
from session_continuity.cli.failures import FAILED
from session_continuity.cli.output import json_text, write_fields, write_note, write_table, write_text
from session_continuity.cli.progress import progress_bar

if TYPE_CHECKING:
    from session_continuity.archive.archiving import RunReport
    from session_continuity.archive.reading import Found, Verified
    from session_continuity.archive.restoring import Restored
    from session_continuity.domain.archives import Archive
    from session_continuity.domain.retention import ProjectPlan

Kind = Literal["events", "commands", "checkpoints"]
KIND = click.Choice(["events", "commands", "checkpoints"])


@click.group(cls=Group)
def archive() -> None:
    """Move old rows into archives by the retention policy, verify, search and restore them."""


@archive.command("plan", examples=("continuity archive plan", "continuity archive plan --project shop --json"))
@project_option
@pass_call
def plan(call: Call, project: str | None) -> None:
    """Show what the retention policy would archive and delete now, by project and kind; changes nothing."""
    from session_continuity.domain.retention import plan_retention

    plans = call.client.run(plan_retention(call.settings.retention, project=project))
    answer = [{**asdict(one), "policy": one.policy.as_json()} for one in plans]
    call.answer(answer, lambda: _show_plan(call, plans))


@archive.command("run", examples=("continuity archive run", "continuity archive run --project shop --most 1"))
@project_option
@click.option("--most", type=NUMBER, help="Make at most so many archives.")
@click.pass_context
@pass_call
def run(call: Call, ctx: click.Context, project: str | None, most: int | None) -> None:
    """Archive what is due: write it, read it back, compare it, then delete it from the tables.

    Finishes what an earlier run left, and deletes archives past their age.
    """
    from session_continuity.archive.archiving import run_archive

    with progress_bar() as progress:
        report = run_archive(call.client, project=project, most_archives=most, progress=progress)
    call.answer(asdict(report), lambda: _show_run(report))
    if report.problems:
        ctx.exit(FAILED)


@archive.command(
    "list", examples=("continuity archive list", "continuity archive list --session shop-PS-abc123 --json")
)
@project_option
@click.option("--session", "instance_id", metavar="INSTANCE_ID", help="Only those that hold rows of this session.")
@before_option
@limit_option(100)
@pass_call
def list_(
    call: Call, *, project: str | None, instance_id: str | None, before: datetime | None, limit: int
) -> None:
    """List archives, the latest first."""
    from session_continuity.domain.archives import list_archives

    found = call.client.run(list_archives(project=project, instance_id=instance_id, before=before, limit=limit))
    call.answer(found, lambda: _show_archives(found))


@archive.command(
    "show",
    examples=(
        "continuity archive show shop-20260128120000-1f0ab6c2",
        "continuity archive show shop-PS-abc123 --kind events --limit 1000 --json",
    ),
)
@click.argument("name")
@click.option("--kind", type=KIND, help="Show rows of this kind.")
@limit_option(100)
@pass_call
def show(call: Call, name: str, kind: Kind | None, limit: int) -> None:
    """Show an archive, or what is archived of a session; with --kind its rows.

    NAME is the id of an archive or an instance id.
    """
    from session_continuity.archive.reading import archives_named, show_rows
    from session_continuity.domain.archives import list_archived_sessions
    from session_continuity.domain.identity import INSTANCE_ID

    instance_id = name if INSTANCE_ID.fullmatch(name) else None
    archives = archives_named(call.client, name)
    if kind is not None:
        rows = show_rows(call.client, reversed(archives), kind, instance_id, limit)
        call.answer(rows, lambda: write_text("\n".join(map(json_text, rows))))
        return
    sessions = [
        one
        for each in archives
        for one in call.client.run(list_archived_sessions(each.archive_id))
        if instance_id in (None, one.instance_id)
    ]
    answer = {"archives": archives, "sessions": sessions}
    call.answer(answer, lambda: _show_sessions(archives, [asdict(one) for one in sessions]))


@archive.command("verify", examples=("continuity archive verify", "continuity archive verify --json"))
@click.argument("archive_id", required=False)
@click.pass_context
@pass_call
def verify(call: Call, ctx: click.Context, archive_id: str | None) -> None:
    """Read every file of the archives again and compare it with what was written; fails when one differs."""
    from session_continuity.archive.reading import verify_archives

    found = verify_archives(call.client, archive_id)
    call.answer(found, lambda: _show_verified(found))
    if any(one.problems for one in found):
        ctx.exit(FAILED)


@archive.command(
    "restore",
    examples=(
        "continuity archive restore shop-PS-abc123",
        "continuity archive restore shop-20260128120000-1f0ab6c2 --keep-live",
    ),
)
@click.argument("name")
@click.option("--keep-live", is_flag=True, help="Leave rows as they are that were changed since.")
@pass_call
def restore(call: Call, name: str, keep_live: bool) -> None:
    """Bring the rows of an archive or of a session back, exactly as they were; again changes nothing.

    NAME is the id of an archive or an instance id.
    """
    from session_continuity.archive.reading import archives_named
    from session_continuity.archive.restoring import restore_archive
    from session_continuity.domain.identity import INSTANCE_ID

    instance_id = name if INSTANCE_ID.fullmatch(name) else None
    restored: list[Restored] = []
    with progress_bar() as progress:
        for one in reversed(archives_named(call.client, name)):
            if instance_id is None or one.state in ("written", "finished"):
                restored.append(
                    restore_archive(
                        call.client, one, instance_id=instance_id, keep_live=keep_live, progress=progress
                    )
                )
    call.answer(restored, lambda: _show_restored(restored))


@archive.command("search", examples=("continuity archive search 'no rule to make' --project shop",))
@click.argument("text")
@project_option
@click.option("--session", "instance_id", metavar="INSTANCE_ID", help="Only in archives that hold this session.")
@limit_option(100)
@click.pass_context
@pass_call
def search(
    call: Call, ctx: click.Context, text: str, *, project: str | None, instance_id: str | None, limit: int
) -> None:
    """Search the rows in the archives of this machine for a text, ignoring case; fails when one can't be read."""
    from session_continuity.archive.reading import search_archives
    from session_continuity.domain.archives import list_archives

    archives = call.client.run(list_archives(project=project, instance_id=instance_id, limit=10_000))
    searched = search_archives(call.client, archives, text, limit=limit)
    call.answer(searched.found, lambda: _show_found(searched.found))
    for (host, folder), count in searched.elsewhere.items():
        write_note(f"not here, so not searched: {count:,} of the archives, on {host} in {folder}")
    for problem in searched.unread:
        write_note(f"NOT SEARCHED: {problem}")
    if searched.unread:
        ctx.exit(FAILED)


def _show_plan(call: Call, plans: list[ProjectPlan]) -> None:
    if not call.settings.retention.is_set:
        write_note("no retention policy is set: everything is kept; see [retention] in the settings")
        return
    columns = ("project", "sessions", "events", "commands", "checkpoints", "held", "no checkpoint", "expired")
    rows = [
        (
            one.project,
            one.sessions,
            one.events,
            one.commands,
            one.checkpoints,
            one.held,
            one.without_checkpoint,
            len(one.expired),
        )
        for one in plans
    ]
    write_table(columns, rows, nothing="no project has anything that the policy knows")


def _show_run(report: RunReport) -> None:
    for archive_id in report.archives:
        write_text(archive_id)
    write_note(f"{report.rows:,} rows of {report.sessions:,} sessions archived")
    if report.rows_kept:
        write_note(f"{report.rows_kept:,} rows stay: they were changed while they were copied, or are held")
    if report.deleted:
        write_note(f"{len(report.deleted)} archives past their age deleted")
    if report.erased:
        write_note(f"forgotten sessions erased from {len(report.erased)} archives")
    for project in report.busy:
        write_note(f"{project}: an archive of it is at work elsewhere")
    if report.more:
        write_note("there may be more: run it again")
    for problem in report.problems:
        write_note(f"PROBLEM: {problem}")


def _show_archives(found: list[Archive]) -> None:
    columns = ("archive", "project", "state", "sessions", "events", "commands", "checkpoints", "bytes", "created")
    rows = [
        (
            one.archive_id,
            one.project,
            one.state,
            one.sessions,
            one.events,
            one.commands,
            one.checkpoints,
            one.bytes,
            one.created_at,
        )
        for one in found
    ]
    write_table(columns, rows, nothing="nothing is archived")


def _show_sessions(archives: list[Archive], sessions: list[dict[str, Any]]) -> None:
    if len(archives) == 1:
        write_fields(asdict(archives[0]))
    columns = ("archive_id", "instance_id", "events", "commands", "checkpoints", "first_sequence_num",
               "last_sequence_num", "restored_at", "erased_at")  # fmt: skip
    write_table(columns, [[one[name] for name in columns] for one in sessions], nothing="no sessions")


def _show_verified(found: list[Verified]) -> None:
    rows = [(one.archive_id, one.rows, "; ".join(one.problems) or "whole") for one in found]
    write_table(("archive", "rows", "result"), rows, nothing="no archive is here")


def _show_restored(restored: list[Restored]) -> None:
    for one in restored:
        write_text(
            f"{one.archive_id}: {one.events:,} events, {one.commands:,} commands, {one.checkpoints:,} checkpoints"
            f" of {len(one.sessions)} sessions restored"
        )
        if one.left_out:
            write_note(f"forgotten since, and left out: {', '.join(one.left_out)}")


def _show_found(found: Sequence[Found]) -> None:
    rows = [(one.instance_id, one.kind, one.reference, one.name, one.at, one.excerpt) for one in found]
    columns = ("instance_id", "kind", "reference", "name", "at", "excerpt")
    write_table(columns, rows, nothing="nothing in the archives that are here holds that")
