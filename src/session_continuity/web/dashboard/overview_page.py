"""The overview: every session, what it is doing, and the figures of the fleet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from starlette.responses import Response

from session_continuity.domain.overview import SessionNow
from session_continuity.domain.paging import read_place, write_place
from session_continuity.domain.session_registry import INSTANCE_TYPES, STATUSES, InstanceType, Status
from session_continuity.web.dashboard.visit import Visit

SHOWN = 200
_ORDER = {"active": 0, "stale": 1, "closed": 2}

SORTS: dict[str, tuple[str, Callable[[SessionNow], Any]]] = {
    "status": ("state, then newest", lambda now: (_ORDER[now.session.status], _latest(now.session.created_at))),
    "heartbeat": ("latest heartbeat", lambda now: _latest(now.session.last_heartbeat)),
    "started": ("newest first", lambda now: _latest(now.session.created_at)),
    "context": ("fullest context", lambda now: -(now.session.context_percent or 0)),
    "unsaved": ("most unsaved events", lambda now: -now.unsaved_events),
}
"""How the sessions may be ordered: what the page calls it, and by what."""

VIEWS = {"projects": "by project", "tree": "as a tree", "list": "as one list"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Sessions under one heading, each with how deep it lies in a tree."""

    heading: str | None
    rows: list[tuple[int, SessionNow]]


async def show(visit: Visit) -> Response:
    """The sessions that the address asks for."""
    status, sort, view = _one_of(visit, "status", STATUSES), visit.asked("sort"), visit.asked("view")
    sort, view = sort if sort in SORTS else "status", view if view in VIEWS else "projects"
    project, text = visit.asked("project"), visit.asked("q")
    found = await visit.client.get_overview(
        project=project,
        statuses=STATUSES if status is None else (cast("Status", status),),
        instance_type=cast("InstanceType | None", _one_of(visit, "type", INSTANCE_TYPES)),
        text=text,
        before=read_place(visit.asked("before")),
        limit=SHOWN + 1,
    )
    shown = found[:SHOWN]
    ordered = sorted(shown, key=SORTS[sort][1])
    context: dict[str, Any] = {
        "groups": _groups(ordered, view),
        "shown": len(shown),
        "older": visit.address(before=_cursor(shown[-1])) if len(found) > SHOWN else None,
        "project": project, "status": status, "type": visit.asked("type"), "text": text,
        "sort": sort, "view": view,
        "is_filtered": any((project, status, text, visit.asked("type"))),
        "is_later_page": visit.asked("before") is not None,
    }  # fmt: skip
    if visit.wants_fragment:
        return visit.page("session_table.html", **context)
    health, minutes = await visit.feed.figures(
        visit.client, whole=visit.viewer is not None and visit.viewer.projects is None
    )
    context |= {
        "health": health, "minutes": minutes, "projects": await visit.client.list_projects(),
        "sorts": {name: label for name, (label, _) in SORTS.items()}, "views": VIEWS,
        "statuses": STATUSES, "types": INSTANCE_TYPES,
    }  # fmt: skip
    if not shown and not context["is_filtered"] and not context["is_later_page"]:
        return visit.page("first_run.html", sample=None, **context)
    return visit.page("overview.html", **context)


def _groups(ordered: list[SessionNow], view: str) -> list[Group]:
    if view == "list":
        return [Group(heading=None, rows=[(0, now) for now in ordered])]
    by_project: dict[str, list[SessionNow]] = {}
    for now in ordered:
        by_project.setdefault(now.session.project, []).append(now)
    return [
        Group(heading=project, rows=_tree(sessions) if view == "tree" else [(0, now) for now in sessions])
        for project, sessions in by_project.items()
    ]


def _tree(sessions: list[SessionNow]) -> list[tuple[int, SessionNow]]:
    """Each session under the one that spawned it, or that it goes on from, as far as that is shown."""
    known = {now.session.instance_id for now in sessions}
    children: dict[str | None, list[SessionNow]] = {}
    for now in sessions:
        parent = now.session.parent_instance_id
        children.setdefault(parent if parent in known else None, []).append(now)
    ordered, waiting = list[tuple[int, SessionNow]](), [(0, now) for now in reversed(children.pop(None, []))]
    while waiting:
        depth, now = waiting.pop()
        ordered.append((depth, now))
        below = children.pop(now.session.instance_id, [])
        waiting += [(depth + 1, child) for child in reversed(below)]
    # Plain SQL can make a circle, which has no first one.
    return ordered + [(0, now) for circle in children.values() for now in circle]


def _one_of(visit: Visit, name: str, choices: tuple[str, ...]) -> str | None:
    given = visit.asked(name)
    return given if given in choices else None


def _latest(moment: datetime) -> float:
    return -moment.timestamp()


def _cursor(now: SessionNow) -> str:
    return write_place(now.session.last_heartbeat, now.session.instance_id)
