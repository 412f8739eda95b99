"""Charts over a session's life: context, tests, tools; and the files and the plan of its work state."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from starlette.responses import Response

from session_continuity.domain.activity import Activity
from session_continuity.web.dashboard.session_page import head_of
from session_continuity.web.dashboard.visit import Visit


async def show(visit: Visit) -> Response:
    """All charts of the session."""
    instance_id = visit.request.path_params["instance_id"]
    activity = await visit.client.get_activity(instance_id)
    recovery = await visit.client.recover_state(instance_id)
    head = await head_of(visit)
    begin, end = head.session.created_at, _end(activity, head.session.last_heartbeat, head.session.closed_at)
    return visit.page(
        "activity.html",
        head=head,
        tab="activity",
        activity=activity,
        state=recovery.work_state,
        begin=begin,
        end=end,
        place=partial(place, begin=begin, end=end),
        instance_id=instance_id,
    )


def place(moment: datetime, begin: datetime, end: datetime) -> float:
    """Where a time lies between two others, from 0 to 1."""
    whole = (end - begin).total_seconds()
    return 0.0 if whole <= 0 else min(1.0, max(0.0, (moment - begin).total_seconds() / whole))


def _end(activity: Activity, *moments: datetime | None) -> datetime:
    known = [moment for moment in moments if moment is not None]
    return max(known + [point.timestamp for point in (*activity.context[-1:], *activity.checks[-1:])])
