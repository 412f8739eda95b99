"""Threads: one line of work over many instances. Resume continues a thread in a new instance, rewind does so
from an earlier event, fork branches it. Resuming raises the thread's epoch: from then on nothing that the old
instance writes is accepted (design sections 4 and 6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from session_continuity.domain.checkpoints import Recovery, recover_steps
from session_continuity.domain.command_log import Command
from session_continuity.domain.errors import Ambiguous, Conflict, InvalidInput, NotFound, OperationConflict
from session_continuity.domain.fold import FoldedEvent, fold
from session_continuity.domain.identity import check_instance_id, event_id, new_instance_id, operation_id
from session_continuity.domain.operation import ALL_PROJECTS, Operation, Statement, Steps
from session_continuity.domain.payload import check_text, encode_object
from session_continuity.domain.session_registry import (
    Origin,
    Session,
    forgotten,
    not_found,
    session_from_row,
)
from session_continuity.domain.work_state import SCHEMA_VERSION, canonical, copy_state, state_hash

Continuation = Literal["resume", "rewind", "fork"]

AWAITS_AGENT = "awaits_agent"
"""In the metadata of a successor that a person made: the next session of its folder goes on with it."""

BRIEF_COMMANDS = 10
"""How many commands of each kind a continuation looks at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """What a brief says of the predecessor's commands, latest first."""

    unknown_outcomes: list[Command]
    failed: list[Command]
    recent: list[Command]


@dataclass(frozen=True, slots=True, kw_only=True)
class Continued:
    """What a continuation did, or in a dry run would do (`successor` is None then)."""

    continuation: Continuation
    predecessor: Session
    successor: Session | None
    recovery: Recovery
    commands: Commands
    lineage: tuple[str, ...]


def find_resumable(name: str, *, project: str | None = None) -> Operation[Session]:
    """The session meant by a full id, the six characters at its end, an epic, a project or `last`: always the
    one that owns its thread now. Raises NotFound; Ambiguous with all matches when there are several."""
    check_text("name", name, 200)

    def steps() -> Steps[Session]:
        for by in ("last",) if name == "last" else ("instance_id", "suffix", "epic", "project"):
            rows = yield Statement("find_resumable", {**ALL_PROJECTS, "by": by, "name": name, "project": project})
            found = [session_from_row(row) for row in rows]
            if by in ("epic", "project"):
                found = [session for session in found if session.status != "closed"] or found
            if len(found) > 1:
                raise Ambiguous(
                    f"{name!r} matches {len(found)} sessions by {by}; name one in full: "
                    + ", ".join(session.instance_id for session in found),
                    matches=[session.instance_id for session in found],
                )
            if found:
                return found[0]
        raise NotFound(f"no session matches {name!r}; `continuity sessions list` shows what is there", name=name)

    return Operation("find_resumable", steps)


def preview_continuation(
    instance_id: str, *, continuation: Continuation = "resume", until: int | None = None
) -> Operation[Continued]:
    """What resume, rewind or fork would find; changes nothing. Raises NotFound, Conflict, InvalidInput."""
    check_instance_id(instance_id)

    def steps() -> Steps[Continued]:
        rows = yield Statement("get_session", {"instance_id": instance_id})
        predecessor = _owner(rows, instance_id, continuation)
        recovery = yield from _recovered(predecessor, continuation, until)
        return (yield from _continued(continuation, predecessor, None, recovery))

    return Operation("preview_continuation", steps)


def resume_session(
    instance_id: str,
    *,
    successor_id: str | None = None,
    origin: Origin | None = None,
    metadata: Mapping[str, Any] | None = None,
    operation: UUID | str | None = None,
) -> Operation[Continued]:
    """Continue the thread in a new instance and fence the old one, in one transaction. Commands of unknown
    outcome are settled as `unknown`. Raises NotFound, InvalidInput, Conflict (superseded) when the instance was
    taken over already."""
    return _continue(instance_id, "resume", None, successor_id, origin, metadata, operation)


