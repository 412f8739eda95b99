"""The work state of a session as of any event, and what changed between two."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from session_continuity.domain.comparison import compare_states
from session_continuity.domain.errors import InvalidInput
from session_continuity.web.dashboard.session_page import head_of
from session_continuity.web.dashboard.visit import Visit

_MOST_DIGITS = 15


async def show(visit: Visit) -> Response:
    """The state as of the asked event (default: the last one), with `from` what changed since that one."""
    instance_id = visit.request.path_params["instance_id"]
    session = await visit.client.get_session(instance_id)
    last = session.last_sequence_num
    as_of = min(last, _number(visit, "as_of") or last)
    since = _number(visit, "from")
    recovery = await visit.client.recover_state(instance_id, until=as_of or None)
    differences = None
    if since is not None and since != as_of:
        earlier, later = sorted((min(since, last), as_of))
        before = await visit.client.recover_state(instance_id, until=earlier)
        after = recovery if later == as_of else await visit.client.recover_state(instance_id, until=later)
        differences = compare_states(before.work_state, after.work_state)
    context: dict[str, Any] = {
        "state": recovery.work_state, "recovery": recovery, "as_of": as_of, "since": since, "last": last,
        "differences": differences, "instance_id": instance_id,
    }  # fmt: skip
    if visit.wants_fragment:
        return visit.page("state_parts.html", **context)
    return visit.page("state.html", head=await head_of(visit), tab="state", **context)


def _number(visit: Visit, name: str) -> int | None:
    text = visit.asked(name)
    if text is None:
        return None
    if not text.isdecimal() or len(text) > _MOST_DIGITS or int(text) < 1:
        raise InvalidInput(f"{name} must be the number of an event, from 1 on", code="sequence_num_range")
    return int(text)
