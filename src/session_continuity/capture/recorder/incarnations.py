"""Which instance a hook's record belongs to, and when another one begins.

A harness keeps its own session id over a resume; here each incarnation is an instance of its own, on the same
thread. The record that an instance began with stands in its metadata, so records that are stored again find the
same instances and begin nothing twice.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePath
from typing import Any, cast

from session_continuity.capture.facts import facts
from session_continuity.capture.spool.spool import SpoolRecord
from session_continuity.client import SessionContinuity
from session_continuity.domain.errors import Conflict
from session_continuity.domain.identity import derived_instance_id
from session_continuity.domain.payload import storable, storable_text
from session_continuity.domain.process_sessions import PROCESS
from session_continuity.domain.session_registry import Origin, Session, forgotten
from session_continuity.domain.threads import AWAITS_AGENT, Continued
from session_continuity.processes import Process, is_running, process_from_json, seen_process
from session_continuity.workspace import observe_head

CAPTURED = "captured"
"""Where the metadata of an instance that is captured live keeps how it began."""

FRESH = timedelta(seconds=60)
"""How long after a hook was called its answer can matter. What is stored later (the spool waited for the database)
looks at no process and no working tree: they are others by then, and takes no thread over: nobody is told."""

_TRIES = 5
_CANDIDATES = 200
_FIRST_EVENTS = frozenset({"instance_resumed", "checkpoint_loaded", "checkpoint_created"})


@dataclass(frozen=True, slots=True)
class Incarnation:
    """An instance and whether this very record began it."""

    session: Session
    begun: bool = False


class Incarnations:
    """Finds and begins instances. `before_takeover` is told of each instance just before it is superseded: what
    is known of it must be stored by then; `taken_over` afterwards."""

    def __init__(
        self,
        client: SessionContinuity,
        *,
        before_takeover: Callable[[Session, SpoolRecord, facts.HookFacts], None],
        taken_over: Callable[[Session, Session], None],
    ) -> None:
        self._client = client
        self._before_takeover = before_takeover
        self._taken_over = taken_over
        self._newest: dict[tuple[str, str], Session] = {}

    def of_record(self, record: SpoolRecord, told: facts.HookFacts) -> Incarnation:
        """The instance that the record belongs to, begun when the record says so."""
        session = (record.harness, storable_text(told.harness_session_id or ""))
        if not any(isinstance(fact, facts.SessionStarted | facts.PromptSubmitted) for fact in told.facts):
            newest = self._newest.get(session)
            if newest is not None and beginning(newest) <= (record.captured_at, record.name):
                return Incarnation(newest)
        found = self._find(record, told, session[1])
        instances = instances_of(self._client, *session)
        if instances and found.session.instance_id == instances[-1].instance_id:
            self._newest[session] = found.session
        else:
            self._newest.pop(session, None)
        return found

    def _find(self, record: SpoolRecord, told: facts.HookFacts, session_id: str) -> Incarnation:
        instances = instances_of(self._client, record.harness, session_id)
        for each in instances:
            if "forgotten" in each.metadata:
                raise forgotten(each.instance_id)
        current = instance_at(instances, record.captured_at, record.name)
        if current is not None and began_with(current) == record.name:
            return Incarnation(current, begun=True)
        start = next((fact for fact in told.facts if isinstance(fact, facts.SessionStarted)), None)
        if current is None:
            return self._first(record, told, start)
        if current is not instances[-1] or (start is not None and start.source == "compact"):
            return Incarnation(current)
        if start is not None and start.source == "clear":
            return self._registered(record, told, start)
        if start is not None or self._is_new_process(record, told, current):
            return self._gone_on_with(record, told, start, current)
        return Incarnation(current)

    def _first(
        self, record: SpoolRecord, told: facts.HookFacts, start: facts.SessionStarted | None
    ) -> Incarnation:
        """A session that was not known: it takes a dead thread of its folder over when it can be told so."""
        wanted = self._client.settings.session_start_brief == "brief" and not told.parent_harness_session_id
        if wanted and is_fresh(record) and start is not None and start.source in (None, "startup") and told.cwd:
            dead = dead_thread(self._client, project_of(told.cwd), told.cwd)
            continued = dead and self._continued(record, told, start, dead)
            if continued:
                return continued
        return self._registered(record, told, start)

    def _gone_on_with(
        self,
        record: SpoolRecord,
        told: facts.HookFacts,
        start: facts.SessionStarted | None,
        current: Session,
    ) -> Incarnation:
        """The harness's session is there again: in a new instance, unless its thread's owner lives."""
        owner = current
        if current.superseded_by is not None:
            owner = self._client.find_resumable(current.instance_id)
        if not has_ended(owner):
            return Incarnation(current)
        return self._continued(record, told, start, owner) or Incarnation(current)

    def _is_new_process(self, record: SpoolRecord, told: facts.HookFacts, current: Session) -> bool:
        """A prompt from another process while the one that ran the session is seen to be gone: not every harness
        tells that it has been started again."""
        process = process_of(current)
        return (
            process is not None
            and record.host is None
            and record.client_pid not in (None, process.pid)
            and any(isinstance(fact, facts.PromptSubmitted) for fact in told.facts)
            and current.superseded_by is None
            and is_gone(current)
        )

    def _continued(
        self,
        record: SpoolRecord,
        told: facts.HookFacts,
        start: facts.SessionStarted | None,
        owner: Session,
    ) -> Incarnation | None:
        for attempt in range(_TRIES):
            self._before_takeover(owner, record, told)
            try:
                done = self._client.resume_session(
                    owner.instance_id,
                    successor_id=_new_id(owner.project, owner.instance_type, record, attempt),
                    origin=_origin(record, told, start),
                    metadata=_metadata(record, told, start),
                    operation=_operation(record.name),
                )
            except Conflict as conflict:
                if conflict.stable_code == "instance_id_taken":
                    continue
                if conflict.stable_code != "superseded":
                    raise
                owner = self._client.find_resumable(owner.instance_id)
                if not has_ended(owner):
                    return None
                continue
            if done.successor is not None:
                self._taken_over(done.predecessor, done.successor)
                return Incarnation(done.successor, begun=True)
        return None

    def _registered(
        self, record: SpoolRecord, told: facts.HookFacts, start: facts.SessionStarted | None
    ) -> Incarnation:
        parent = None
        if told.parent_harness_session_id:
            parents = instances_of(self._client, record.harness, storable_text(told.parent_harness_session_id))
            parent = instance_at(parents, record.captured_at, record.name)
        project = project_of(told.cwd)
        for attempt in itertools.count():
            try:
                session = self._client.register_session(
                    project,
                    instance_id=_new_id(project, "PS", record, attempt),
                    origin=_origin(record, told, start, parent=parent),
                    metadata=_metadata(record, told, start),
                    started_at=record.captured_at,
                    operation=_operation(record.name),
                )
            except Conflict as conflict:
                if conflict.stable_code != "instance_id_taken" or attempt >= _TRIES:
                    raise
            else:
                return Incarnation(session, begun=True)
        raise AssertionError("unreachable")


def how_it_began(client: SessionContinuity, session: Session, record_name: str) -> Continued:
    """What the session went on with when the record of that name began it: the first answer again."""
    return client.resume_session(session.parent_instance_id or "", operation=_operation(record_name))


def _operation(record_name: str) -> str:
    return storable_text(f"began {record_name}")


def _new_id(project: str, instance_type: str, record: SpoolRecord, attempt: int) -> str:
    """The id of the instance that a record begins: the same each time, unless another session has it."""
    return derived_instance_id(project, instance_type, record.name + (f":{attempt}" if attempt else ""))


def instances_of(client: SessionContinuity, harness: str, harness_session_id: str) -> list[Session]:
    """All instances of a harness's session, in the order in which they began."""
    found = client.find_sessions(harness_session_id=harness_session_id, limit=1_000)
    return sorted((session for session in found if session.harness == harness), key=beginning)


