"""Turns facts into the client's calls: a registry row, commands, events and checkpoints.

Every record is written under an operation id made from its fact's key, so recording the same facts again, or
more of them, adds only what is not there yet. Facts are written in batches; a batch is flushed before each
checkpoint, so that the checkpoint lies where the facts put it.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path, PurePath
from typing import Any

from session_continuity.capture import claude_code, codex, facts
from session_continuity.capture.derivation import FinishedCommand, Rules, derive, load_rules
from session_continuity.capture.project_privacy import ProjectPrivacy, capture_is_off
from session_continuity.capture.redaction import Redactor
from session_continuity.capture.size_policy import clipped, clipped_text
from session_continuity.capture.transcripts import Harness, Line, Redact, open_lines
from session_continuity.client import SessionContinuity
from session_continuity.domain.command_log import NewCommand
from session_continuity.domain.errors import Conflict, InvalidInput, OperationConflict
from session_continuity.domain.event_store import NewEvent
from session_continuity.domain.identity import derived_instance_id
from session_continuity.domain.payload import storable, storable_text
from session_continuity.domain.session_registry import Origin, Session
from session_continuity.domain.text import shorten

READERS: dict[str, Callable[[Iterator[Line], Redact], Iterator[facts.Fact | facts.Problem]]] = {
    "claude-code": claude_code.read_transcript,
    "codex": codex.read_transcript,
}

CHECKPOINT_EVENTS = 100
"""A checkpoint is taken at least every so many events: recovery reads no more than these."""

_BATCH = 200
_OPEN_CALLS = 10_000
_SHOWN_PROBLEMS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import did. `records` are lines read; `commands` and `events` what they hold; `events_added` what
    was not stored before. `ignored` are facts that the project's privacy rules kept out, `redacted` the secrets
    taken out, by type. `problems` counts lines that gave nothing, by kind; `first_problems` shows some."""

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
    project: str | None = None,
    until: int | None = None,
    rules: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    redact: Redact | None = None,
) -> ImportReport:
    """Import a recording as a session of its own; importing it again adds what is missing. `until` stops after so
    many records, as if the agent had died there. `progress` is told bytes read and in all. `redact` takes the
    secrets out of each record (default: by the client's settings). Memory stays bounded whatever the file's size.
    Raises InvalidInput when the file can't be read or holds no session, the session was forgotten, or capture is
    off in its folder; Fenced when the session was taken over and the file has grown since."""
    started = time.monotonic()
    reading = _Reading(Path(path), until, progress)
    recorder = Recorder(client, project=project, fallback_id=reading.path.stem, rules=load_rules(rules))
    redactor, privacy = Redactor(client.settings), ProjectPrivacy(client.settings)
    problems: Counter[str] = Counter()
    shown: list[str] = []
    ignored = 0
    try:
        for told in READERS[harness](reading.lines(), redact or redactor.redact):
            if isinstance(told, facts.Problem):
                problems[told.kind] += 1
                if len(shown) < _SHOWN_PROBLEMS:
                    shown.append(f"line {told.line}: {told.kind}: {shorten(told.detail, 200)}")
            elif privacy.allows(recorder.cwd, told):
                recorder.record(told)
            elif isinstance(told, facts.SessionStarted):
                raise capture_is_off(privacy, told.cwd)
            else:
                ignored += 1
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {error.strerror}", code="transcript_unreadable") from None
    session, before = recorder.finish(path)
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
        in_flight=recorder.in_flight,
        ignored=ignored,
        redacted=dict(redactor.counts),
        problems=dict(problems),
        first_problems=shown,
        seconds=round(time.monotonic() - started, 3),
    )


@dataclass(slots=True)
class _Reading:
    """The lines of a file, counted and reported as they are read."""

    path: Path
    until: int | None
    progress: Callable[[int, int], None] | None
    records: int = 0

    def lines(self) -> Iterator[Line]:
        total = self.path.stat().st_size
        for line in itertools.islice(open_lines(self.path), self.until):
            self.records += 1
            if self.progress is not None:
                self.progress(line.offset + len(line.data), total)
            yield line


