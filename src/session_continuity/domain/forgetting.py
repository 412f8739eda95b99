"""Forgetting: a session's content is erased for good, and a tombstone keeps that it was.

The session's row stays, so that lineage, fence and ids hold, but says nothing more than that it is forgotten; and
it is fenced by itself, so that nothing of it can be written again.
"""

from __future__ import annotations

from dataclasses import dataclass

from session_continuity.domain.errors import Refused
from session_continuity.domain.identity import check_instance_id
from session_continuity.domain.operation import Operation, Statement, Steps
from session_continuity.domain.session_registry import Session, not_found, session_from_row


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What was erased of which instances, or in a preview would be. `still_holding` are other sessions that went
    on with the work state of one of them, and so hold parts of its text."""

    instance_ids: tuple[str, ...]
    events: int
    commands: int
    checkpoints: int
    still_holding: tuple[str, ...]


def preview_forgetting(instance_id: str, *, whole_thread: bool = False) -> Operation[Forgotten]:
    """What forget_session would erase; changes nothing. Raises NotFound."""
    check_instance_id(instance_id)

    def steps() -> Steps[Forgotten]:
        return (yield from _look((yield from _sessions(instance_id, whole_thread))))

    return Operation("preview_forgetting", steps)


def forget_session(instance_id: str, *, whole_thread: bool = False) -> Operation[Forgotten]:
    """Erase the events, commands and checkpoints of a session and what its row says of where it ran, in one
    transaction; with `whole_thread`, of all instances of its thread. Each leaves a tombstone. Forgetting again
    changes nothing. Raises NotFound; Refused for a session that is active (session_active) or under legal hold
    (legal_hold), or when the login may not delete."""
    check_instance_id(instance_id)

    def steps() -> Steps[Forgotten]:
        yield Statement("act_as_login", {})
        sessions = yield from _sessions(instance_id, whole_thread)
        for session in sessions:
            if session.legal_hold:
                raise Refused(
                    f"session {session.instance_id} is under legal hold; lift the hold first",
                    code="legal_hold",
                    instance_id=session.instance_id,
                )
            if session.status == "active":
                raise Refused(
                    f"session {session.instance_id} is active: end its agent, then"
                    f" `continuity sessions close {session.instance_id}`",
                    code="session_active",
                    instance_id=session.instance_id,
                )
        forgotten = yield from _look(sessions)
        yield Statement("forget_sessions", {"instance_ids": list(forgotten.instance_ids)})
        return forgotten

    return Operation("forget_session", steps, atomic=True)


def _look(sessions: list[Session]) -> Steps[Forgotten]:
    named = [session.instance_id for session in sessions]
    rows = yield Statement("count_content", {"instance_ids": named})
    events, commands, checkpoints = rows[0]
    holding = yield Statement("find_inheriting", {"instance_ids": named})
    return Forgotten(
        instance_ids=tuple(named),
        events=events,
        commands=commands,
        checkpoints=checkpoints,
        still_holding=tuple(row[0] for row in holding),
    )


def _sessions(instance_id: str, whole_thread: bool) -> Steps[list[Session]]:
    rows = yield Statement("find_forgettable", {"instance_id": instance_id, "whole_thread": whole_thread})
    if not rows:
        raise not_found(instance_id)
    return [session_from_row(row) for row in rows]