def instance_at(instances: Sequence[Session], at: datetime | None, name: str = "") -> Session | None:
    """The last instance that had begun at that time; the first one for what comes before."""
    if at is None:
        return instances[0] if instances else None
    begun = [session for session in instances if beginning(session) <= (at, name)]
    return begun[-1] if begun else next(iter(instances), None)


def beginning(session: Session) -> tuple[datetime, str]:
    """When an instance began, and with which record."""
    captured = _captured(session)
    try:
        return datetime.fromisoformat(str(captured["at"])), str(captured["began"])
    except (KeyError, ValueError):
        return session.created_at, ""


def began_with(session: Session) -> str | None:
    """The name of the record that an instance began with, None for one that was not captured live."""
    began = _captured(session).get("began")
    return began if isinstance(began, str) else None


def is_captured(session: Session) -> bool:
    """Whether the instance was captured live."""
    return CAPTURED in session.metadata


def process_of(session: Session) -> Process | None:
    """The process that ran the session, where it was seen running on this machine."""
    return process_from_json(session.metadata.get(PROCESS)) if session.host == socket.gethostname() else None


def is_gone(session: Session) -> bool:
    """Whether the session's process was seen running on this machine and does not run any more."""
    process = process_of(session)
    return process is not None and not is_running(process)


