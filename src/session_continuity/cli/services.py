"""continuity services: work that repeats, and what it did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from session_continuity.cli.arguments import Call, Group, pass_call
from session_continuity.cli.output import log_to_stderr, write_fields, write_table
from session_continuity.domain.measures import ago

if TYPE_CHECKING:
    from session_continuity.domain.service_passes import ServicePass, ServiceState
    from session_continuity.services.service import Service


@click.group(cls=Group)
def services() -> None:
    """Show what the services did, and run one of them now."""


@services.command("list", examples=("continuity services list", "continuity services list --json"))
@pass_call
def list_services(call: Call) -> None:
    """List the services: who does each one's work, and what its last pass did."""
    from session_continuity.domain.service_passes import ServiceState

    found = {state.name: state for state in call.client.list_services()}
    for service in _services(call):
        unknown = ServiceState(name=service.name, holder=None, epoch=None, expires_at=None, last_pass=None)
        found.setdefault(service.name, unknown)
    states = [found[name] for name in sorted(found)]
    call.answer(states, lambda: show_services(states))


@services.command(
    "run",
    examples=("continuity services run stale_sweep", "continuity services run search --json"),
)
@click.argument("name")
@pass_call
def run_service(call: Call, name: str) -> None:
    """Run one pass of the service NAME now, beside the one that serves, and tell what it did."""
    from session_continuity.services.runner import new_holder, run_pass

    known = {service.name: service for service in _services(call)}
    if name not in known:
        raise click.UsageError(f"there is no service {name!r}; known are {', '.join(sorted(known))}.")
    log_to_stderr()
    done, kept = run_pass(call.client, known[name], holder=new_holder())
    call.answer(
        {"pass": kept, "more": done.more},
        lambda: write_fields({"service": name, "done": done.done, **done.report, "more": done.more}),
    )


def _services(call: Call) -> list[Service]:
    from session_continuity.resident_services import services_of

    return services_of(call.settings)


def show_services(states: list[ServiceState]) -> None:
    """Print who does each service's work, and what its last pass did."""
    write_table(
        ("service", "holder", "last pass", "done", "report", "error"),
        [(state.name, state.holder, *_cells(state.last_pass)) for state in states],
        nothing="no service has run",
    )


def _cells(last: ServicePass | None) -> tuple[object, ...]:
    if last is None:
        return ("never", None, None, None)
    report = ", ".join(f"{name} {figure}" for name, figure in last.report.items())
    return (ago(last.finished_at), last.done, report, last.error)
