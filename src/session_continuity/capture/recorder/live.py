"""Stores what the spool holds: each record by its harness's adapter to facts, by the recorder into the database.

Records are told in their order, merged with the agents' own recordings by time. Everything written carries an
operation id made from its record's name, so storing records again changes nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from session_continuity.capture.facts import facts
from session_continuity.capture.facts.transcripts import records, remember
from session_continuity.capture.harnesses.hooks import ADAPTERS, HookAdapter, HookCall
from session_continuity.capture.recorder.fence_notice import clear_fence, mark_fenced, sweep_fences
from session_continuity.capture.recorder.incarnations import (
    CAPTURED,
    Incarnations,
    is_captured,
    is_fresh,
    is_gone,
)
from session_continuity.capture.recorder.live_session import LiveSession, Recording, open_session
from session_continuity.capture.recorder.project_privacy import ProjectPrivacy
from session_continuity.capture.recorder.statusline import drop_status_session, keep_status_session
from session_continuity.capture.recorder.tail import FILLED, Filling, Tail
from session_continuity.capture.spool.drain import Rejected, Store
from session_continuity.capture.spool.spool import SpoolRecord
from session_continuity.client import SessionContinuity
from session_continuity.domain.errors import Fenced, InvalidInput, Refused, SessionContinuityError, Unavailable
from session_continuity.domain.payload import storable_text
from session_continuity.domain.session_registry import Session

_RECORDINGS = 64
_RUNNING, _JUST_ENDED = 1_000, 50
_HOOKS_ARE_IN = timedelta(seconds=10)
"""How long after something in a recording a hook that tells of the same can still come."""


def live_store(client: SessionContinuity) -> Store:
    """The store for a drain, with the redaction that the settings ask for."""
    from session_continuity.capture.redaction.redaction import Redactor

    return LiveCapture(client, redact=Redactor(client.settings).redact).store


class LiveCapture:
    """Records live sessions. Between two calls only the readers of recordings are kept. For one thread."""

    def __init__(
        self,
        client: SessionContinuity,
        *,
        redact: Callable[[facts.JSON], facts.JSON],
        adapters: Mapping[str, HookAdapter] = ADAPTERS,
    ) -> None:
        self._client, self._redact, self._adapters = client, redact, adapters
        self._privacy = ProjectPrivacy(client.settings)
        self._recordings: dict[str, Recording] = {}

    def store(self, records: Sequence[SpoolRecord]) -> list[Rejected | None]:
        """Store a batch in its order; says for each record why it can't be stored, or None. Of a session that was
        taken over the commands are kept as late, what holds events is rejected as `fenced`; of one that was
        forgotten, and where the project keeps it private, nothing is kept. Raises Unavailable and Refused when
        nothing can be stored at this time."""
        try:
            _Batch(self._client, self._read, self._recording_of).store(records)
        except (Unavailable, Refused):
            self._recordings.clear()  # what they have told may not be stored
            raise
        except SessionContinuityError as error:
            self._recordings.clear()
            if len(records) == 1 and error.stable_code == "session_forgotten":
                return [None]  # not even in quarantine
            if len(records) == 1:
                return [Rejected(code=error.stable_code, reason=error.message)]
            return [verdict for record in records for verdict in self.store([record])]
        except BaseException:
            self._recordings.clear()
            raise
        return [None] * len(records)

    def watch(self) -> None:
        """One look at the running sessions of this machine, for a server to take every few seconds when the spool
        is empty: their recordings are read on. Raises Unavailable."""
        moment = datetime.now(UTC) - _HOOKS_ARE_IN
        ended = [
            session
            for status in ("closed", "stale")
            for session in self._client.find_sessions(status=status, limit=_JUST_ENDED)
        ]
        for session in (*self._client.find_sessions(status="active", limit=_RUNNING), *ended):
            if session.host != socket.gethostname() or not is_captured(session) or session.superseded_by:
                continue
            gone = session.status == "closed" or is_gone(session)
            self._read_on(session, None if gone else moment)
        sweep_fences(self._client.settings)

    def _read_on(self, session: Session, moment: datetime | None) -> None:
        recording = self._recording_of(session, None)
        if recording is None or not recording.has_news(moment):
            return
        try:
            live = open_session(self._client, session, recording, moment or datetime.now(UTC))
            live.follow(moment, settle=True)
            live.recorder.flush()
        except Fenced:
            pass  # taken over while we looked: what it still told is not the thread's any more
        except BaseException:
            self._recordings.clear()
            raise

    def _read(self, record: SpoolRecord) -> facts.HookFacts:
        """What the record tells. Raises InvalidInput when it is of no use."""
        adapter = self._adapters.get(record.harness)
        if adapter is None:
            raise InvalidInput(f"there is no adapter for the harness {record.harness}", code="harness_unknown")
        payload = next((value for _, value in records([record.payload])), None)
        if not isinstance(payload, dict):
            raise InvalidInput("the payload is not a JSON object", code="payload_not_object")
        redacted = self._redact(payload)
        call = HookCall(key=record.name, at=record.captured_at, pid=record.client_pid, host=record.host)
        told = adapter.read_hook(record.event, redacted if isinstance(redacted, dict) else {}, call)
        if self._privacy.is_off(told.cwd):
            return replace(told, facts=())
        if told.facts and not told.harness_session_id:
            raise InvalidInput("the payload names no session", code="session_unnamed")
        return told

    def _recording_of(self, session: Session, told: facts.HookFacts | None) -> Recording | None:
        """The agent's own recording, where it lies on this machine and can tell something."""
        captured: dict[str, Any] = session.metadata.get(CAPTURED) or {}
        path = (told.transcript_path if told else None) or captured.get("transcript_path")
        harness = session.harness or ""
        if not path or session.host != socket.gethostname() or harness not in FILLED:
            return None
        if path not in self._recordings:
            tail = Tail(harness, Path(path), self._redact)
            remember(self._recordings, path, Recording(tail, Filling(harness)), limit=_RECORDINGS)
        return self._recordings[path]


