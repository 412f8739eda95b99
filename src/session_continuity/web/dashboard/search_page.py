"""The search: words across everything, each hit with its place in the timeline; and failed or slow commands."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from session_continuity.domain.command_log import SEARCHED_OUTCOMES
from session_continuity.domain.errors import InvalidInput
from session_continuity.domain.health import SLOW_MS
from session_continuity.domain.paging import read_place, write_place
from session_continuity.domain.search import SEARCH_KINDS, Found
from session_continuity.web.dashboard.visit import Visit

SHOWN = 50


async def show(visit: Visit) -> Response:
    """What the address asks for: words, or without them the commands with an outcome or over 5 seconds."""
    text, kind, project = visit.asked("q"), visit.asked("kind"), visit.asked("project")
    outcome, is_slow = visit.asked("outcome"), visit.asked("slow") == "1"
    context: dict[str, Any] = {
        "text": text, "kind": kind, "project": project, "outcome": outcome, "is_slow": is_slow, "hits": None,
        "commands": None, "kinds": SEARCH_KINDS, "outcomes": SEARCHED_OUTCOMES, "older": None, "problem": None,
        "projects": await visit.client.list_projects(), "place_in": place_in,
    }  # fmt: skip
    before = read_place(visit.asked("before"))
    if text is not None:
        try:
            hits = await visit.client.search_records(
                text,
                kinds=(kind,) if kind in SEARCH_KINDS else None,
                project=project,
                before=before,
                limit=SHOWN + 1,
            )
        except InvalidInput as error:
            context["problem"] = error.message
        else:
            context["hits"] = hits[:SHOWN]
            if len(hits) > SHOWN:
                last = hits[SHOWN - 1]
                context["older"] = visit.address(before=write_place(last.at, last.document_id))
    elif outcome in SEARCHED_OUTCOMES or is_slow:
        commands = await visit.client.search_commands(
            project=project,
            outcome=outcome if outcome in SEARCHED_OUTCOMES else None,
            slower_than_ms=SLOW_MS if is_slow else None,
            before=before,
            limit=SHOWN + 1,
        )
        context["commands"] = commands[:SHOWN]
        if len(commands) > SHOWN:
            last_one = commands[SHOWN - 1]
            context["older"] = visit.address(before=write_place(last_one.created_at, last_one.id))
    return visit.page("search.html", **context)


def place_in(found: Found) -> str:
    """The address of a hit's place."""
    base = f"/sessions/{found.instance_id}"
    return base if found.kind == "session" else f"{base}?at={found.kind}-{found.reference}"
