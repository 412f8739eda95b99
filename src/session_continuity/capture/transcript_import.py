"""Imports a recording: as a session of its own, or into the session that was captured live."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any

from session_continuity.capture import claude_code, codex, facts, gemini_cli, opencode
from session_continuity.capture.derivation import load_rules
from session_continuity.capture.recorder import Recorder
from session_continuity.capture.transcript_reader import TranscriptReader
from session_continuity.capture.transcripts import Harness, Line, open_lines
from session_continuity.client import SessionContinuity
from session_continuity.domain.errors import Conflict, InvalidInput
from session_continuity.domain.identity import derived_instance_id
from session_continuity.domain.payload import storable, storable_text
from session_continuity.domain.session_registry import Origin, Session
from session_continuity.domain.text import shorten

READERS: dict[str, Callable[[], TranscriptReader]] = {
    "claude-code": claude_code.transcript_reader,
    "codex": codex.transcript_reader,
    "gemini-cli": gemini_cli.transcript_reader,
    "opencode": opencode.transcript_reader,
}

_SHOWN_PROBLEMS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import did. `records` are lines read; `commands` and `events` what they hold; `events_added` what
    was not stored before. `problems` counts lines that gave nothing, by kind; `first_problems` shows some."""

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
    `redact` sees each record first. Memory stays bounded whatever the file's size. Raises InvalidInput when the
    file can't be read or holds no session; Fenced when the session was taken over and the file has grown since."""
    started = time.monotonic()
    reading = _Reading(Path(path), session_id, until, progress)
    reader = READERS[harness]()
    reader.redact = redact
    problems: Counter[str] = Counter()
    shown: list[str] = []
    recorder: Recorder | None = None
    before = 0
    try:
        for told in reader.read(reading.lines()):
            if isinstance(told, facts.Problem):
                problems[told.kind] += 1
                if len(shown) < _SHOWN_PROBLEMS:
                    shown.append(f"line {told.line}: {told.kind}: {shorten(told.detail, 200)}")
            elif recorder is not None:
                recorder.record(told)
            elif isinstance(told, facts.SessionStarted):
                session = register_imported(client, told, project=project, fallback_id=reading.path.stem)
                before = session.last_sequence_num
                folded = client.recover_state(session.instance_id).events_folded
                recorder = Recorder(
                    client,
                    session,
                    load_rules(rules),
                    cwd=told.cwd,
                    last_at=told.at,
                    events_since_checkpoint=folded,
                )
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {error.strerror}", code="transcript_unreadable") from None
    if recorder is None:
        raise InvalidInput(
            f"{path} holds no session of this harness; nothing was imported", code="transcript_empty"
        )
    session = _settled(recorder)
    problems.update(recorder.problems)
    return ImportReport(
        instance_id=session.instance_id,
        project=session.project,
        harness=harness,
        harness_session_id=session.harness_session_id,
        records=reading.records,
        prompts=recorder.seen["prompt_submitted"],
        commands=recorder.seen["command"],
        events=recorder.seen["event"],
        events_added=session.last_sequence_num - before,
        checkpoints=recorder.seen["checkpoint"],
        in_flight=len(recorder.open_calls),
        problems=dict(problems),
        first_problems=shown,
        seconds=round(time.monotonic() - started, 3),
    )


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


def _settled(recorder: Recorder) -> Session:
    """Store the rest and the registry's last word."""
    recorder.flush()
    return recorder.client.settle_imported(
        recorder.session.instance_id,
        status="closed" if recorder.closed else "stale",
        last_seen=recorder.last_at,
        context_percent=recorder.percent,
    )


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
