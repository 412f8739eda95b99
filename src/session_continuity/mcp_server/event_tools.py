"""Tools of the event store: append, query, the state that the events fold into, the timeline, notes."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypeAlias, cast

from pydantic import Field
from typing_extensions import TypedDict

from session_continuity.domain.checkpoints import Recovery
from session_continuity.domain.errors import InvalidInput
from session_continuity.domain.event_store import EVENT_TYPES, Event, NewEvent
from session_continuity.domain.paging import read_number, read_place, write_place
from session_continuity.domain.timeline import TimelineEntry
from session_continuity.domain.work_state import WorkState, empty_state
from session_continuity.mcp_server.answers import Answer, document_answer, line, page_answer, plain, quote
from session_continuity.mcp_server.arguments import (
    Cursor,
    FieldNames,
    InstanceId,
    JsonObject,
    Limit,
    Moment,
    Name,
    OperationId,
    SequenceNum,
)
from session_continuity.mcp_server.context import App
from session_continuity.mcp_server.schemas import NUMBER, OBJECT, TEXT, list_of, object_schema, page_schema
from session_continuity.mcp_server.tool import APPENDS, READS, tool

EventType: TypeAlias = Annotated[str, Field(json_schema_extra={"enum": list(EVENT_TYPES)})]
SHOWN = ("sequence_num", "event_type", "timestamp", "instance_id", "event_data")
TIMELINE_SHOWN = ("at", "kind", "reference", "name", "outcome", "detail", "context_window_percent")

APPENDED = object_schema(instance_id=TEXT, sequence_nums=list_of(NUMBER), operation_id=TEXT)


class EventArgument(TypedDict):
    """An event to append."""

    __pydantic_config__ = {"extra": "forbid"}  # type: ignore[misc]  # noqa: RUF012

    event_type: EventType
    event_data: NotRequired[JsonObject]
    timestamp: NotRequired[Moment | None]


@tool("Append events", APPENDS, APPENDED)
async def append_events(
    app: App,
    instance_id: InstanceId,
    events: Annotated[list[EventArgument], Field(min_length=1, max_length=100)],
    expected_sequence: Annotated[SequenceNum, Field(description="Last number you know; refused if it moved on.")]
    | None = None,
    operation_id: OperationId | None = None,
) -> Answer:
    """Append events to a session, all or none; the store numbers them."""
    appended = await app.client.append_events(
        instance_id,
        [
            NewEvent(
                event_type=event["event_type"],
                event_data=event.get("event_data", {}),
                timestamp=event.get("timestamp"),
            )
            for event in events
        ],
        operation=operation_id,
        expected_sequence=expected_sequence,
    )
    document = plain(appended)
    return document_answer(document, line(document, ("instance_id", "sequence_nums")))


@tool("Record a note", APPENDS, APPENDED)
async def record_note(
    app: App,
    instance_id: InstanceId,
    text: Annotated[str, Field(max_length=2_000)],
    kind: Annotated[
        Literal["decision", "constraint", "rejected", "note"],
        Field(description="rejected: a way not to take again."),
    ] = "note",
    operation_id: OperationId | None = None,
) -> Answer:
    """Keep what the next agent must know: it stands in every later brief."""
    appended = await app.client.record_note(instance_id, text, kind=kind, operation=operation_id)
    document = plain(appended)
    return document_answer(document, line(document, ("instance_id", "sequence_nums")))


@tool("Query events", READS, page_schema("events", Event))
async def query_events(
    app: App,
    instance_id: InstanceId | None = None,
    event_type: Annotated[Name, Field(description="Needed without instance_id.")] | None = None,
    after: Annotated[SequenceNum, Field(description="Only with instance_id.")] | None = None,
    until: SequenceNum | None = None,
    as_of: Moment | None = None,
    project: Name | None = None,
    since: Moment | None = None,
    limit: Limit = 20,
    cursor: Cursor | None = None,
    fields: FieldNames | None = None,
) -> Answer:
    """Read a session's events in order, or find events of one type over all sessions, the latest first."""
    if instance_id is not None:
        if project is not None or since is not None:
            raise InvalidInput(
                "project and since go with event_type alone; with instance_id use after, until and as_of",
                code="query_mixed",
            )
        place = read_number(cursor)
        found = await app.client.read_events(
            instance_id,
            after=max(place or 0, after or 0),
            until=until,
            as_of=as_of,
            event_type=event_type,
            limit=limit + 1,
        )
        shown = [name for name in SHOWN if name != "instance_id"]
        return page_answer(
            "events",
            found,
            limit,
            lambda event: str(event.sequence_num),
            shown,
            fields,
            known=Event._fields,
        )
    if event_type is None or after is not None or until is not None or as_of is not None:
        raise InvalidInput(
            "give instance_id to read a session (with after, until, as_of), or event_type alone to find events"
            " over all sessions (with project, since)",
            code="query_mixed",
        )
    found = await app.client.find_events(
        event_type, project=project, since=since, before=read_place(cursor), limit=limit + 1
    )
    return page_answer(
        "events",
        found,
        limit,
        lambda event: write_place(event.timestamp, event.event_id),
        SHOWN,
        fields,
        known=Event._fields,
    )


