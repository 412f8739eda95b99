"""Turns facts of one session into the client's calls: commands, events and checkpoints.

Every record is written under an operation id made from its fact's key, so recording the same facts again, or
more of them, adds only what is not there yet. Facts are written in batches; a batch is flushed before each
checkpoint, so that the checkpoint lies where the facts put it.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from session_continuity.capture.derivation.derivation import FinishedCommand, Rules, derive
from session_continuity.capture.facts import facts
from session_continuity.capture.facts.actions import action_of
from session_continuity.capture.facts.transcripts import remember
from session_continuity.capture.recorder.project_privacy import ProjectPrivacy
from session_continuity.capture.recorder.size_policy import clipped, clipped_text
from session_continuity.client import SessionContinuity
from session_continuity.domain.command_log import Command, NewCommand
from session_continuity.domain.errors import NotFound, OperationConflict
from session_continuity.domain.event_store import NewEvent
from session_continuity.domain.payload import storable_text
from session_continuity.domain.session_registry import Session
from session_continuity.domain.text import shorten

CHECKPOINT_EVENTS = 100
"""A checkpoint is taken at least every so many events: recovery reads no more than these."""

TRANSCRIPT = "transcript"
"""Marks what only the recording of a live session told: a tag of commands, the `source` in an event's metadata."""

DENIED = "denied"
"""The tag of commands that the user or a rule refused: nothing was run, so they are no failures."""

RESULT_KEY = "result_key"
"""In the context data of a command whose id was made, not told: which record told its end."""

_BATCH = 200
_OPEN_CALLS = 10_000


