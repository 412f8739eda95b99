"""continuity audit: what people did, by name."""

from __future__ import annotations

from typing import Any

import click

from session_continuity.cli.arguments import Call, Group, before_option, limit_option, pass_call
from session_continuity.cli.output import write_table


@click.group(cls=Group)
def audit() -> None:
    """Show what people did to the records, by name."""


@audit.command("list", examples=("continuity audit list", "continuity audit list --subject consilio-PS-abc123"))
@click.option("--subject", help="Only what was done to this: an instance id, an alert, a token.")
@before_option
@limit_option(100)
@pass_call
def list_actions(call: Call, **asked: Any) -> None:
    """List who did what to what, the latest first."""
    found = call.client.list_actions(**asked)
    rows = [(each.at, each.person, each.via, each.action, each.subject, each.details or None) for each in found]
    call.answer(
        found,
        lambda: write_table(("when", "person", "via", "action", "subject", "details"), rows, nothing="no action"),
    )
