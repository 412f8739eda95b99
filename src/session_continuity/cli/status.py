"""continuity status: whether the fleet and its database are well."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from session_continuity.cli.arguments import DURATION, Call, Command, pass_call, project_option
from session_continuity.cli.output import write_fields, write_note

if TYPE_CHECKING:
    from session_continuity.domain.health import SystemHealth

_UNITS = (("GB", 2**30), ("MB", 2**20), ("KB", 2**10))


@click.command(cls=Command, examples=("continuity status", "continuity status --project consilio-s --json"))
@project_option
@click.option(
    "--silent-for",
    type=DURATION,
    default="30m",
    show_default=True,
    help="An active session is silent after this long without a heartbeat.",
)
@pass_call
def status(call: Call, project: str | None, silent_for: timedelta) -> None:
    """Show how many sessions live and are silent, commands in flight and failed, and the tables' sizes."""
    health = call.client.get_system_health(project=project, silent_for=silent_for)
    call.answer(health, lambda: _show(health))


def _show(health: SystemHealth) -> None:
    shown: dict[str, Any] = {
        "project": health.project,
        "sessions active": health.active,
        "sessions stale": health.stale,
        "sessions silent": health.silent,
        "commands in flight": health.in_flight,
        "commands failed in the last hour": health.failed_last_hour,
        "server": f"PostgreSQL {health.server_version}",
    }
    sizes = {name: _size(size) for name, size in health.table_bytes.items()}
    write_fields({name: str(value) for name, value in shown.items() if value is not None} | sizes)
    if health.silent:
        write_note(
            "the silent ones: continuity sessions list --status active"
            f" --silent-for {health.silent_for_seconds:g}s"
        )


def _size(size: int) -> str:
    for unit, least in _UNITS:
        if size >= least:
            return f"{size / least:.1f} {unit}"
    return f"{size} bytes"
