"""Imports the recording of a harness's session that was captured live: it fills what hooks lost or can't tell."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from session_continuity.capture.derivation.derivation import Rules
from session_continuity.capture.facts import facts
from session_continuity.capture.recorder.coverage import Told
from session_continuity.capture.recorder.incarnations import beginning, instance_at, is_captured
from session_continuity.capture.recorder.live_session import open_session
from session_continuity.capture.recorder.recorder import Recorder
from session_continuity.capture.recorder.tail import FILLED, Filling
from session_continuity.client import SessionContinuity
from session_continuity.domain.errors import Fenced
from session_continuity.domain.session_registry import Session


@dataclass(slots=True)
class _Filled:
    """One instance of the session: what records it, what hooks told of it, and what its recording fills."""

    recorder: Recorder
    filling: Filling | None
    told: Told | None


class TranscriptFill:
    """Tells each fact of a recording to the instance of its time. What can't be written, since the instance was
    taken over, is counted in `problems`."""

    def __init__(self, client: SessionContinuity, instances: list[Session], rules: Rules) -> None:
        self._client, self._instances, self._rules = client, instances, rules
        self._filled: dict[str, _Filled] = {}
        self.problems: Counter[str] = Counter()

    @property
    def recorders(self) -> list[Recorder]:
        """Those of the instances that the recording told something of."""
        return [filled.recorder for filled in self._filled.values()]

    def record(self, fact: facts.Fact) -> None:
        """Take one fact of the recording."""
        session = instance_at(self._instances, fact.at) or self._instances[-1]
        filled = self._filled.get(session.instance_id)
        if filled is None:
            filled = self._filled[session.instance_id] = self._open(session)
        try:
            _tell(fact, filled)
        except Fenced:
            self.problems["fenced"] += 1

    def finish(self) -> None:
        """Store the rest."""
        for filled in self._filled.values():
            try:
                if filled.filling is not None:
                    filled.filling.settle(filled.recorder, None)
                filled.recorder.flush()
            except Fenced:
                self.problems["fenced"] += 1
            self.problems.update(filled.recorder.problems)

    def _open(self, session: Session) -> _Filled:
        harness = session.harness or ""
        if not is_captured(session) or harness not in FILLED:
            return _Filled(Recorder(self._client, session, self._rules), None, None)
        live = open_session(self._client, session, None, beginning(session)[0])
        live.recorder.rules = self._rules
        return _Filled(live.recorder, Filling(harness), Told(self._client, session.instance_id))


def _tell(fact: facts.Fact, filled: _Filled) -> None:
    recorder = filled.recorder
    if filled.filling is None or filled.told is None:
        recorder.record(fact)
        return
    lost = isinstance(fact, facts.PromptSubmitted | facts.ContextCompacted) and not filled.told.take(fact)
    if not lost:
        filled.filling.tell(fact, recorder)
        return
    recorder.from_transcript = True
    recorder.record(fact)
    recorder.from_transcript = False