@dataclass(slots=True)
class Recorder:
    """Records the facts of one session, in their order. `seen` counts what the facts held, `problems` what was
    stored before in another form. Of a `live` session the registry is told as well, and what the agent's own
    recording tells (`from_transcript`) is marked as such."""

    client: SessionContinuity
    session: Session
    rules: Rules
    live: bool = False
    from_transcript: bool = False
    completes_unknown: bool = False
    percent: int | None = None
    cwd: str | None = None
    events_since_checkpoint: int = 0
    closed: bool = False
    was_late: bool = False
    last_at: datetime | None = None
    seen: Counter[str] = field(default_factory=Counter[str])
    problems: Counter[str] = field(default_factory=Counter[str])
    open_calls: OrderedDict[str, facts.ToolCalled] = field(default_factory=OrderedDict[str, facts.ToolCalled])
    unknown_calls: dict[str, facts.ToolCalled] = field(default_factory=dict[str, facts.ToolCalled])
    spawned: dict[str, None] = field(default_factory=dict[str, None])
    now: dict[str, str] = field(default_factory=dict[str, str])
    _events: dict[str, NewEvent] = field(default_factory=dict[str, NewEvent])
    _commands: dict[str, NewCommand] = field(default_factory=dict[str, NewCommand])
    _measured: int | None = None
    _privacy: ProjectPrivacy = field(init=False)
    _longest: int = field(init=False)
    _handlers: dict[type, Callable[[Any], None]] = field(init=False)

    def __post_init__(self) -> None:
        self.cwd = self.cwd or self.session.cwd
        self._privacy = ProjectPrivacy(self.client.settings)
        self._longest = self.client.settings.stored_text_characters
        self._handlers = {
            facts.SessionStarted: lambda _: None,  # whoever made the recorder has registered the session
            facts.SessionChanged: self._change,
            facts.PromptSubmitted: self._prompt,
            facts.ToolCalled: self._call,
            facts.ToolFinished: self._finish_call,
            facts.PermissionDenied: self._deny,
            facts.PlanUpdated: self._plan,
            facts.CompactionStarted: self._start_compaction,
            facts.ContextCompacted: self._compact,
            facts.ContextMeasured: self._measure,
            facts.SubagentStarted: self._start_subagent,
            facts.SubagentEnded: self._end_subagent,
            facts.AssistantSaid: lambda fact: self.note(fact, "answer", fact.text),
            facts.Interrupted: lambda fact: self.note(fact, "interruption", "the user stopped the agent"),
            facts.Notified: lambda fact: self.note(fact, "notification", fact.message, notification=fact.kind),
            facts.TurnEnded: self._end_turn,
            facts.Unmapped: lambda fact: self.note(fact, "unmapped", None, event=fact.event, payload=fact.payload),
            facts.SessionEnded: self._end_session,
        }

    @property
    def last_sequence_num(self) -> int:
        """The number of the session's last event, as far as this recorder knows."""
        return self.session.last_sequence_num

    def record(self, fact: facts.Fact) -> None:
        """Take one fact; it is stored with its batch, unless the project keeps it private. Raises what the client
        raises."""
        if not self._privacy.allows(self.cwd, fact):
            self.seen["ignored"] += 1
            return
        self.last_at = fact.at or self.last_at
        self._handlers[type(fact)](fact)
        if len(self._events) + len(self._commands) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Store what is waiting, commands first: those of a session that was taken over are kept as late, its
        events raise Fenced."""
        commands, self._commands = list(self._commands.values()), {}
        events, self._events = list(self._events.values()), {}
        for start in range(0, len(commands), 500):
            self._record_commands(commands[start : start + 500])
        if not events:
            return
        try:
            self._append(events)
        except OperationConflict:
            # The rules or the reader changed since an earlier import: what is stored stays as it is.
            for event in events:
                try:
                    self._append([event])
                except OperationConflict:
                    self.problems["stored_differently"] += 1
        percent, self._measured = self._measured, None
        if percent is not None:
            self.client.record_context_percent(self.session.instance_id, percent)

    def checkpoint(self, name: str, reason: str) -> None:
        """Store what is waiting and take an automatic checkpoint."""
        self.flush()
        self.seen["checkpoint"] += 1
        taken = self.client.take_checkpoint(
            self.session.instance_id,
            checkpoint_type="automatic",
            context_window_percent=self.percent,
            reason=reason,
            timestamp=self.last_at,
            operation=_name(f"checkpoint {name}"),
        )
        if taken.sequence_num > self.last_sequence_num:
            self.events_since_checkpoint = 0
            self.session = replace(self.session, last_sequence_num=taken.sequence_num)

    def stored_command(self, tool_call_id: str) -> Command | None:
        """The session's command of that id, None when there is none yet."""
        self.flush()
        try:
            return self.client.get_command(self.session.instance_id, tool_call_id=_id(tool_call_id))
        except NotFound:
            return None

    def note(self, fact: facts.Fact, kind: str, text: str | None, **more: Any) -> None:
        """Record a note of that kind."""
        self._event(fact, "note_recorded", {"kind": kind, "text": text, **more})

    def _record_commands(self, commands: list[NewCommand]) -> None:
        try:
            stored = self.client.record_commands(self.session.instance_id, commands)
        except OperationConflict:
            if len(commands) == 1:
                self.problems["outcome_differs"] += 1
                return
            for command in commands:
                self._record_commands([command])
        else:
            self.was_late = self.was_late or any(command.late for command in stored)

    def _append(self, events: list[NewEvent]) -> None:
        appended = self.client.append_events(self.session.instance_id, events)
        added = sum(number > self.last_sequence_num for number in appended.sequence_nums)
        self.events_since_checkpoint += added
        if added:
            self.session = replace(self.session, last_sequence_num=max(appended.sequence_nums))

    # What the session is

    def _change(self, fact: facts.SessionChanged) -> None:
        told = {name: value for name, value in _data(fact).items() if value}
        if self.live:  # hooks tell all they know each time
            told = {name: value for name, value in told.items() if self.now.get(name) != value}
            if not told:
                return
        self.now.update(told)
        self.cwd = fact.cwd or self.cwd
        self._event(fact, "instance_heartbeat", told)

    def _measure(self, fact: facts.ContextMeasured) -> None:
        percent = min(100, max(0, fact.percent))
        if self.live and percent == self.percent:
            return
        before, self.percent = self.percent or 0, percent
        self._measured = percent if self.live else None  # an import settles the row at its end
        data = {"percent": percent, "used_tokens": fact.used_tokens, "window_tokens": fact.window_tokens}
        self._event(fact, "context_window_updated", data)
        threshold = self.client.settings.context_threshold_percent
        if before < threshold <= percent:
            self.checkpoint(f"{fact.key} at {threshold} percent", f"context window at {percent} %")

    def _start_compaction(self, fact: facts.CompactionStarted) -> None:
        self.checkpoint(f"{fact.key} before compaction", "before compaction")

    def _compact(self, fact: facts.ContextCompacted) -> None:
        if not self.live:  # of a live one the hook has told that it begins
            self.checkpoint(f"{fact.key} before compaction", "before compaction")
        self._event(fact, "context_compacted", _data(fact))

    def _end_turn(self, fact: facts.TurnEnded) -> None:
        if fact.error:
            self.note(fact, "turn_error", fact.error)

    def _end_session(self, fact: facts.SessionEnded) -> None:
        self.closed = True
        if self.live:
            self.flush()
            reason = shorten(storable_text(fact.reason), 500) or "ended"
            self.session = self.client.close_session(
                self.session.instance_id, reason=reason, operation=_name(fact.key)
            )
        else:
            self._event(fact, "instance_closed", {"reason": fact.reason})
        self.checkpoint(f"{fact.key} at the end", "session ended")

    # What the user and the agent do

    def _prompt(self, fact: facts.PromptSubmitted) -> None:
        self.closed = False
        self._event(fact, "prompt_submitted", {"text": fact.text, "source": fact.source})

    def _plan(self, fact: facts.PlanUpdated) -> None:
        items = [{"text": item.text, "status": item.status} for item in fact.items]
        self._event(fact, "plan_updated", {"items": items, "text": fact.text})

    def _call(self, fact: facts.ToolCalled) -> None:
        self.seen["command"] += 1
        waiting = self._commands.get(fact.tool_call_id)
        if waiting is not None and waiting.outcome is not None:
            return  # its end was told first
        self.open_calls[fact.tool_call_id] = fact
        while len(self.open_calls) > _OPEN_CALLS:
            self.open_calls.popitem(last=False)
        self._commands[fact.tool_call_id] = self._command(fact, None)

    def _finish_call(self, fact: facts.ToolFinished) -> None:
        waiting = self._commands.get(fact.tool_call_id)
        if waiting is not None and waiting.outcome not in (None, "unknown"):
            return  # as in the store, the first known outcome stays
        call = self.open_calls.pop(fact.tool_call_id, None) or self.unknown_calls.get(fact.tool_call_id)
        call = call or fact.call
        if call is None:
            self.problems["result_without_call"] += 1
            return
        self._commands[fact.tool_call_id] = self._command(call, fact)
        if fact.outcome == "unknown":
            remember(self.unknown_calls, fact.tool_call_id, call, limit=_OPEN_CALLS)
            if self.completes_unknown:
                return  # derived from, once the recording has told how it ended
        else:
            self.unknown_calls.pop(fact.tool_call_id, None)
        finished = FinishedCommand(
            tool=call.tool,
            parameters=call.parameters,
            result=fact.result,
            outcome=fact.outcome,
            error=fact.error,
            cwd=self.cwd,
            tool_call_id=call.tool_call_id,
        )
        for number, derived in enumerate(derive(finished, self.rules)):
            if derived.event_type == "task_spawned" and call.tool_call_id in self.spawned:
                continue  # told at its start already
            self._event(fact, derived.event_type, dict(derived.data), part=f":{derived.event_type}:{number}")

    def _deny(self, fact: facts.PermissionDenied) -> None:
        call_id = fact.tool_call_id or fact.key
        call = self.open_calls.pop(call_id, None) or facts.ToolCalled(
            key=fact.key,
            at=fact.at,
            tool_call_id=call_id,
            tool=fact.tool,
            action=action_of(fact.tool, fact.parameters),
            parameters=fact.parameters,
            subagent=None,
        )
        command = self._command(call, None)
        reason = fact.reason and clipped_text(storable_text(fact.reason), self._longest)
        self._commands[call_id] = replace(
            command, outcome="cancelled", error_message=reason or None, tags=[*command.tags, DENIED]
        )

    def _start_subagent(self, fact: facts.SubagentStarted) -> None:
        remember(self.spawned, fact.tool_call_id or fact.subagent_id, None, limit=_OPEN_CALLS)
        data = {
            "task_id": fact.subagent_id,
            "description": fact.description,
            "agent_type": fact.agent_type,
            "tool_call_id": fact.tool_call_id,
        }
        self._event(fact, "task_spawned", data)

    def _end_subagent(self, fact: facts.SubagentEnded) -> None:
        if self.live:  # in a transcript the outcome of its command tells the same
            self.note(
                fact,
                "subagent_ended",
                None,
                task_id=fact.subagent_id,
                agent_id=fact.agent_id,
                agent_type=fact.agent_type,
            )

    # What is written

    def _command(self, call: facts.ToolCalled, end: facts.ToolFinished | None) -> NewCommand:
        tags = [tag for tag, holds in (("subagent", call.subagent), (TRANSCRIPT, self.from_transcript)) if holds]
        context = {"subagent": storable_text(call.subagent)} if call.subagent else {}
        if end is not None and end.key != f"result:{end.tool_call_id}":
            context[RESULT_KEY] = _name(end.key)
        return NewCommand(
            command_type="tool",
            action=shorten(storable_text(call.action), 2_000) or call.tool,
            tool_name=shorten(storable_text(call.tool), 500) or None,
            parameters=clipped(call.parameters, self._longest),
            outcome=end.outcome if end else None,
            result=clipped(end.result, self._longest) if end and end.result is not None else None,
            error_message=clipped_text(storable_text(end.error), self._longest) if end and end.error else None,
            execution_time_ms=end.duration_ms if end else None,
            tags=tags,
            context_data=context,
            tool_call_id=_id(call.tool_call_id),
            started_at=call.at,
        )

    def _event(self, fact: facts.Fact, event_type: str, data: dict[str, Any], *, part: str = "") -> None:
        self.seen["event"] += 1
        self.seen[event_type] += 1
        name = _name(f"{fact.key}{part}")
        self._events.setdefault(
            name,
            NewEvent(
                event_type=event_type,
                event_data=clipped(
                    {name: value for name, value in data.items() if value is not None}, self._longest
                ),
                metadata={"source": TRANSCRIPT} if self.from_transcript else {},
                timestamp=fact.at,
                operation=name,
            ),
        )
        if self.events_since_checkpoint + len(self._events) >= CHECKPOINT_EVENTS:
            self.flush()
            if self.events_since_checkpoint >= CHECKPOINT_EVENTS:
                self.checkpoint(name, f"{CHECKPOINT_EVENTS} events since the last")


def call_of(command: Command) -> facts.ToolCalled:
    """The intent of a stored command, as it was told."""
    call_id = command.tool_call_id or str(command.operation_id)
    return facts.ToolCalled(
        key=f"call:{call_id}",
        at=command.started_at,
        tool_call_id=call_id,
        tool=command.tool_name or "unknown",
        action=command.action,
        parameters=command.parameters,
        subagent=command.context_data.get("subagent"),
    )


def _data(fact: facts.Fact) -> dict[str, Any]:
    return {name: value for name, value in asdict(fact).items() if name not in ("key", "at")}


def _id(tool_call_id: str) -> str:
    return shorten(storable_text(tool_call_id), 1_000)


def _name(key: str) -> str:
    return storable_text(key)[:1_000]
