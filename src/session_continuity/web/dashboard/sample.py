"""The sample session: something to look at before the first agent is connected, and gone again when it is not
wanted."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from session_continuity.async_client import AsyncSessionContinuity
from session_continuity.domain.command_log import NewCommand
from session_continuity.domain.event_store import NewEvent
from session_continuity.domain.forgetting import forget_session
from session_continuity.domain.session_registry import Origin
from session_continuity.web.dashboard.visit import Visit

PROJECT = "sample"

_EVENTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("epic_started", {"epic_id": "cart-totals", "name": "Cart totals"}),
    ("prompt_submitted", {"text": "Totals of carts with several currencies are wrong: find out why, mend it."}),
    ("plan_updated", {"items": [
        {"text": "write a test that shows it", "status": "completed"},
        {"text": "round once, at the end", "status": "in_progress"},
        {"text": "look at the invoices, too", "status": "pending"},
    ]}),
    ("context_window_updated", {"percent": 22}),
    ("test_failed", {"command": "pytest tests/test_cart.py", "summary": "1 failed, 44 passed",
                     "failing": ["test_total_of_two_currencies"]}),
    ("note_recorded", {"kind": "decision", "text": "Amounts stay whole cents; rates come before rounding."}),
    ("files_changed", {"files": [{"path": "src/cart.py", "change": "edited"}]}),
    ("context_window_updated", {"percent": 47}),
    ("test_passed", {"command": "pytest tests/test_cart.py", "summary": "45 passed"}),
    ("commit_created", {"sha": "4f1c2a9b7d", "message": "Round once, at the end", "branch": "cart-totals"}),
    ("context_window_updated", {"percent": 63}),
)  # fmt: skip
_COMMANDS = (
    NewCommand(command_type="tool", tool_name="Bash", action="pytest tests/test_cart.py", outcome="failure",
               parameters={"command": "pytest tests/test_cart.py"}, execution_time_ms=2_140,
               error_message="1 failed, 44 passed"),
    NewCommand(command_type="tool", tool_name="Edit", action="edit src/cart.py", outcome="success",
               parameters={"file_path": "src/cart.py",
                           "old_string": "total = sum(round(price * rate) for price, rate in lines)\n",
                           "new_string": "total = round(sum(price * rate for price, rate in lines))\n"},
               execution_time_ms=35),
    NewCommand(command_type="tool", tool_name="Bash", action="pytest tests/test_cart.py", outcome="success",
               parameters={"command": "pytest tests/test_cart.py"}, result={"stdout": "45 passed in 1.9 s"},
               execution_time_ms=6_020),
    NewCommand(command_type="tool", tool_name="Bash", action="git push", tool_call_id="sample-push"),
)  # fmt: skip


async def make(visit: Visit) -> Response:
    """Make the sample session."""
    session = await visit.client.register_session(
        PROJECT, current_epic="Cart totals", context_percent=63,
        origin=Origin(harness="claude-code", host="sample", cwd="/home/ada/shop", git_branch="cart-totals"),
    )  # fmt: skip
    events = [NewEvent(event_type=kind, event_data=data) for kind, data in _EVENTS]
    await visit.client.append_events(session.instance_id, events[:8])
    await visit.client.record_commands(session.instance_id, list(_COMMANDS))
    await visit.client.take_checkpoint(session.instance_id, reason="sample")
    await visit.client.append_events(session.instance_id, events[8:])
    await visit.client.record_action("make_sample", session.instance_id, person=visit.person, via="dashboard")
    return visit.redirect(f"/sessions/{session.instance_id}", done="sample")


async def remove(visit: Visit) -> Response:
    """Forget every sample session."""
    for session in await visit.client.find_sessions(project=PROJECT, limit=100):
        if session.superseded_by != session.instance_id:
            await visit.client.close_session(session.instance_id, reason="the sample is removed")
            await visit.client.run(forget_session(session.instance_id))
            await visit.client.record_action(
                "remove_sample", session.instance_id, person=visit.person, via="dashboard"
            )
    return visit.redirect("/", done="removed")


async def connect(visit: Visit) -> Response:
    """How to connect an agent."""
    return visit.page("connect.html", sample=await find_sample(visit.client))


async def find_sample(client: AsyncSessionContinuity) -> str | None:
    """The latest sample session that is there."""
    found = await client.find_sessions(project=PROJECT, limit=10)
    return next((one.instance_id for one in found if one.superseded_by is None), None)
