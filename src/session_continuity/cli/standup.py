"""continuity standup: what all sessions of a project did since a time."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from session_continuity.cli.arguments import TIME, Call, Command, limit_option, pass_call
from session_continuity.cli.output import write_note, write_table
from session_continuity.domain.measures import ago

if TYPE_CHECKING:
    from session_continuity.domain.standup import Standup


@click.command(
    cls=Command, examples=("continuity standup consilio-s", "continuity standup consilio-s --since 7d --json")
)
@click.argument("project")
@click.option(
    "--since", type=TIME, default="24h", show_default=True, help="From this time on (ISO 8601, or how long ago)."
)
@limit_option(200)
@pass_call
def standup(call: Call, project: str, since: datetime, limit: int) -> None:
    """Show what all sessions of PROJECT did since a time: results, notes and who lives."""
    told = call.client.gather_standup(project, since, limit=limit)
    call.answer(told, lambda: _show(told))


def _show(told: Standup) -> None:
    write_table(
        ("instance_id", "status", "epic", "last heartbeat"),
        [(each.instance_id, each.status, each.current_epic, ago(each.last_heartbeat)) for each in told.sessions],
        nothing="no session lived since then",
    )
    if told.sessions:
        write_table(
            ("when", "instance_id", "number", "type", "data"),
            [
                (event.timestamp, event.instance_id, event.sequence_num, event.event_type, event.event_data)
                for event in told.events
            ],
            nothing="no results since then",
        )
    if not told.is_whole:
        write_note("the earliest results are left out; raise --limit or take a later --since")
