"""The session page: what a session is, its place among its kin, and its timeline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from session_continuity.domain.checkpoints import Checkpoint
from session_continuity.domain.command_log import SEARCHED_OUTCOMES, Command
from session_continuity.domain.errors import InvalidInput, NotFound
from session_continuity.domain.event_store import EVENT_TYPES
from session_continuity.domain.family import Relative
from session_continuity.domain.session_registry import Session
from session_continuity.domain.timeline import KINDS, TimelineEntry
from session_continuity.web.dashboard.edits import edits_of
from session_continuity.web.dashboard.summaries import summary
from session_continuity.web.dashboard.visit import Visit

ENTRIES = 40
"""Entries of one page of the timeline; the document holds two of them."""

_FAMILY = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What stands above every page of a session."""

    session: Session
    family: list[Relative]
    in_flight: list[Command]
    checkpoint: Checkpoint | None

    @property
    def unsaved_events(self) -> int:
        """Events since the latest checkpoint."""
        saved = 0 if self.checkpoint is None else self.checkpoint.sequence_num
        return max(0, self.session.last_sequence_num - saved)

    @property
    def is_taken_over(self) -> bool:
        """Whether another session owns the thread."""
        return self.session.superseded_by not in (None, self.session.instance_id)

    @property
    def can_write(self) -> bool:
        """Whether the records still take its events."""
        return self.session.superseded_by is None


async def head_of(visit: Visit) -> Head:
    """The head of the page's session. Raises NotFound."""
    instance_id = visit.request.path_params["instance_id"]
    session = await visit.client.get_session(instance_id)
    try:
        checkpoint = await visit.client.latest_checkpoint(instance_id)
    except NotFound:
        checkpoint = None
    return Head(
        session=session,
        family=await visit.client.get_family(instance_id, limit=_FAMILY),
        in_flight=await visit.client.search_commands(instance_id=instance_id, outcome="in_flight", limit=5),
        checkpoint=checkpoint,
    )


async def show_timeline(visit: Visit) -> Response:
    """The session's timeline, the latest first, from where the address says."""
    instance_id = visit.request.path_params["instance_id"]
    if visit.asked("part") == "head":
        return visit.page("session_head.html", head=await head_of(visit), tab="timeline")
    filters = _filters(visit)
    entries, is_newest = await _entries(visit, instance_id, filters)
    context: dict[str, Any] = {
        "entries": entries, "is_newest": is_newest, "instance_id": instance_id, "summary": summary,
        "at": visit.asked("at"),
    }  # fmt: skip
    if visit.wants_fragment:
        return visit.page("timeline_entries.html", **context)
    return visit.page(
        "timeline.html",
        head=await head_of(visit),
        tab="timeline",
        kinds=KINDS,
        types=EVENT_TYPES,
        outcomes=SEARCHED_OUTCOMES,
        is_filtered=any(value is not None for value in filters.values()),
        asked=filters | {"kind": visit.asked("kind")},
        **context,
    )


async def show_entry(visit: Visit) -> Response:
    """One entry with everything the records know of it."""
    instance_id, kind = visit.request.path_params["instance_id"], visit.request.path_params["kind"]
    reference = visit.request.path_params["reference"]
    context: dict[str, Any] = {"kind": kind, "reference": reference, "instance_id": instance_id, "edits": []}
    if kind == "event":
        events = await visit.client.read_events(instance_id, after=reference - 1, until=reference, limit=1)
        if not events:
            raise NotFound(f"{instance_id} has no event {reference}", instance_id=instance_id)
        context |= {"entry": events[0]}
    elif kind == "command":
        command = await visit.client.get_command(instance_id, command_id=reference)
        context |= {"entry": command, "edits": edits_of(command.parameters)}
    else:
        raise NotFound(f"a timeline has no {kind}", instance_id=instance_id)
    if visit.wants_fragment:
        return visit.page("entry.html", **context)
    return visit.page("entry_page.html", head=await head_of(visit), tab="timeline", **context)


async def _entries(visit: Visit, instance_id: str, filters: dict[str, Any]) -> tuple[list[TimelineEntry], bool]:
    """A page of entries, the latest first, and whether nothing newer was asked to be left out."""
    at, after, before = visit.asked("at"), visit.asked("after"), visit.asked("before")
    if after is not None or at == "first":
        found = await visit.client.get_timeline(instance_id, after=after, limit=ENTRIES, **filters)
        return found[::-1], False
    if at is not None:
        kind, _, reference = at.partition("-")
        if kind not in KINDS or not reference.isdecimal() or len(reference) > 18:
            raise InvalidInput("that address names no entry; an entry's own link does", code="timeline_entry")
        before = await visit.client.find_timeline_entry(instance_id, kind, int(reference))
    found = await visit.client.get_timeline(
        instance_id, newest_first=True, before=before, limit=ENTRIES, **filters
    )
    return found, before is None


def _filters(visit: Visit) -> dict[str, Any]:
    kind, outcome = visit.asked("kind"), visit.asked("outcome")
    return {
        "kinds": (kind,) if kind in KINDS else None,
        "type": visit.asked("type"),
        "outcome": outcome if outcome in SEARCHED_OUTCOMES else None,
        "text": visit.asked("text"),
    }
