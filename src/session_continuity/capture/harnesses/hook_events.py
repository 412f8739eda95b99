"""What the hook adapters share: one payload at hand, and the table of the events that a harness offers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from session_continuity.capture.facts import facts
from session_continuity.capture.facts.actions import action_of
from session_continuity.capture.facts.facts import JSON, Fact, HookFacts, Record
from session_continuity.capture.facts.plans import WHOLE_PLAN_TOOLS, Plan
from session_continuity.capture.facts.transcripts import fields, names, text

_NEVER_KEPT = names("user_email env environ environment")
_MAX_NESTING = 64
_MAX_MILLISECONDS = 10**12


@dataclass(frozen=True, slots=True, kw_only=True)
class HookCall:
    """Where a payload came from.

    `key` is the name of its spool record, `at` when it was captured (aware, UTC), `pid` the client's process,
    `host` the machine that forwarded it, None for this one.
    """

    key: str
    at: datetime
    pid: int | None
    host: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HookSession:
    """Whose payload it is: the session, the one that sent it off, where it works and its own recording lies."""

    session_id: str | None
    parent_id: str | None = None
    cwd: str | None = None
    transcript_path: str | None = None


@dataclass(frozen=True, slots=True)
class Hook:
    """One payload of one event, and the facts that can be made of it. Keys not shared with the transcript are
    those of the spool record."""

    event: str
    payload: Record
    call: HookCall

    @property
    def at(self) -> datetime:
        """When it was captured."""
        return self.call.at

    def key(self, part: str = "") -> str:
        """The record's own key, or that of a part of it."""
        return f"{self.call.key}:{part}" if part else self.call.key

    def text(self, name: str) -> str | None:
        """A field that is a text with something in it."""
        return text(self.payload.get(name))

    def fields(self, name: str) -> Record:
        """A field that is an object, else an empty one."""
        return fields(self.payload.get(name))

    def session_started(
        self,
        harness: str,
        session: HookSession,
        *,
        source: str | None,
        model: str | None,
        version: str | None = None,
    ) -> Fact:
        """A session begins or goes on in this process."""
        return facts.SessionStarted(
            key=self.key(),
            at=self.at,
            harness=harness,
            harness_session_id=session.session_id,
            cwd=session.cwd,
            git_branch=None,
            git_head=None,
            version=version,
            model=model,
            source=source,
            parent_harness_session_id=session.parent_id,
            pid=self.call.pid,
            host=self.call.host,
            transcript_path=session.transcript_path,
            permission_mode=self.text("permission_mode"),
        )

    def changed(self, **news: str | None) -> Iterator[Fact]:
        """What the payload tells of the session as it is now; who keeps it knows what of that is new."""
        if told := {name: value for name, value in news.items() if value}:
            yield facts.SessionChanged(key=self.key("session"), at=self.at, **told)

    def prompt(self, words: str, source: str, *, key: str | None = None) -> Fact:
        """A person's words."""
        return facts.PromptSubmitted(key=key or self.key(), at=self.at, text=words, source=source)

    def notified(self, kind: str, message: str) -> Fact:
        """Something that the harness told the user."""
        return facts.Notified(key=self.key(), at=self.at, kind=kind, message=message)

    def permission_requested(self, tool: str, parameters: Record) -> Fact:
        """The harness asks the user whether a tool may run."""
        return self.notified("permission_request", f"{tool}: {action_of(tool, parameters)}")

    def turn_ended(self, error: str | None = None) -> Fact:
        """The agent waits for the user."""
        return facts.TurnEnded(key=self.key(), at=self.at, error=error)

    def answered(self, words: str | None) -> Iterator[Fact]:
        """The agent's last words, where its own recording lies on another machine and can't be read for them."""
        if words and self.call.host is not None:
            yield facts.AssistantSaid(key=self.key("said"), at=self.at, text=words)

    def session_ended(self, reason: str) -> Fact:
        """The session was left in good order."""
        return facts.SessionEnded(key=self.key(), at=self.at, reason=reason)

    def tool_called(
        self,
        call_id: str,
        tool: str,
        parameters: Record,
        *,
        subagent: str | None = None,
        key: str | None = None,
        took_ms: int | None = None,
    ) -> facts.ToolCalled:
        """The intent of a call; told again with its outcome, it began `took_ms` before."""
        return facts.ToolCalled(
            key=key or f"call:{call_id}",
            at=self.at - timedelta(milliseconds=min(took_ms or 0, _MAX_MILLISECONDS)),
            tool_call_id=call_id,
            tool=tool,
            action=action_of(tool, parameters),
            parameters=parameters,
            subagent=subagent,
        )

    def plan_updated(self, call: facts.ToolCalled, *, key: str | None = None) -> Iterator[Fact]:
        """The plan, when a call has written the whole of it; changes of one step need what went before."""
        plan = Plan()
        if call.tool in WHOLE_PLAN_TOOLS and plan.apply(call.tool, call.parameters, None):
            yield facts.PlanUpdated(key=key or f"plan:{call.tool_call_id}", at=self.at, items=plan.items)

    def measured(self, used: int, window: int, *, key: str | None = None, percent: int | None = None) -> Fact:
        """How full the context is."""
        return facts.ContextMeasured(
            key=key or self.key("context"),
            at=self.at,
            used_tokens=used,
            window_tokens=window,
            percent=min(100, max(0, round(100 * used / window) if percent is None else percent)),
        )

    def unmapped(self, payload: Record, part: str = "") -> Fact:
        """What nothing here understands, as it came, without what is never kept."""
        return facts.Unmapped(key=self.key(part), at=self.at, event=self.event, payload=fields(_kept(payload)))


