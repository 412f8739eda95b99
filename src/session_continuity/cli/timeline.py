"""continuity timeline: one session's records merged by time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from session_continuity.cli.arguments import (
    SEARCHED_OUTCOME,
    Call,
    Command,
    instance_argument,
    limit_option,
    pass_call,
)
from session_continuity.cli.output import write_note, write_table

if TYPE_CHECKING:
    from session_continuity.domain.timeline import Kind, TimelineEntry

KINDS = ["event", "command", "checkpoint"]


@click.command(
    cls=Command,
    examples=(
        "continuity timeline consilio-PS-abc123 --limit 50 --json",
        "continuity timeline consilio-PS-abc123 --newest-first --outcome failure",
    ),
)
@instance_argument
@click.option("--after", metavar="CURSOR", help="From after this entry on: the cursor of the last one seen.")
@click.option("--before", metavar="CURSOR", help="Back from before this entry, the latest first.")
@click.option("--newest-first", is_flag=True, help="The latest first.")
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="Only these; may be repeated.")
@click.option("--type", help="Only this event type, tool or checkpoint type.")
@click.option("--outcome", type=SEARCHED_OUTCOME, help="Only commands with this outcome; in_flight has none yet.")
@click.option("--text", help="Only with this text.")
@limit_option(200)
@pass_call
def timeline(call: Call, instance_id: str, kinds: tuple[Kind, ...], **asked: Any) -> None:
    """Show a session's events, commands and checkpoints in time order."""
    entries = call.client.get_timeline(instance_id, kinds=kinds or None, **asked)
    answer = [{**entry._asdict(), "cursor": entry.cursor} for entry in entries]
    back = "before" if asked["before"] or asked["newest_first"] else "after"
    call.answer(answer, lambda: _show_table(entries, asked["limit"], back))


def _show_table(entries: list[TimelineEntry], limit: int, on: str) -> None:
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
        write_note(f"more: --{on} {entries[-1].cursor}")


def _percent(percent: int | None) -> str | None:
    return None if percent is None else f"context {percent} %"
