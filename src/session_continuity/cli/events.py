"""continuity events: the event store."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from session_continuity.cli.arguments import (
    JSON_OBJECT,
    NUMBER,
    TIME,
    Call,
    Group,
    before_option,
    complete_event_types,
    instance_argument,
    limit_option,
    operation_option,
    pass_call,
    project_option,
    read_stdin,
    since_option,
)
from session_continuity.cli.output import json_text, write_note, write_table, write_text

if TYPE_CHECKING:
    from session_continuity.domain.checkpoints import Recovery
    from session_continuity.domain.event_store import Appended, Event
    from session_continuity.domain.notes import NoteKind

NOTE_KIND = click.Choice(["decision", "constraint", "rejected", "note"])

until_option = click.option("--until", type=NUMBER, help="Up to and with this sequence number.")
as_of_option = click.option("--as-of", type=TIME, help="Up to this time.")


@click.group(cls=Group)
def events() -> None:
    """Append events, read them, and replay them into a work state."""


@events.command(
    "append",
    examples=(
        """continuity events append consilio-PS-abc123 epic_started '{"epic_id": "001"}'""",
        "continuity events append consilio-PS-abc123 note_recorded - < note.json",
    ),
)
@instance_argument
@click.argument("event_type", metavar="TYPE", shell_complete=complete_event_types)
@click.argument("event_data", metavar="DATA", type=JSON_OBJECT)
@click.option("--metadata", type=JSON_OBJECT, help="A JSON object.")
@click.option("--timestamp", type=TIME, help="When it happened (default: now).")
@click.option("--expected-sequence", type=NUMBER, help="Fail unless this is the number of the last event.")
@operation_option
@pass_call
def append_event(
    call: Call,
    *,
    instance_id: str,
    event_type: str,
    event_data: Any,
    metadata: Any,
    timestamp: datetime | None,
    expected_sequence: int | None,
    operation: str | None,
) -> None:
    """Append one event as the instance; DATA is a JSON object, or - for standard input."""
    appended = call.client.append_event(
        instance_id,
        event_type,
        event_data,
        metadata=metadata,
        timestamp=timestamp,
        operation=operation,
        expected_sequence=expected_sequence,
    )
    _answer_appended(call, appended)


@events.command(
    "note",
    examples=(
        "continuity events note consilio-PS-abc123 'Sessions in cookies: too large' --kind rejected",
        "continuity events note consilio-PS-abc123 - < decision.txt",
    ),
)
@instance_argument
@click.argument("text", metavar="TEXT")
@click.option("--kind", type=NOTE_KIND, default="note", show_default=True, help="What it is.")
@operation_option
@pass_call
def record_note(call: Call, instance_id: str, text: str, kind: NoteKind, operation: str | None) -> None:
    """Keep what the next agent must know: TEXT, or - for standard input, stands in every later brief."""
    noted = read_stdin("text").strip() if text == "-" else text
    appended = call.client.record_note(instance_id, noted, kind=kind, operation=operation)
    _answer_appended(call, appended)


@events.command("list", examples=("continuity events list consilio-PS-abc123 --after 120 --json",))
@instance_argument
@click.option("--after", type=NUMBER, default=0, help="From after this sequence number on.")
@until_option
@as_of_option
@click.option("--type", "event_type", shell_complete=complete_event_types, help="Only of this type.")
@limit_option(1_000)
@pass_call
def list_events(
    call: Call,
    *,
    instance_id: str,
    after: int,
    until: int | None,
    as_of: datetime | None,
    event_type: str | None,
    limit: int,
) -> None:
    """List an instance's events in order."""
    found = call.client.read_events(
        instance_id, after=after, until=until, as_of=as_of, event_type=event_type, limit=limit
    )
    call.answer(found, lambda: _show_table(found))


@events.command("find", examples=("continuity events find epic_completed --project consilio-s --since 7d",))
@click.argument("event_type", metavar="TYPE", shell_complete=complete_event_types)
@project_option
@since_option
@before_option
@limit_option(100)
@pass_call
def find_events(
    call: Call,
    *,
    event_type: str,
    project: str | None,
    since: datetime | None,
    before: datetime | None,
    limit: int,
) -> None:
    """Find events of one type over all sessions, the latest first."""
    found = call.client.find_events(event_type, project=project, since=since, before=before, limit=limit)
    call.answer(found, lambda: _show_table(found))


@events.command("types")
@pass_call
def list_types(call: Call) -> None:
    """List the event types and who defined them."""
    from session_continuity.domain.event_store import EVENT_TYPES, REPORT_EVENT_TYPES

    types = [
        {"event_type": name, "defined_by": "report" if name in REPORT_EVENT_TYPES else "session-continuity"}
        for name in EVENT_TYPES
    ]
    rows = [tuple(row.values()) for row in types]
    call.answer(types, lambda: write_table(("event type", "defined by"), rows, nothing="no event types"))


@events.command("replay", examples=("continuity events replay consilio-PS-abc123 --until 40 --json",))
@instance_argument
@until_option
@as_of_option
@pass_call
def replay_events(call: Call, instance_id: str, until: int | None, as_of: datetime | None) -> None:
    """Fold every event into the work state, using no checkpoint."""
    recovery = call.client.replay_events(instance_id, until=until, as_of=as_of)
    call.answer(recovery, lambda: _show_state(recovery))


def _answer_appended(call: Call, appended: Appended) -> None:
    answer = {
        "instance_id": appended.instance_id,
        "sequence_num": appended.last_sequence_num,
        "operation_id": appended.operation_id,
    }
    call.answer(answer, lambda: write_text(str(appended.last_sequence_num)))


def _show_state(recovery: Recovery) -> None:
    write_note(f"{recovery.instance_id} at event {recovery.sequence_num}, {recovery.events_folded} events folded")
    write_text(json_text(recovery.work_state, indented=True))


def _show_table(found: list[Event]) -> None:
    write_table(
        ("instance_id", "number", "when", "type", "data"),
        [
            (event.instance_id, event.sequence_num, event.timestamp, event.event_type, event.event_data)
            for event in found
        ],
        nothing="no events",
    )
