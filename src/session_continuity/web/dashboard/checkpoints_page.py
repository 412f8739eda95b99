"""The checkpoints of a session, and the comparison of any two."""

from __future__ import annotations

from uuid import UUID

from starlette.responses import Response

from session_continuity.domain.errors import InvalidInput
from session_continuity.web.dashboard.session_page import head_of
from session_continuity.web.dashboard.visit import Visit

SHOWN = 100


async def show(visit: Visit) -> Response:
    """The latest checkpoints, with `before` and `after` what differs between those two."""
    instance_id = visit.request.path_params["instance_id"]
    checkpoints = await visit.client.list_checkpoints(instance_id, limit=SHOWN)
    first, second = _id(visit, "before"), _id(visit, "after")
    comparison = None
    if first is not None and second is not None:
        comparison = await visit.client.compare_checkpoints(first, second)
    return visit.page(
        "checkpoints.html",
        head=await head_of(visit),
        tab="checkpoints",
        checkpoints=checkpoints,
        comparison=comparison,
        first=first,
        second=second,
        most=SHOWN,
        instance_id=instance_id,
    )


async def show_one(visit: Visit) -> Response:
    """One checkpoint with its work state."""
    try:
        checkpoint_id = UUID(visit.request.path_params["checkpoint_id"])
    except ValueError:
        raise InvalidInput("that address names no checkpoint", code="checkpoint_id") from None
    checkpoint = await visit.client.get_checkpoint(checkpoint_id)
    if checkpoint.instance_id != visit.request.path_params["instance_id"]:
        return visit.redirect(f"/sessions/{checkpoint.instance_id}/checkpoints/{checkpoint_id}")
    return visit.page(
        "checkpoint.html",
        head=await head_of(visit),
        tab="checkpoints",
        checkpoint=checkpoint,
        state=checkpoint.work_state,
        instance_id=checkpoint.instance_id,
    )


def _id(visit: Visit, name: str) -> UUID | None:
    text = visit.asked(name)
    try:
        return None if text is None else UUID(text)
    except ValueError:
        raise InvalidInput(f"{name} must be the id of a checkpoint", code="checkpoint_id") from None