@tool(
    "Get the work state",
    READS,
    object_schema(
        instance_id=TEXT, sequence_num=NUMBER, checkpoint_id=TEXT, events_folded=NUMBER, work_state=OBJECT
    ),
)
async def get_work_state(
    app: App,
    instance_id: InstanceId,
    until: Annotated[SequenceNum, Field(description="As it was after this event.")] | None = None,
    as_of: Moment | None = None,
    fields: Annotated[FieldNames, Field(description="Only these sections, uncut: plan, tests, notes, files ...")]
    | None = None,
) -> Answer:
    """Get what a session's events fold into: prompts, plan, tests, commits, files, notes; now or as it was."""
    recovery = await app.client.recover_state(instance_id, until=until, as_of=as_of)
    return state_answer(recovery, fields)


def state_answer(recovery: Recovery, fields: list[str] | None) -> Answer:
    """A work state, or the sections of it that were asked for."""
    sections = document_answer(
        dict(recovery.work_state), _outline(recovery.work_state), fields, names=empty_state()
    )
    document = {**plain(recovery), "work_state": sections.document}
    head = line(document, ("instance_id", "sequence_num", "events_folded", "distrusted"))
    return Answer(f"{head}\n{sections.text}", document)


def _outline(state: WorkState) -> str:
    """A line for each section that holds something: how many entries, and the latest of them."""
    lines: list[str] = []
    for name, value in state.items():
        entries = cast("dict[str, Any]", value).get("items", value) if isinstance(value, dict) else value
        if isinstance(entries, list) and entries:
            listed = cast("list[dict[str, Any]]", entries)
            lines.append(f"{name} ({len(listed)}): {quote(_entry(listed[-1]))}")
        elif isinstance(entries, dict):
            lines.append(f"{name}: {quote(_entry(cast('dict[str, Any]', entries)))}")
    return "\n".join(lines)


def _entry(entry: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in entry.items() if value)


@tool("Get the timeline", READS, page_schema("entries", TimelineEntry, cursor=TEXT))
async def get_timeline(
    app: App,
    instance_id: InstanceId,
    limit: Limit = 30,
    cursor: Cursor | None = None,
    fields: FieldNames | None = None,
) -> Answer:
    """Show a session's events, commands and checkpoints in time order, oldest first."""
    found = await app.client.get_timeline(instance_id, after=cursor, limit=limit + 1)
    return page_answer(
        "entries",
        found,
        limit,
        lambda entry: entry.cursor,
        TIMELINE_SHOWN,
        fields,
        known=(*TimelineEntry._fields, "cursor"),
    )


TOOLS = (append_events, record_note, query_events, get_work_state, get_timeline)