def rewind_session(
    instance_id: str,
    sequence_num: int,
    *,
    successor_id: str | None = None,
    origin: Origin | None = None,
    metadata: Mapping[str, Any] | None = None,
    operation: UUID | str | None = None,
) -> Operation[Continued]:
    """Like resume_session, but the successor goes on from the state at `sequence_num`. Nothing is deleted."""
    return _continue(instance_id, "rewind", sequence_num, successor_id, origin, metadata, operation)


def fork_session(
    instance_id: str,
    *,
    sequence_num: int | None = None,
    successor_id: str | None = None,
    origin: Origin | None = None,
    metadata: Mapping[str, Any] | None = None,
    operation: UUID | str | None = None,
) -> Operation[Continued]:
    """A new thread from the state at `sequence_num` (default: now). The old instance is left as it is."""
    return _continue(instance_id, "fork", sequence_num, successor_id, origin, metadata, operation)


def _continue(
    instance_id: str,
    continuation: Continuation,
    until: int | None,
    successor_id: str | None,
    origin: Origin | None,
    metadata: Mapping[str, Any] | None,
    operation: UUID | str | None,
) -> Operation[Continued]:
    check_instance_id(instance_id)
    if successor_id is not None:
        check_instance_id(successor_id)
    first_event = operation_id(instance_id, operation)
    origin = origin or Origin()
    encoded = encode_object("metadata", metadata or {})

    def steps() -> Steps[Continued]:
        rows = yield Statement("lock_session", {"instance_id": instance_id})
        before = yield Statement("find_event", {"event_ids": [first_event]})
        if before:
            return (yield from _continued_before(continuation, until, instance_id, successor_id, before[0]))
        predecessor = _owner(rows, instance_id, continuation)
        recovery = yield from _recovered(predecessor, continuation, until)
        parameters = _successor_parameters(
            predecessor, recovery, continuation, successor_id, origin, encoded, first_event
        )
        rows = yield Statement("continue_session", parameters)
        if continuation != "fork":
            yield Statement("settle_unknown_commands", {"instance_id": instance_id})
            yield Statement(
                "supersede_session", {"instance_id": instance_id, "successor_id": parameters["successor_id"]}
            )
        return (yield from _continued(continuation, predecessor, session_from_row(rows[0]), recovery))

    return Operation(f"{continuation}_session", steps, atomic=True)


def _owner(rows: list[tuple[Any, ...]], instance_id: str, continuation: Continuation) -> Session:
    if not rows:
        raise not_found(instance_id)
    session = session_from_row(rows[0])
    if session.superseded_by == instance_id:
        raise forgotten(instance_id)
    if session.superseded_by is not None and continuation != "fork":
        raise Conflict(
            f"{instance_id} was taken over by {session.superseded_by} already; {continuation} that one, or fork",
            code="superseded",
            instance_id=instance_id,
            successor=session.superseded_by,
        )
    return session


def _recovered(predecessor: Session, continuation: Continuation, until: int | None) -> Steps[Recovery]:
    if until is not None and not 1 <= until <= predecessor.last_sequence_num:
        raise InvalidInput(
            f"{predecessor.instance_id} has events 1 to {predecessor.last_sequence_num}; {until} is none of them",
            code="sequence_num_range",
        )
    if continuation == "rewind" and until is None:
        raise InvalidInput("rewind needs the sequence number to go back to", code="sequence_num_missing")
    return (yield from recover_steps(predecessor.instance_id, until))


