"""continuity alerts: what needs a person, and who is told."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import click

from session_continuity.cli.arguments import Call, Group, before_option, limit_option, pass_call
from session_continuity.cli.output import write_note, write_table
from session_continuity.cli.person import person_option
from session_continuity.domain.measures import ago

if TYPE_CHECKING:
    from session_continuity.domain.alerts import Alert


@click.group(cls=Group)
def alerts() -> None:
    """Show what needs a person, say that it was seen, and try who is told."""


@alerts.command("list", examples=("continuity alerts list", "continuity alerts list --all --json"))
@click.option("--all", "all_of_them", is_flag=True, help="Also those that are over.")
@click.option("--rule", help="Only of this rule.")
@before_option
@limit_option(100)
@pass_call
def list_alerts(call: Call, all_of_them: bool, **asked: Any) -> None:
    """List the alerts that last, the latest first."""
    found = call.client.list_alerts(is_open=None if all_of_them else True, **asked)
    call.answer([{**asdict(alert), "summary": alert.summary} for alert in found], lambda: _show(found))


@alerts.command("ack", examples=("continuity alerts ack 0190a000-0000-7000-8000-000000000000",))
@click.argument("alert_id", metavar="ALERT", type=click.UUID)
@person_option
@pass_call
def acknowledge(call: Call, alert_id: UUID, person: str) -> None:
    """Say that somebody has seen the ALERT, which lasts until it is over all the same."""
    from session_continuity.domain.alerts import acknowledge_alert
    from session_continuity.domain.audit import audited

    change = acknowledge_alert(alert_id, person=person)
    done = call.client.run(audited(change, "acknowledge_alert", str(alert_id), person=person, via="cli"))
    call.answer(
        {**asdict(done), "summary": done.summary}, lambda: write_note(f"acknowledged by {done.acknowledged_by}")
    )


@alerts.command("test", examples=("continuity alerts test", "continuity alerts test --json"))
@pass_call
def test(call: Call) -> None:
    """Send a test message through every channel of the settings, and say what came of it."""
    import socket

    from session_continuity.services.channels import Message, channels_of

    message = Message(
        id=str(uuid4()), news="test", rule="test", subject=socket.gethostname(), project=None, severity="warning",
        summary="a test of the alerts; nothing is the matter", details={}, raised_at=datetime.now(UTC),
    )  # fmt: skip
    outcomes = [{"channel": each.name, "error": each.send(message)} for each in channels_of(call.settings.alerts)]

    def show() -> None:
        write_table(
            ("channel", "outcome"),
            [(each["channel"], each["error"] or "arrived") for each in outcomes],
            nothing="no channel is set: alerts stand in the log of `continuity serve` alone",
        )

    call.answer({"channels": outcomes}, show)
    if any(each["error"] for each in outcomes):
        raise click.exceptions.Exit(1)


def _show(found: list[Alert]) -> None:
    write_table(
        ("alert", "raised", "severity", "rule", "what", "seen by", "over"),
        [
            (
                alert.alert_id,
                ago(alert.raised_at),
                alert.severity,
                alert.rule,
                alert.summary,
                alert.acknowledged_by,
                None if alert.resolved_at is None else ago(alert.resolved_at),
            )
            for alert in found
        ],
        nothing="no alert",
    )
