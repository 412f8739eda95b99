"""Imports a recording: as a session of its own, or into the session that was captured live."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any

from session_continuity.capture.derivation.derivation import Rules, load_rules
from session_continuity.capture.facts import facts
from session_continuity.capture.facts.transcripts import Harness, Line, open_lines
from session_continuity.capture.harnesses import opencode
from session_continuity.capture.harnesses.readers import READERS
from session_continuity.capture.recorder.incarnations import instances_of, is_captured
from session_continuity.capture.recorder.project_privacy import ProjectPrivacy, capture_is_off
from session_continuity.capture.recorder.recorder import Recorder
from session_continuity.capture.recorder.transcript_fill import TranscriptFill
from session_continuity.capture.redaction.redaction import Redactor
from session_continuity.client import SessionContinuity
from session_continuity.domain.errors import Conflict, InvalidInput
from session_continuity.domain.identity import derived_instance_id
from session_continuity.domain.payload import storable, storable_text
from session_continuity.domain.session_registry import Origin, Session
from session_continuity.domain.text import shorten

_SHOWN_PROBLEMS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import did. `records` are lines read; `commands` and `events` what they hold; `events_added` what
    was not stored before. `ignored` are facts that the project keeps private, `redacted` the secrets taken
    out, by type. `problems` counts lines that gave nothing, by kind; `first_problems` shows some."""

    instance_id: str
    project: str
    harness: str
    harness_session_id: str | None
    records: int
    prompts: int
    commands: int
    events: int
    events_added: int
    checkpoints: int
    in_flight: int
    ignored: int
    redacted: dict[str, int]
    problems: dict[str, int]
    first_problems: list[str]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def import_transcript(
    client: SessionContinuity,
    harness: Harness,
    path: Path | str,
    *,
    session_id: str | None = None,
    project: str | None = None,
    until: int | None = None,
    rules: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    redact: Callable[[facts.JSON], facts.JSON] | None = None,
) -> ImportReport:
    """Import a recording as a session of its own; importing it again adds what is missing, and so does importing
    the recording of a session that was captured live. `until` stops after so many records, as if the agent had
    died there; `session_id` names one of those in OpenCode's database. `progress` is told bytes read and in all,
    `redact` takes the secrets out of each record (default: by the client's settings). Memory stays bounded
    whatever the file's size. Raises InvalidInput when the file can't be read or holds no session, the session was
    forgotten, or capture is off in its folder; Fenced when it was taken over and the file has grown since."""
    started = time.monotonic()
    reading = _Reading(Path(path), session_id, until, progress)
    reader = READERS[harness]()
    redactor = Redactor(client.settings)
    reader.redact = redact or redactor.redact
    problems: Counter[str] = Counter()
    shown: list[str] = []
    importing: _Import | _Fill | None = None
    try:
        for told in reader.read(reading.lines()):
            if isinstance(told, facts.Problem):
                problems[told.kind] += 1
                if len(shown) < _SHOWN_PROBLEMS:
                    shown.append(f"line {told.line}: {told.kind}: {shorten(told.detail, 200)}")
                continue
            if importing is None and isinstance(told, facts.SessionStarted):
                importing = _begun(client, told, project, reading.path.stem, load_rules(rules))
            if importing is not None:
                importing.record(told)
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {error.strerror}", code="transcript_unreadable") from None
    if importing is None:
        raise InvalidInput(
            f"{path} holds no session of this harness; nothing was imported", code="transcript_empty"
        )
    session, added = importing.finish()
    problems.update(importing.problems)
    seen = importing.seen
    return ImportReport(
        instance_id=session.instance_id,
        project=session.project,
        harness=harness,
        harness_session_id=session.harness_session_id,
        records=reading.records,
        prompts=seen["prompt_submitted"],
        commands=seen["command"],
        events=seen["event"],
        events_added=added,
        checkpoints=seen["checkpoint"],
        in_flight=importing.in_flight,
        ignored=seen["ignored"],
        redacted=dict(redactor.counts),
        problems=dict(problems),
        first_problems=shown,
        seconds=round(time.monotonic() - started, 3),
    )


class _Import:
    """A recording as a session of its own."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder, self._before = recorder, recorder.last_sequence_num
        self.record = recorder.record
        self.seen, self.problems = recorder.seen, recorder.problems

    @property
    def in_flight(self) -> int:
        return len(self._recorder.open_calls)

    def finish(self) -> tuple[Session, int]:
        """Store the rest and the registry's last word: the session, and how many events were added."""
        recorder = self._recorder
        recorder.flush()
        session = recorder.client.settle_imported(
            recorder.session.instance_id,
            status="closed" if recorder.closed else "stale",
            last_seen=recorder.last_at,
            context_percent=recorder.percent,
        )
        return session, session.last_sequence_num - self._before


