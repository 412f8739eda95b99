"""One instance that is captured live, as far as one batch of its hooks' records needs it.

Nothing is kept between batches but the readers of recordings: whoever drains next, in this process or another,
takes up where the store is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from session_continuity.capture.derivation.derivation import load_rules
from session_continuity.capture.facts import facts
from session_continuity.capture.facts.plans import PLAN_TOOLS, Plan
from session_continuity.capture.recorder.incarnations import CAPTURED, began_with, instances_of
from session_continuity.capture.recorder.recorder import RESULT_KEY, Recorder, call_of
from session_continuity.capture.recorder.tail import FILLED, Filling, Tail
from session_continuity.capture.spool.spool import SpoolRecord
from session_continuity.client import SessionContinuity
from session_continuity.domain.command_log import Command
from session_continuity.domain.payload import storable_text
from session_continuity.domain.session_registry import Session

_STEPWISE = frozenset({"TaskCreate", "TaskUpdate", "TaskList"})
"""Plan tools that change one step, or read the plan: what they mean depends on those before."""

_PAGE = 1_000
_PAIRED = 200


@dataclass(slots=True)
class Recording:
    """The agent's own recording of a session: read on, and what of it is told."""

    tail: Tail
    filling: Filling

    def has_news(self, moment: datetime | None) -> bool:
        """Whether it has something to tell from before that time."""
        return self.tail.has_news(moment) or self.filling.has_due(moment)


@dataclass(slots=True)
class LiveSession:
    """Takes the records of one instance in their order."""

    recorder: Recorder
    recording: Recording | None
    _plan: Plan | None = None

    @property
    def instance_id(self) -> str:
        return self.recorder.session.instance_id

    def take(self, record: SpoolRecord, told: facts.HookFacts) -> None:
        """Record what one hook told, after what the recording holds from before it."""
        turn_is_over = any(
            isinstance(fact, facts.PromptSubmitted | facts.TurnEnded | facts.SessionEnded) for fact in told.facts
        )
        self.follow(record.captured_at, settle=turn_is_over)
        paired: dict[str, str] = {}
        for fact in told.facts:
            self._take(fact, record, paired)

    def follow(self, moment: datetime | None, *, settle: bool) -> None:
        """Read the recording on up to that time (None: to its end). With `settle` all hooks from before it have
        been told, so the recording completes what they left open."""
        if self.recording is None:
            return
        for fact in self.recording.tail.until(moment):
            self.recording.filling.tell(fact, self.recorder)
        self.recording.filling.complete(self.recorder)
        if settle:
            self.recording.filling.settle(self.recorder, moment)

    def _take(self, fact: facts.Fact, record: SpoolRecord, paired: dict[str, str]) -> None:
        match fact:
            case facts.SessionStarted():
                if began_with(self.recorder.session) != record.name:
                    self.recorder.record(_as_change(fact))
            case facts.ToolCalled() if fact.key != f"call:{fact.tool_call_id}":
                call_id = paired[fact.tool_call_id] = f"{fact.tool_call_id}@{record.name}"
                self.recorder.record(replace(fact, tool_call_id=call_id))
            case facts.ToolFinished() if fact.key != f"result:{fact.tool_call_id}":
                self._finish(replace(fact, tool_call_id=self._pair(fact, record)))
            case facts.ToolFinished():
                self._finish(fact)
            case facts.SubagentStarted() if fact.tool_call_id in paired:
                call_id = paired[fact.tool_call_id]
                self.recorder.record(replace(fact, subagent_id=call_id, tool_call_id=call_id))
            case _:
                self.recorder.record(fact)

    def _finish(self, fact: facts.ToolFinished) -> None:
        call = fact.call and replace(fact.call, tool_call_id=fact.tool_call_id)
        fact = replace(fact, call=call)
        self.recorder.record(fact)
        if call is None or call.subagent or fact.outcome != "success" or call.tool not in PLAN_TOOLS:
            return
        if self._plan is None:
            self._plan = _plan_before(self.recorder.client, self.recorder.session, call)
        changed = self._plan.apply(call.tool, call.parameters, fact.result)
        if changed and call.tool in _STEPWISE:
            key = f"plan:{fact.tool_call_id}"
            self.recorder.record(facts.PlanUpdated(key=key, at=fact.at, items=self._plan.items))

    def _pair(self, fact: facts.ToolFinished, record: SpoolRecord) -> str:
        """The id of the call that an outcome belongs to, where equal calls have one id: the one that this record
        completed before, else the oldest that is open."""
        self.recorder.flush()
        tool = fact.call.tool if fact.call else None
        found = self.recorder.client.search_commands(instance_id=self.instance_id, tool_name=tool, limit=_PAIRED)
        equal = [command for command in found if (command.tool_call_id or "").startswith(f"{fact.tool_call_id}@")]
        completed = (each for each in equal if each.context_data.get(RESULT_KEY) == storable_text(fact.key))
        open_ones = (each for each in reversed(equal) if each.outcome is None)
        command = next(completed, None) or next(open_ones, None)
        if command is not None and command.tool_call_id:
            return command.tool_call_id
        return f"{fact.tool_call_id}@{record.name}"


