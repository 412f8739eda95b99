"""The family of a session: everything it descends from and everything that descends from it, by
parent_instance_id, whatever the relation."""

from __future__ import annotations

from typing import NamedTuple

from session_continuity.domain.identity import check_instance_id
from session_continuity.domain.operation import ALL_PROJECTS, Operation, Statement, Steps
from session_continuity.domain.paging import check_limit
from session_continuity.domain.session_registry import Session, not_found, session_from_row


class Relative(NamedTuple):
    """A session and how deep it lies below the family's first one."""

    depth: int
    session: Session


def get_family(instance_id: str, *, limit: int = 200) -> Operation[list[Relative]]:
    """The tree that an instance belongs to, from its earliest known ancestor down, each session before its
    children; of a large one the `limit` sessions of the nearest generations. Raises NotFound."""
    parameters = {
        **ALL_PROJECTS,
        "instance_id": check_instance_id(instance_id),
        "limit": check_limit(limit, 1_000),
    }

    def steps() -> Steps[list[Relative]]:
        rows = yield Statement("get_family", parameters)
        if not rows:
            raise not_found(instance_id)
        return _in_tree_order([session_from_row(row) for row in rows])

    return Operation("get_family", steps)


def _in_tree_order(sessions: list[Session]) -> list[Relative]:
    known = {session.instance_id for session in sessions}
    children: dict[str | None, list[Session]] = {}
    for session in sorted(sessions, key=lambda one: (one.created_at, one.instance_id)):
        parent = session.parent_instance_id
        children.setdefault(parent if parent in known else None, []).append(session)
    ordered: list[Relative] = []
    waiting = [Relative(0, session) for session in reversed(children.get(None, []))]
    while waiting:
        relative = waiting.pop()
        ordered.append(relative)
        below = children.get(relative.session.instance_id, [])
        waiting += [Relative(relative.depth + 1, session) for session in reversed(below)]
    reached = {relative.session.instance_id for relative in ordered}
    # Plain SQL can make a circle, which has no first one.
    return ordered + [Relative(0, session) for session in sessions if session.instance_id not in reached]