class _Batch:
    """One batch: the sessions that its records belong to, opened when they are met."""

    def __init__(
        self,
        client: SessionContinuity,
        read: Callable[[SpoolRecord], facts.HookFacts],
        recording_of: Callable[[Session, facts.HookFacts | None], Recording | None],
    ) -> None:
        self._client, self._read, self._recording_of = client, read, recording_of
        self._sessions: dict[str, LiveSession] = {}
        self._seen_alive: dict[str, None] = {}
        self._incarnations = Incarnations(
            client, before_takeover=self._before_takeover, taken_over=self._taken_over
        )

    def store(self, records: Sequence[SpoolRecord]) -> None:
        """Store the records, all or, when it raises, perhaps some."""
        ended = False
        try:
            for record in records:
                told = self._read(record)
                ended = any(isinstance(fact, facts.SessionEnded) for fact in told.facts)
                if told.facts:
                    self._take(record, told)
            for live in self._sessions.values():
                self._flush(live)
        except Fenced as fenced:
            if fenced.stable_code == "session_forgotten":
                raise
            loser = self._client.get_session(str(fenced.details["instance_id"]))
            if ended:
                clear_fence(self._client.settings, loser.harness_session_id)
            else:
                self._mark(loser)
            raise
        if self._seen_alive:
            self._client.send_heartbeats(list(self._seen_alive))

    def _take(self, record: SpoolRecord, told: facts.HookFacts) -> None:
        incarnation = self._incarnations.of_record(record, told)
        session = incarnation.session
        if incarnation.begun:
            clear_fence(self._client.settings, session.harness_session_id)
            sweep_fences(self._client.settings)
        live = self._sessions.get(session.instance_id)
        if live is None:
            recording = self._recording_of(session, told)
            live = open_session(self._client, session, recording, record.captured_at)
            self._sessions[session.instance_id] = live
        live.take(record, told)
        if is_fresh(record):
            self._seen_alive[session.instance_id] = None
            keep_status_session(self._client.settings.home, session)
        if live.recorder.closed:
            self._seen_alive.pop(session.instance_id, None)
            clear_fence(self._client.settings, session.harness_session_id)
            drop_status_session(self._client.settings.home, session)

    def _flush(self, live: LiveSession) -> None:
        live.recorder.flush()
        if live.recorder.was_late:
            self._mark(self._client.get_session(live.instance_id))

    def _mark(self, loser: Session) -> None:
        """Let the hooks of a session that was taken over know it."""
        if loser.superseded_by is not None:
            successor = self._client.get_session(loser.superseded_by)
            self._taken_over(loser, successor)

    def _before_takeover(self, session: Session, record: SpoolRecord, told: facts.HookFacts) -> None:
        """Store what is known of an instance before it may write no more: what waits in this batch, and what its
        recording holds, to its end or to where the harness's session is taken up again."""
        for live in self._sessions.values():
            self._flush(live)
        live = self._sessions.get(session.instance_id)
        again = session.harness_session_id == storable_text(told.harness_session_id or "")
        if live is None:
            recording = self._recording_of(session, told if again else None)
            if recording is None:
                return
            live = open_session(self._client, session, recording, record.captured_at)
        live.follow(record.captured_at if again else None, settle=True)
        self._flush(live)

    def _taken_over(self, loser: Session, successor: Session) -> None:
        if loser.harness_session_id != successor.harness_session_id:
            mark_fenced(self._client.settings, loser, successor.instance_id, successor.owner_epoch)