def open_session(
    client: SessionContinuity, session: Session, recording: Recording | None, at: datetime
) -> LiveSession:
    """Take up where the store is, for records from that time on."""
    completes = recording is not None and FILLED[session.harness or ""].outcomes
    recorder = Recorder(client, session, load_rules(), live=True, completes_unknown=completes)
    recovery = client.recover_state(session.instance_id)
    recorder.events_since_checkpoint = recovery.events_folded
    context = client.recover_state(session.instance_id, as_of=at).work_state["context"]
    recorder.percent = context["percent"] if context else None
    recorder.now = _known_of(client, session, at)
    recorder.cwd = recorder.now.get("cwd") or session.cwd
    if completes:
        unknown = client.search_commands(instance_id=session.instance_id, outcome="unknown", limit=_PAGE)
        recorder.unknown_calls = {call.tool_call_id: call for call in map(call_of, reversed(unknown))}
    for event in _events(client, session.instance_id, "task_spawned"):
        recorder.spawned[str(event.get("tool_call_id") or event.get("task_id"))] = None
    return LiveSession(recorder, recording)


def _known_of(client: SessionContinuity, session: Session, at: datetime) -> dict[str, str]:
    """What was known of the session at that time, by the names of SessionChanged."""
    begun: dict[str, Any] = session.metadata.get(CAPTURED) or {}
    known = {"cwd": session.cwd, "git_branch": session.git_branch} | {
        name: begun.get(name) for name in ("model", "version", "permission_mode")
    }
    for event in _events(client, session.instance_id, "instance_heartbeat", as_of=at):
        known |= {name: value for name, value in event.items() if name in known}
    return {name: value for name, value in known.items() if isinstance(value, str)}


def _events(
    client: SessionContinuity, instance_id: str, event_type: str, as_of: datetime | None = None
) -> Iterator[dict[str, Any]]:
    after = 0
    while True:
        page = client.read_events(instance_id, event_type=event_type, after=after, as_of=as_of, limit=_PAGE)
        yield from (event.event_data for event in page)
        if len(page) < _PAGE:
            return
        after = page[-1].sequence_num


def _plan_before(client: SessionContinuity, session: Session, call: facts.ToolCalled) -> Plan:
    """The plan as the calls before this one left it, those of the harness session's earlier instances, too."""
    calls: list[Command] = []
    for instance in instances_of(client, session.harness or "", session.harness_session_id or ""):
        for tool in sorted(PLAN_TOOLS):
            calls += client.search_commands(
                instance_id=instance.instance_id, tool_name=tool, outcome="success", before=call.at, limit=_PAGE
            )
    plan = Plan()
    for command in sorted(calls, key=lambda command: (command.created_at, command.id)):
        if command.tool_call_id != call.tool_call_id and "subagent" not in command.context_data:
            plan.apply(command.tool_name or "", command.parameters, command.result)
    return plan


def _as_change(fact: facts.SessionStarted) -> facts.SessionChanged:
    return facts.SessionChanged(
        key=f"{fact.key}:session",
        at=fact.at,
        cwd=fact.cwd,
        model=fact.model,
        version=fact.version,
        permission_mode=fact.permission_mode,
    )
