"""continuity status: whether the fleet, its services and its database are well."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from session_continuity.cli.arguments import DURATION, Call, Command, pass_call, project_option
from session_continuity.cli.output import write_fields, write_note, write_table
from session_continuity.cli.services import show_services
from session_continuity.domain.measures import size

if TYPE_CHECKING:
    from session_continuity.domain.health import SystemHealth
    from session_continuity.domain.storage import Storage, TableFigures

_SHOWN = 8


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
    """Show fleet, services and their last pass, tables and growth, indexes, slow commands and queries, server."""
    client = call.client
    health = client.get_system_health(project=project, silent_for=silent_for)
    services, storage = client.list_services(), client.get_storage()
    server, resident = _server(call), _resident(call)
    answer = {
        "fleet": health,
        "services": services,
        "storage": storage,
        "server": server,
        "resident": resident,
    }

    def show() -> None:
        _show_fleet(health)
        show_services(services)
        _show_storage(storage)
        write_fields({"resident server": resident["url"] if resident else "does not run", **server})
        if health.silent:
            write_note(
                "the silent ones: continuity sessions list --status active"
                f" --silent-for {health.silent_for_seconds:g}s"
            )

    call.answer(answer, show)


def _server(call: Call) -> dict[str, Any]:
    from session_continuity.deployment import Deployment

    return {
        name: value for name, value in Deployment(call.settings).status().as_json().items() if name != "migrations"
    }


def _resident(call: Call) -> dict[str, Any] | None:
    from session_continuity.capture.serving import find_resident

    found = find_resident(call.settings.home)
    return None if found is None else found.as_json()


def _show_fleet(health: SystemHealth) -> None:
    shown: dict[str, Any] = {
        "project": health.project,
        "sessions active": health.active,
        "sessions stale": health.stale,
        "sessions closed": health.closed,
        "sessions silent": health.silent,
        "commands in flight": health.in_flight,
        "commands failed in the last hour": health.failed_last_hour,
        "commands over 5 s in the last hour": health.slow_last_hour,
        "alerts": health.alerts,
    }
    write_fields({name: str(value) for name, value in shown.items() if value is not None})


def _show_storage(storage: Storage) -> None:
    write_table(
        ("table", "rows", "data", "indexes", "growth a day"),
        [_table_row(one) for one in storage.tables[:_SHOWN]],
        nothing="no table",
    )
    write_table(
        ("largest index", "size", "scans"),
        [(one.index, size(one.bytes), f"{one.scans:,}") for one in storage.indexes[:_SHOWN]],
        nothing="no index",
    )
    write_table(
        ("slowest command of a day", "ms", "session"),
        [(one.action, f"{one.execution_time_ms:,}", one.instance_id) for one in storage.slowest_commands[:_SHOWN]],
        nothing="no command took over 5 seconds",
    )
    if storage.slowest_queries is None:
        write_note("slowest queries: the server keeps none; its extension pg_stat_statements does")
    else:
        write_table(
            ("slowest query, by mean", "ms", "longest", "calls"),
            [
                (
                    " ".join(one.query.split())[:60],
                    f"{one.mean_ms:,.1f}",
                    f"{one.longest_ms:,.1f}",
                    f"{one.calls:,}",
                )
                for one in storage.slowest_queries[:_SHOWN]
            ],
            nothing="no query yet",
        )
    by_state = ", ".join(f"{count} {state}" for state, count in storage.connections.items())
    write_fields(
        {
            "PostgreSQL": storage.server_version,
            "database": size(storage.database_bytes),
            "connections": f"{sum(storage.connections.values())} of {storage.max_connections}: {by_state}",
        }
    )


def _table_row(one: TableFigures) -> tuple[object, ...]:
    sizes = size(one.table_bytes), size(one.index_bytes)
    return (one.table, f"{one.rows:,}", *sizes, _growth(one.bytes_per_day))


def _growth(bytes_per_day: float | None) -> str:
    return "known in six hours" if bytes_per_day is None else size(bytes_per_day)