@dataclass(frozen=True, slots=True, kw_only=True)
class HookEvent:
    """An event that is subscribed to: one sentence on what is recorded of it, how its facts are made, and the
    fields besides the common ones that are understood or known to say nothing about the work."""

    recorded: str
    read: Callable[[Hook], Iterable[Fact]]
    fields: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class HookTable:
    """All events of a harness: those that are read, and those refused with the reason."""

    events: Mapping[str, HookEvent]
    refused: Mapping[str, str]
    common: frozenset[str]
    session_of: Callable[[Hook], HookSession]

    @property
    def recorded(self) -> dict[str, str]:
        """For each event that is read, what is recorded of it."""
        return {name: event.recorded for name, event in self.events.items()}

    def read(self, event: str, payload: Record, call: HookCall) -> HookFacts:
        """The facts of any payload: none of a refused event, and what is not understood as it came."""
        hook = Hook(event, {name: value for name, value in payload.items() if name not in _NEVER_KEPT}, call)
        session = self.session_of(hook)
        return HookFacts(
            harness_session_id=session.session_id,
            parent_harness_session_id=session.parent_id,
            cwd=session.cwd,
            transcript_path=session.transcript_path,
            facts=tuple(self._facts(hook)),
        )

    def _facts(self, hook: Hook) -> Iterator[Fact]:
        known = self.events.get(hook.event)
        if known is None:
            if hook.event not in self.refused:
                yield hook.unmapped(hook.payload)
            return
        yield from known.read(hook)
        understood = self.common | known.fields
        news = {name: value for name, value in hook.payload.items() if name not in understood}
        if news:
            yield hook.unmapped(news, "unmapped")


def refusals(groups: Mapping[str, str]) -> dict[str, str]:
    """Events and the reason why each is refused, written as reason and the names it holds for."""
    return {name: reason for reason, several in groups.items() for name in several.split()}


def _kept(value: JSON, depth: int = 0) -> JSON:
    if depth > _MAX_NESTING:
        return "[nested too deeply]"
    if isinstance(value, dict):
        return {name: _kept(item, depth + 1) for name, item in value.items() if name not in _NEVER_KEPT}
    if isinstance(value, list):
        return [_kept(item, depth + 1) for item in value]
    return value