def has_ended(session: Session) -> bool:
    """Whether nobody writes as this instance any more, as far as this can be known: it is closed, its process is
    gone, it was imported, or it waits for an agent."""
    return (
        session.status == "closed"
        or is_gone(session)
        or (process_of(session) is None and not is_captured(session) and "imported" in session.metadata)
        or AWAITS_AGENT in session.metadata
    )


def dead_thread(client: SessionContinuity, project: str, cwd: str) -> Session | None:
    """The last session of this folder that died, or was resumed by hand and waits for its agent. Dead is only one
    whose process was seen running on this machine and is gone: silence proves nothing."""
    for session in client.find_sessions(project=project, limit=_CANDIDATES):
        here = session.host == socket.gethostname() and session.cwd == storable_text(cwd)
        if not here or session.superseded_by is not None or session.relation == "spawned":
            continue
        if (session.status != "closed" and is_gone(session)) or _awaits_agent(client, session):
            return session
    return None


def _awaits_agent(client: SessionContinuity, session: Session) -> bool:
    if AWAITS_AGENT not in session.metadata or session.status == "closed":
        return False
    first = client.read_events(session.instance_id, limit=len(_FIRST_EVENTS) + 1)
    return {event.event_type for event in first} <= _FIRST_EVENTS


def is_fresh(record: SpoolRecord) -> bool:
    """Whether the hook was called on this machine so lately that its process and its working tree are the same."""
    return record.host is None and abs(datetime.now(UTC) - record.captured_at) < FRESH


def project_of(cwd: str | None) -> str:
    """The project's name: that of its folder."""
    return storable_text((PurePath(cwd).name if cwd else "") or "unknown")[:200]


def _captured(session: Session) -> dict[str, Any]:
    kept = session.metadata.get(CAPTURED)
    return cast("dict[str, Any]", kept) if isinstance(kept, dict) else {}


def _origin(
    record: SpoolRecord,
    told: facts.HookFacts,
    start: facts.SessionStarted | None,
    *,
    parent: Session | None = None,
) -> Origin:
    branch, head = (start.git_branch, start.git_head) if start else (None, None)
    if told.cwd and not head and is_fresh(record):
        branch, head = observe_head(told.cwd)
    return Origin(
        parent_instance_id=parent.instance_id if parent else None,
        relation="spawned" if parent else None,
        harness=storable_text(record.harness),
        harness_session_id=storable_text(told.harness_session_id or ""),
        host=storable_text(record.host or socket.gethostname()),
        pid=record.client_pid,
        cwd=told.cwd and storable_text(told.cwd),
        git_branch=branch and storable_text(branch),
        git_head=head and storable_text(head),
    )


def _metadata(record: SpoolRecord, told: facts.HookFacts, start: facts.SessionStarted | None) -> dict[str, Any]:
    captured = {
        "began": record.name,
        "at": record.captured_at.isoformat(),
        "source": start.source if start else None,
        "model": start.model if start else None,
        "version": start.version if start else None,
        "permission_mode": start.permission_mode if start else None,
        "transcript_path": told.transcript_path,
    }
    metadata = {CAPTURED: storable({name: value for name, value in captured.items() if value is not None})}
    if record.client_pid is not None and is_fresh(record):
        process = seen_process(record.client_pid, since=record.captured_at)
        if process is not None:
            metadata[PROCESS] = process.as_json()
    return metadata
