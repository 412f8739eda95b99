"""Tools of the checkpoints."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from session_continuity.domain.checkpoints import Checkpoint
from session_continuity.domain.errors import InvalidInput
from session_continuity.domain.paging import read_place, write_place
from session_continuity.mcp_server.answers import (
    Answer,
    document_answer,
    line,
    page_answer,
    plain,
    quote,
    record_answer,
)
from session_continuity.mcp_server.arguments import (
    Cursor,
    FieldNames,
    InstanceId,
    Limit,
    OperationId,
    Percent,
    Uuid,
)
from session_continuity.mcp_server.context import App
from session_continuity.mcp_server.schemas import (
    NUMBER,
    OBJECT,
    list_of,
    object_schema,
    page_schema,
    record_schema,
)
from session_continuity.mcp_server.tool import APPENDS, READS, tool

SHOWN = (
    "checkpoint_id", "instance_id", "sequence_num", "checkpoint_type", "created_at", "context_window_percent",
    "metadata",
)  # fmt: skip
_LISTED = [name for name in Checkpoint.__dataclass_fields__ if name != "work_state"]

DIFFERENCES = 100
"""Most differences that a comparison answers with."""


@tool("Take a checkpoint", APPENDS, record_schema(Checkpoint, SHOWN))
async def take_checkpoint(
    app: App,
    instance_id: InstanceId,
    reason: Annotated[str, Field(max_length=500)] | None = None,
    context_window_percent: Percent | None = None,
    operation_id: OperationId | None = None,
) -> Answer:
    """Save a session's work state as it is now, so that it can be compared and gone back to."""
    taken = await app.client.take_checkpoint(
        instance_id,
        context_window_percent=context_window_percent,
        reason=reason,
        operation=operation_id,
    )
    return record_answer(taken, SHOWN, SHOWN)


@tool("Get a checkpoint", READS, record_schema(Checkpoint))
async def get_checkpoint(
    app: App,
    checkpoint_id: Uuid | None = None,
    instance_id: Annotated[str, Field(max_length=80, description="Its latest checkpoint.")] | None = None,
    fields: FieldNames | None = None,
) -> Answer:
    """Get a checkpoint with its work state, by its id, or the latest one of a session."""
    if checkpoint_id is not None and instance_id is None:
        found = await app.client.get_checkpoint(checkpoint_id)
    elif instance_id is not None and checkpoint_id is None:
        found = await app.client.latest_checkpoint(instance_id)
    else:
        raise InvalidInput("give either checkpoint_id or instance_id", code="checkpoint_unnamed")
    document = plain(found)
    return document_answer(document, line(document, SHOWN), fields, names=Checkpoint.__dataclass_fields__)


@tool("List checkpoints", READS, page_schema("checkpoints", Checkpoint, _LISTED))
async def list_checkpoints(
    app: App,
    instance_id: InstanceId | None = None,
    checkpoint_type: Literal["manual", "automatic"] | None = None,
    limit: Limit = 20,
    cursor: Cursor | None = None,
    fields: FieldNames | None = None,
) -> Answer:
    """List checkpoints without their work states, the latest first."""
    found = await app.client.list_checkpoints(
        instance_id, checkpoint_type=checkpoint_type, before=read_place(cursor), limit=limit + 1
    )
    return page_answer(
        "checkpoints",
        found,
        limit,
        lambda checkpoint: write_place(checkpoint.created_at, checkpoint.checkpoint_id),
        SHOWN,
        fields,
        known=_LISTED,
    )


@tool(
    "Compare checkpoints",
    READS,
    object_schema(before=OBJECT, after=OBJECT, differences=list_of(OBJECT), left_out=NUMBER),
)
async def compare_checkpoints(app: App, before_id: Uuid, after_id: Uuid) -> Answer:
    """Show what changed in the work state from one checkpoint to another."""
    comparison = await app.client.compare_checkpoints(before_id, after_id)
    kept = comparison.differences[:DIFFERENCES]
    heads = [
        {name: value for name, value in plain(each).items() if name in SHOWN}
        for each in (comparison.before, comparison.after)
    ]
    document = {
        "before": heads[0],
        "after": heads[1],
        "differences": [plain(difference) for difference in kept],
        "left_out": len(comparison.differences) - len(kept),
    }
    lines = [
        f"{difference.change} {quote(' / '.join(map(str, difference.path)), 120)}: "
        + line(plain(difference), ("before", "after"))
        for difference in kept
    ]
    if document["left_out"]:
        lines.append(f"{document['left_out']} more differences are left out")
    return document_answer(document, "\n".join(lines) or "no difference")


TOOLS = (take_checkpoint, get_checkpoint, list_checkpoints, compare_checkpoints)
