"""What the pages change: each asks in plain words first where it can't be taken back, needs its scope, and is kept
in the audit with the person's name."""

from __future__ import annotations

import socket
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from session_continuity.domain.audit import audited
from session_continuity.domain.checkpoints import take_checkpoint
from session_continuity.domain.errors import Conflict, InvalidInput
from session_continuity.domain.legal_hold import hold_session, release_session
from session_continuity.domain.operation import Operation
from session_continuity.domain.session_registry import Origin, close_session
from session_continuity.domain.stale_sweep import mark_stale
from session_continuity.domain.threads import AWAITS_AGENT, Continued, resume_session
from session_continuity.web.dashboard.session_page import head_of
from session_continuity.web.dashboard.visit import Visit
from session_continuity.workspace import here

CONFIRMED: dict[str, dict[str, Any]] = {
    "close": {
        "question": "Close this session?",
        "consequence": "It counts as ended in good order. Nothing is deleted, and it can be resumed. If its agent"
        " still runs, it is told so when it next writes.",
        "button": "Close it",
        "reason_label": None,
    },
    "stale": {
        "question": "Mark this session stale?",
        "consequence": "It counts as dead until its next heartbeat, which makes it active again by itself. Nothing"
        " is deleted.",
        "button": "Mark it stale",
        "reason_label": None,
    },
    "hold": {
        "question": "Put this session on legal hold?",
        "consequence": "Until the hold is released nobody can forget, delete or archive it.",
        "button": "Put it on hold",
        "reason_label": "Why (kept in the audit)",
    },
    "release": {
        "question": "Release the legal hold?",
        "consequence": "The session is then archived and deleted by the retention policy like any other.",
        "button": "Release it",
        "reason_label": "Why (kept in the audit)",
    },
}
"""What is asked before a change of a session, and what it leads to."""


async def confirm(visit: Visit) -> Response:
    """The question before a change."""
    change = visit.asked("change") or ""
    if change not in CONFIRMED:
        raise InvalidInput("that address asks for no change that there is", code="change")
    return visit.page(
        "confirm.html", head=await head_of(visit), tab="", change_name=change, instance_id=_instance(visit),
        **CONFIRMED[change],
    )  # fmt: skip


async def close(visit: Visit) -> Response:
    """Close the session."""
    change = close_session(_instance(visit), reason=f"closed by {visit.person}")
    return await _changed(visit, change, "close_session", "closed")


async def stale(visit: Visit) -> Response:
    """Mark the session stale."""
    change = mark_stale(_instance(visit), reason=f"marked by {visit.person}")
    return await _changed(visit, change, "mark_stale", "stale")


async def checkpoint(visit: Visit) -> Response:
    """Take a checkpoint now."""
    change = take_checkpoint(
        _instance(visit), checkpoint_type="manual", metadata={"reason": f"taken by {visit.person}"}
    )
    return await _changed(visit, change, "take_checkpoint", "checkpoint")


async def hold(visit: Visit) -> Response:
    """Put the session on legal hold."""
    return await _changed(visit, hold_session(_instance(visit)), "hold_session", "held", reason=_reason(visit))


async def release(visit: Visit) -> Response:
    """Take the session off its legal hold."""
    return await _changed(
        visit, release_session(_instance(visit)), "release_session", "released", reason=_reason(visit)
    )


async def resume(visit: Visit) -> Response:
    """Resume the session as its page showed it: the next agent that starts in its folder goes on with it."""
    instance_id = _instance(visit)
    session = await visit.client.get_session(instance_id)
    if visit.form.get("epoch") != str(session.owner_epoch):
        raise Conflict("the session changed hands since that page was loaded; load it again", code="superseded")
    local = session.cwd if session.host in (None, socket.gethostname()) else None
    origin = (
        await run_in_threadpool(here, local, harness=session.harness) if local else Origin(harness=session.harness)
    )
    change: Operation[Continued] = resume_session(instance_id, origin=origin, metadata={AWAITS_AGENT: True})
    done = await visit.client.run(
        audited(change, "resume_session", instance_id, person=visit.person, via="dashboard")
    )
    assert done.successor is not None  # noqa: S101
    return visit.redirect(f"/sessions/{done.successor.instance_id}", done="resumed")


async def _changed(visit: Visit, change: Operation[Any], action: str, done: str, **details: str) -> Response:
    instance_id = _instance(visit)
    await visit.client.run(
        audited(change, action, instance_id, person=visit.person, via="dashboard", details=details)
    )
    return visit.redirect(f"/sessions/{instance_id}", done=done)


def _instance(visit: Visit) -> str:
    return str(visit.request.path_params["instance_id"])


def _reason(visit: Visit) -> str:
    reason = visit.form.get("reason", "").strip()
    if not reason:
        raise InvalidInput("say why: the reason is kept in the audit", code="reason_missing")
    return reason[:500]
