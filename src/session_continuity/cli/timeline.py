"""continuity timeline: one session's records merged by time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from session_continuity.cli.arguments import Call, Command, instance_argument, limit_option, pass_call
from session_continuity.cli.output import write_note, write_table

if TYPE_CHECKING:
    from session_continuity.domain.timeline import TimelineEntry


@click.command(cls=Command, examples=("continuity timeline consilio-PS-abc123 --limit 50 --json",))
@instance_argument
@click.option("--after", metavar="CURSOR", help="From after this entry on: the cursor of the last one seen.")
@limit_option(200)
@pass_call
def timeline(call: Call, instance_id: str, after: str | None, limit: int) -> None:
    """Show a session's events, commands and checkpoints in time order."""
    entries = call.client.get_timeline(instance_id, after=after, limit=limit)
    answer = [{**entry._asdict(), "cursor": entry.cursor} for entry in entries]
    call.answer(answer, lambda: _show_table(entries, limit))


def _show_table(entries: list[TimelineEntry], limit: int) -> None:
    write_table(
        ("when", "kind", "number", "name", "outcome", "detail"),
        [
            (
                entry.at,
                entry.kind,
                entry.reference,
                entry.name,
                entry.outcome or ("in_flight" if entry.kind == "command" else None),
                entry.detail if entry.kind != "checkpoint" else _percent(entry.context_window_percent),
            )
            for entry in entries
        ],
        nothing="nothing recorded",
    )
    if len(entries) == limit:
        write_note(f"more: --after {entries[-1].cursor}")


def _percent(percent: int | None) -> str | None:
    return None if percent is None else f"context {percent} %"
