"""Tools of the threads: resume, rewind and fork."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from pydantic import Field

from session_continuity.briefing import Briefing, brief_continuation
from session_continuity.domain.brief import write_brief
from session_continuity.domain.identity import type_of
from session_continuity.domain.threads import Continuation, Continued
from session_continuity.mcp_server.answers import Answer, document_answer
from session_continuity.mcp_server.arguments import (
    Budget,
    InstanceId,
    LongText,
    OperationId,
    SequenceNum,
)
from session_continuity.mcp_server.context import App
from session_continuity.mcp_server.lifeline import marked
from session_continuity.mcp_server.schemas import BOOLEAN, NUMBER, OBJECT, TEXT, list_of, object_schema
from session_continuity.mcp_server.session_tools import origin_of
from session_continuity.mcp_server.tool import APPENDS, FENCES, tool

CONTINUED = object_schema(
    instance_id=TEXT, continuation=TEXT, dry_run=BOOLEAN, predecessor=TEXT, successor=TEXT, thread_id=TEXT,
    owner_epoch=NUMBER, sequence_num=NUMBER, checkpoint_id=TEXT, events_folded=NUMBER, lineage=list_of(TEXT),
    brief=TEXT, tokens=NUMBER, left_out=OBJECT, drift=list_of(OBJECT), unknown_outcomes=list_of(OBJECT),
)  # fmt: skip

DryRun = Annotated[bool, Field(description="Answer the brief and change nothing.")]

_SAID = {
    "resume": "{new} goes on, write as {new}; {old} may write no more.",
    "rewind": "{new} goes on from event {number}, write as {new}; {old} may write no more.",
    "fork": "{new} goes on from event {number} in a thread of its own, write as {new}; {old} is left as it is.",
}


@tool("Resume a session", FENCES, CONTINUED)
async def resume_session(
    app: App,
    instance_id: InstanceId,
    dry_run: DryRun = False,
    sequence_num: Annotated[SequenceNum, Field(description="Rewind: go on from this earlier event.")]
    | None = None,
    cwd: Annotated[LongText, Field(description="Folder to go on in.")] | None = None,
    budget: Budget | None = None,
    operation_id: OperationId | None = None,
) -> Answer:
    """Take a thread over in a new instance and get its brief; the old instance can write no more."""
    continuation: Continuation = "resume" if sequence_num is None else "rewind"
    if dry_run:
        continued = await app.client.preview_continuation(
            instance_id, continuation=continuation, until=sequence_num
        )
    elif sequence_num is None:
        successor = await _successor(app, instance_id, cwd)
        continued = await app.client.resume_session(instance_id, **successor, operation=operation_id)
    else:
        successor = await _successor(app, instance_id, cwd)
        continued = await app.client.rewind_session(instance_id, sequence_num, **successor, operation=operation_id)
    return await _briefed(app, continued, budget, cwd)


@tool("Fork a session", APPENDS, CONTINUED)
async def fork_session(
    app: App,
    instance_id: InstanceId,
    dry_run: DryRun = False,
    sequence_num: Annotated[SequenceNum, Field(description="Branch off after this event.")] | None = None,
    cwd: LongText | None = None,
    budget: Budget | None = None,
    operation_id: OperationId | None = None,
) -> Answer:
    """Start a new thread from a session's state and get its brief; the old instance goes on."""
    if dry_run:
        continued = await app.client.preview_continuation(instance_id, continuation="fork", until=sequence_num)
    else:
        continued = await app.client.fork_session(
            instance_id,
            sequence_num=sequence_num,
            **await _successor(app, instance_id, cwd),
            operation=operation_id,
        )
    return await _briefed(app, continued, budget, cwd)


async def _successor(app: App, instance_id: str, cwd: str | None) -> dict[str, Any]:
    """Where the new instance runs, and the mark of the process that runs it."""
    process = app.life_line and await app.life_line.process_of_new(type_of(instance_id))
    return {"origin": await origin_of(app, cwd, process), "metadata": marked(process)}


async def brief(app: App, continued: Continued, budget: int | None = None, cwd: str | None = None) -> Briefing:
    """The continuation with its brief, compared with the working tree where it lies on this machine."""
    tokens = app.client.settings.brief_tokens if budget is None else budget
    if app.is_local:
        return await asyncio.to_thread(brief_continuation, continued, budget=tokens, cwd=cwd)
    return Briefing(continued=continued, workspace=None, drift=[], brief=write_brief(continued, [], budget=tokens))


async def _briefed(app: App, continued: Continued, budget: int | None, cwd: str | None) -> Answer:
    briefing = await brief(app, continued, budget, cwd)
    document = briefing.as_json()
    del document["work_state"]  # twenty kilobytes that get_work_state answers when they are wanted
    if continued.successor is None:
        said = f"dry run of {continued.continuation}: nothing was changed"
    else:
        said = _SAID[continued.continuation].format(
            new=continued.successor.instance_id,
            old=continued.predecessor.instance_id,
            number=continued.recovery.sequence_num,
        )
    return document_answer(document, f"{said}\n\n{briefing.brief.text}")


TOOLS = (resume_session, fork_session)