@dataclass(slots=True)
class Recorder:
    """Records the facts of one session, in their order. `seen` counts what the facts held."""

    client: SessionContinuity
    project: str | None
    fallback_id: str
    rules: Rules
    seen: Counter[str] = field(default_factory=Counter[str])
    problems: Counter[str] = field(default_factory=Counter[str])
    _session: Session | None = None
    _before: int = 0
    _events: list[NewEvent] = field(default_factory=list[NewEvent])
    _commands: dict[str, NewCommand] = field(default_factory=dict[str, NewCommand])
    _open: OrderedDict[str, facts.ToolCalled] = field(default_factory=OrderedDict[str, facts.ToolCalled])
    _spawned: set[str] = field(default_factory=set[str])
    _cwd: str | None = None
    _percent: int | None = None
    _last_at: datetime | None = None
    _since_checkpoint: int = 0
    _status: str = "stale"

    @property
    def _longest(self) -> int:
        return self.client.settings.stored_text_characters

    @property
    def cwd(self) -> str | None:
        """The folder the session works in now, as far as it was told."""
        return self._cwd

    @property
    def instance_id(self) -> str | None:
        """The session's, once it has begun."""
        return self._session.instance_id if self._session else None

    @property
    def in_flight(self) -> int:
        """Commands without an outcome so far."""
        return len(self._open)

    def record(self, fact: facts.Fact) -> None:
        """Take one fact; it is stored with its batch. Raises what the client raises."""
        self._last_at = fact.at or self._last_at
        match fact:
            case facts.SessionStarted():
                self._start(fact)
            case facts.SessionChanged():
                self._change(fact)
            case facts.PromptSubmitted():
                self._status = "stale"
                self._event(fact, "prompt_submitted", {"text": fact.text, "source": fact.source})
            case facts.ToolCalled():
                self._call(fact)
            case facts.ToolFinished():
                self._finish_call(fact)
            case facts.PlanUpdated():
                items = [{"text": item.text, "status": item.status} for item in fact.items]
                self._event(fact, "plan_updated", {"items": items, "text": fact.text})
            case facts.ContextCompacted():
                self.checkpoint(f"{fact.key} before compaction", "before compaction")
                self._event(fact, "context_compacted", _data(fact))
            case facts.ContextMeasured():
                self._measure(fact)
            case facts.SubagentStarted():
                self._spawned.add(fact.tool_call_id or fact.subagent_id)
                data = {
                    "task_id": fact.subagent_id,
                    "description": fact.description,
                    "agent_type": fact.agent_type,
                }
                self._event(fact, "task_spawned", data)
            case facts.SubagentEnded():
                pass  # the outcome of its command tells the same
            case facts.AssistantSaid():
                self._event(fact, "note_recorded", {"kind": "answer", "text": fact.text})
            case facts.Interrupted():
                self._event(fact, "note_recorded", {"kind": "interruption", "text": "the user stopped the agent"})
            case facts.SessionEnded():
                self._status = "closed"
                self._event(fact, "instance_closed", {"reason": fact.reason})
                self.checkpoint(f"{fact.key} at the end", "session ended")
        if len(self._events) + len(self._commands) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Store what is waiting."""
        session = self._registered()
        commands, self._commands = list(self._commands.values()), {}
        events, self._events = self._events, []
        for batch in _batched(commands, 500):
            try:
                self.client.record_commands(session.instance_id, batch)
            except OperationConflict:
                self.problems["outcome_differs"] += 1
        if not events:
            return
        try:
            self.client.append_events(session.instance_id, events)
        except OperationConflict:
            # The rules or the reader changed since an earlier import: what is stored stays as it is.
            for event in events:
                try:
                    self.client.append_events(session.instance_id, [event])
                except OperationConflict:
                    self.problems["stored_differently"] += 1

    def checkpoint(self, name: str, reason: str) -> None:
        """Store what is waiting and take an automatic checkpoint."""
        self.flush()
        self._since_checkpoint = 0
        self.seen["checkpoint"] += 1
        self.client.take_checkpoint(
            self._registered().instance_id,
            checkpoint_type="automatic",
            context_window_percent=self._percent,
            reason=reason,
            timestamp=self._last_at,
            operation=f"checkpoint {name}",
        )

    def finish(self, source: Path | str) -> tuple[Session, int]:
        """Store the rest and the registry's last word. Returns the session and its last sequence number before
        this recording. Raises InvalidInput when there was no session in it."""
        if self._session is None:
            raise InvalidInput(
                f"{source} holds no session of this harness; nothing was imported", code="transcript_empty"
            )
        self.flush()
        session = self.client.settle_imported(
            self._session.instance_id,
            status="closed" if self._status == "closed" else "stale",
            last_seen=self._last_at,
            context_percent=self._percent,
        )
        return session, self._before

    def _registered(self) -> Session:
        if self._session is None:
            raise InvalidInput("the recording does not begin with a session", code="transcript_empty")
        return self._session

    def _start(self, fact: facts.SessionStarted) -> None:
        if self._session is not None:
            return
        self._cwd = fact.cwd
        project = storable_text(self.project or (PurePath(fact.cwd).name if fact.cwd else "") or "imported")[:200]
        session_id = storable_text(fact.harness_session_id or self.fallback_id)
        known = self.client.find_sessions(harness_session_id=session_id)
        if any("forgotten" in session.metadata for session in known if session.harness == fact.harness):
            raise InvalidInput(
                f"session {session_id} was forgotten; its recording is not imported again",
                code="session_forgotten",
            )
        imported = [
            session for session in known if session.harness == fact.harness and "imported" in session.metadata
        ]
        if imported:
            self._session = min(imported, key=lambda session: session.owner_epoch)
            self._before = self._session.last_sequence_num
            return
        parent_id = fact.parent_harness_session_id
        parents = self.client.find_sessions(harness_session_id=storable_text(parent_id)) if parent_id else []
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
                self._session = self.client.register_session(
                    project,
                    instance_id=derived_instance_id(project, "PS", name),
                    origin=origin,
                    metadata=metadata,
                    started_at=fact.at,
                    operation=f"import {session_id}",
                )
                return
            except Conflict as conflict:
                if conflict.stable_code != "instance_id_taken" or attempt > 10:
                    raise

    def _change(self, fact: facts.SessionChanged) -> None:
        self._cwd = fact.cwd or self._cwd
        data = {
            "cwd": fact.cwd,
            "git_branch": fact.git_branch,
            "model": fact.model,
            "version": fact.version,
            "permission_mode": fact.permission_mode,
        }
        self._event(fact, "instance_heartbeat", data)

    def _measure(self, fact: facts.ContextMeasured) -> None:
        before, self._percent = self._percent or 0, min(100, max(0, fact.percent))
        self._event(
            fact,
            "context_window_updated",
            {"percent": self._percent, "used_tokens": fact.used_tokens, "window_tokens": fact.window_tokens},
        )
        threshold = self.client.settings.context_threshold_percent
        if before < threshold <= self._percent:
            self.checkpoint(f"{fact.key} at {threshold} percent", f"context window at {self._percent} %")

    def _call(self, fact: facts.ToolCalled) -> None:
        self.seen["command"] += 1
        self._open[fact.tool_call_id] = fact
        while len(self._open) > _OPEN_CALLS:
            self._open.popitem(last=False)
        self._commands[fact.tool_call_id] = self._command(fact, None)

    def _finish_call(self, fact: facts.ToolFinished) -> None:
        call = self._open.pop(fact.tool_call_id, None)
        if call is None:
            self.problems["result_without_call"] += 1
            return
        self._commands[fact.tool_call_id] = self._command(call, fact)
        finished = FinishedCommand(
            tool=call.tool,
            parameters=call.parameters,
            result=fact.result,
            outcome=fact.outcome,
            error=fact.error,
            cwd=self._cwd,
            tool_call_id=call.tool_call_id,
        )
        for number, derived in enumerate(derive(finished, self.rules)):
            if derived.event_type == "task_spawned" and call.tool_call_id in self._spawned:
                continue  # told at its start already
            self._event(fact, derived.event_type, dict(derived.data), part=f":{derived.event_type}:{number}")

    def _command(self, call: facts.ToolCalled, end: facts.ToolFinished | None) -> NewCommand:
        return NewCommand(
            command_type="tool",
            action=shorten(storable_text(call.action), 2_000) or call.tool,
            tool_name=shorten(storable_text(call.tool), 500) or None,
            parameters=clipped(call.parameters, self._longest),
            outcome=end.outcome if end else None,
            result=clipped(end.result, self._longest) if end and end.result is not None else None,
            error_message=clipped_text(storable_text(end.error), self._longest) if end and end.error else None,
            execution_time_ms=end.duration_ms if end else None,
            tags=["subagent"] if call.subagent else [],
            context_data={"subagent": storable_text(call.subagent)} if call.subagent else {},
            tool_call_id=shorten(storable_text(call.tool_call_id), 1_000),
            started_at=call.at,
        )

    def _event(self, fact: facts.Fact, event_type: str, data: dict[str, Any], *, part: str = "") -> None:
        self.seen["event"] += 1
        self.seen[event_type] += 1
        self._events.append(
            NewEvent(
                event_type=event_type,
                event_data=clipped(
                    {name: value for name, value in data.items() if value is not None}, self._longest
                ),
                timestamp=fact.at,
                operation=storable_text(f"{fact.key}{part}")[:1_000],
            )
        )
        self._since_checkpoint += 1
        if self._since_checkpoint >= CHECKPOINT_EVENTS:
            self.checkpoint(f"{fact.key}{part}", f"{CHECKPOINT_EVENTS} events since the last")


def _data(fact: facts.Fact) -> dict[str, Any]:
    return {name: value for name, value in asdict(fact).items() if name not in ("key", "at")}


def _batched(commands: list[NewCommand], size: int) -> Iterator[list[NewCommand]]:
    for start in range(0, len(commands), size):
        yield commands[start : start + size]