class _Fill:
    """The recording of a session that was captured live."""

    def __init__(self, client: SessionContinuity, instances: list[Session], rules: Rules) -> None:
        self._client, self._instances = client, instances
        self._fill = TranscriptFill(client, instances, rules)
        self.record = self._fill.record
        self.seen, self.problems = Counter[str](), self._fill.problems
        self.in_flight = 0

    def finish(self) -> tuple[Session, int]:
        """Store the rest: the latest instance, and how many events were added to all of them."""
        self._fill.finish()
        for recorder in self._fill.recorders:
            self.seen.update(recorder.seen)
        self.in_flight = sum(
            len(self._client.search_commands(instance_id=each.instance_id, outcome="in_flight", limit=1_000))
            for each in self._instances
        )
        now = {each.instance_id: self._client.get_session(each.instance_id) for each in self._instances}
        added = sum(now[each.instance_id].last_sequence_num - each.last_sequence_num for each in self._instances)
        return now[self._instances[-1].instance_id], added


def _begun(
    client: SessionContinuity, fact: facts.SessionStarted, project: str | None, fallback_id: str, rules: Rules
) -> _Import | _Fill:
    instances = instances_of(client, fact.harness, storable_text(fact.harness_session_id or fallback_id))
    if any("forgotten" in session.metadata for session in instances):
        raise InvalidInput(
            f"session {fact.harness_session_id or fallback_id} was forgotten; its recording is not imported again",
            code="session_forgotten",
        )
    privacy = ProjectPrivacy(client.settings)
    if privacy.is_off(fact.cwd):
        raise capture_is_off(privacy, fact.cwd)
    if any(is_captured(session) for session in instances):
        return _Fill(client, instances, rules)
    session = register_imported(client, fact, project=project, fallback_id=fallback_id)
    folded = client.recover_state(session.instance_id).events_folded
    recorder = Recorder(client, session, rules, cwd=fact.cwd, last_at=fact.at, events_since_checkpoint=folded)
    return _Import(recorder)


@dataclass(slots=True)
class _Reading:
    """The lines of a file, or the rows of one session in a database, counted and reported as they are read."""

    path: Path
    session_id: str | None
    until: int | None
    progress: Callable[[int, int], None] | None
    records: int = 0

    def lines(self) -> Iterator[Line]:
        total = self.path.stat().st_size
        lines = (
            open_lines(self.path) if self.session_id is None else opencode.open_rows(self.path, self.session_id)
        )
        for line in itertools.islice(lines, self.until):
            self.records += 1
            if self.progress is not None:
                self.progress(line.offset + len(line.data), total)
            yield line


def register_imported(
    client: SessionContinuity, fact: facts.SessionStarted, *, project: str | None = None, fallback_id: str
) -> Session:
    """The session of a recording that begins with this fact, registered unless an earlier import has. The project
    is named after the folder, the harness's id of the session is `fallback_id`, where they are not told."""
    project = storable_text(project or (PurePath(fact.cwd).name if fact.cwd else "") or "imported")[:200]
    session_id = storable_text(fact.harness_session_id or fallback_id)
    known = client.find_sessions(harness_session_id=session_id)
    imported = [session for session in known if session.harness == fact.harness and "imported" in session.metadata]
    if imported:
        return min(imported, key=lambda session: session.owner_epoch)
    parent_id = fact.parent_harness_session_id
    parents = client.find_sessions(harness_session_id=storable_text(parent_id)) if parent_id else []
    parent = next((session for session in parents if session.harness == fact.harness), None)
    origin = Origin(
        parent_instance_id=parent.instance_id if parent else None,
        relation="spawned" if parent else "imported_from",
        harness=fact.harness,
        harness_session_id=session_id,
        cwd=fact.cwd and storable_text(fact.cwd),
        git_branch=fact.git_branch and storable_text(fact.git_branch),
        git_head=fact.git_head and storable_text(fact.git_head),
    )
    imported_as = {"version": fact.version, "model": fact.model, "source": fact.source}
    metadata = {"imported": storable({k: v for k, v in imported_as.items() if v is not None})}
    for attempt in itertools.count():
        name = f"{fact.harness}:{session_id}" + (f":{attempt}" if attempt else "")
        try:
            return client.register_session(
                project,
                instance_id=derived_instance_id(project, "PS", name),
                origin=origin,
                metadata=metadata,
                started_at=fact.at,
                operation=f"import {session_id}",
            )
        except Conflict as conflict:
            if conflict.stable_code != "instance_id_taken" or attempt > 10:
                raise
    raise AssertionError("unreachable")