def _successor_parameters(
    predecessor: Session,
    recovery: Recovery,
    continuation: Continuation,
    successor_id: str | None,
    origin: Origin,
    metadata: str,
    first_event: UUID,
) -> dict[str, Any]:
    successor = successor_id or new_instance_id(predecessor.project, predecessor.instance_type)
    cwd, branch = origin.cwd or predecessor.cwd, origin.git_branch or predecessor.git_branch
    head = origin.git_head or predecessor.git_head
    resumed = {
        "continuation": continuation,
        "from_instance_id": predecessor.instance_id,
        "from_sequence_num": recovery.sequence_num,
        "cwd": cwd,
        "git_branch": origin.git_branch,
        "git_head": origin.git_head,
    }
    events: list[tuple[str, dict[str, Any]]] = [
        ("instance_resumed", {name: value for name, value in resumed.items() if value is not None})
    ]
    if recovery.checkpoint_id is not None:
        events.append(("checkpoint_loaded", {"checkpoint_id": str(recovery.checkpoint_id)}))
    checkpoint = event_id(first_event, len(events))
    described = {"checkpoint_id": str(checkpoint), "checkpoint_type": "automatic", "reason": continuation}
    events.append(("checkpoint_created", described))
    # The answer keeps the predecessor's own state, to be compared with the working tree as it is now.
    state = copy_state(recovery.work_state)
    folded = (FoldedEvent(successor, kind, number, data) for number, (kind, data) in enumerate(events, 1))
    encoded = canonical(fold(state, folded))
    return {
        "predecessor_id": predecessor.instance_id,
        "successor_id": successor,
        "same_thread": continuation != "fork",
        "relation": "forked_from" if continuation == "fork" else "resumed_from",
        "parent_sequence_num": recovery.sequence_num,
        "harness": origin.harness or predecessor.harness,
        "harness_session_id": origin.harness_session_id,
        "host": origin.host,
        "pid": origin.pid,
        "cwd": cwd,
        "git_branch": branch,
        "git_head": head,
        "metadata": metadata,
        "count": len(events),
        "event_ids": [event_id(first_event, part) for part in range(len(events))],
        "event_types": [kind for kind, _ in events],
        "event_data": [encode_object("event_data", data) for _, data in events],
        "checkpoint_id": checkpoint,
        "work_state": encoded.decode(),
        "state_hash": state_hash(encoded),
        "schema_version": SCHEMA_VERSION,
        "reason": encode_object("metadata", {"reason": continuation}),
    }


def _continued(
    continuation: Continuation, predecessor: Session, successor: Session | None, recovery: Recovery
) -> Steps[Continued]:
    rows = yield Statement(
        "find_commands_for_brief", {"instance_id": predecessor.instance_id, "limit": BRIEF_COMMANDS}
    )
    by_role: dict[str, list[Command]] = {"unknown": [], "failed": [], "recent": []}
    for row in rows:
        by_role[row[-1]].append(Command._make(row[:-1]))
    lineage = yield Statement("get_lineage", {"instance_id": predecessor.instance_id})
    return Continued(
        continuation=continuation,
        predecessor=predecessor,
        successor=successor,
        recovery=recovery,
        commands=Commands(unknown_outcomes=by_role["unknown"], failed=by_role["failed"], recent=by_role["recent"]),
        lineage=tuple(row[0] for row in lineage),
    )


def _continued_before(
    continuation: Continuation,
    until: int | None,
    instance_id: str,
    successor_id: str | None,
    first: tuple[Any, ...],
) -> Steps[Continued]:
    """The first answer again, for a retry of the same operation."""
    _, stored_as, sequence_num = first
    rows = yield Statement("get_session", {"instance_id": stored_as})
    successor = session_from_row(rows[0])
    rows = yield Statement(
        "read_events",
        {
            "instance_id": stored_as,
            "after": 0,
            "until": 1,
            "as_of": None,
            "event_type": "instance_resumed",
            "limit": 1,
        },
    )
    resumed: dict[str, Any] = rows[0][4] if rows and sequence_num == 1 else {}
    if (
        (resumed.get("continuation"), resumed.get("from_instance_id")) != (continuation, instance_id)
        or until not in (None, successor.parent_sequence_num)
        or successor_id not in (None, successor.instance_id)
    ):
        raise OperationConflict(f"the operation id was used before for {stored_as}", instance_id=stored_as)
    rows = yield Statement("get_session", {"instance_id": instance_id})
    recovery = yield from recover_steps(instance_id, successor.parent_sequence_num)
    return (yield from _continued(continuation, session_from_row(rows[0]), successor, recovery))
