"""What reading any harness's transcript has in common: keys, times, and what is remembered in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import ClassVar

from session_continuity.capture.facts import facts
from session_continuity.capture.facts.facts import JSON, Fact, Problem, Record
from session_continuity.capture.facts.plans import Plan
from session_continuity.capture.facts.transcripts import Line, Recent, fields, moment, records, remember, text

KEPT = 4096
"""Open calls, running agents and the like; the oldest is forgotten beyond that."""

_KEPT_NAMES = 65_536

Handler = Callable[[Record], Iterator[Fact]]


class TranscriptReader:
    """One pass over one transcript. A subclass fills `handlers` by record type and yields the facts.

    No fact waits for the end of the file, so the facts of a file's beginning are the beginning of its facts.
    """

    ignored: ClassVar[frozenset[str]] = frozenset()

    def __init__(self) -> None:
        self.redact: Callable[[JSON], JSON] | None = None
        self.at: datetime | None = None
        self.key = ""
        self.started = False
        self.seen = Recent(_KEPT_NAMES)
        self.plan = Plan()
        self.handlers: dict[str, Handler] = {}
        self._now: dict[str, str] = {}
        self._away: dict[str, facts.SubagentStarted] = {}
        self._percent = -1

    def read(self, lines: Iterable[bytes | Line]) -> Iterator[Fact | Problem]:
        """Yield the facts and problems of all lines; a later call reads on. `redact` sees each record first."""
        for number, record in records(lines):
            if isinstance(record, Problem):
                yield record
                continue
            if self.redact is not None:
                record = fields(self.redact(record))  # noqa: PLW2901
            kind = self.kind_of(record)
            if kind in self.handlers:
                yield from self._known(number, kind, record)
            elif kind not in self.ignored:
                detail = kind[:80] or "a record without type"
                yield Problem(line=number, kind="unknown_record", detail=detail)

    def _known(self, number: int, kind: str, record: Record) -> Iterator[Fact]:
        identity = text(record.get("uuid"))
        if identity and not self.seen.first_time(identity):
            return
        self.key = identity or f"line-{number}"
        self.at = moment(record.get("timestamp")) or self.at
        yield from self.before(kind, record)
        yield from self.handlers[kind](record)

    def kind_of(self, record: Record) -> str:
        """The name under which a record's handler is found."""
        return text(record.get("type")) or ""

    def before(self, kind: str, record: Record) -> Iterator[Fact]:
        """Told of every record that has a handler, first: starts the session."""
        raise NotImplementedError

    def now(self, name: str) -> str | None:
        """The session's cwd, git_branch, model, version or permission_mode as last told."""
        return self._now.get(name)

    def note(self, news: dict[str, str | None]) -> dict[str, str]:
        """Keep what is new about the session and return it."""
        changed = {name: value for name, value in news.items() if value and self._now.get(name) != value}
        self._now.update(changed)
        return changed

    def change(self, news: dict[str, str | None]) -> Iterator[Fact]:
        """Tell what is new about the running session."""
        changed = self.note(news)
        if changed and self.started:
            yield facts.SessionChanged(key=f"{self.key}:session", at=self.at, **changed)

    def prompt(self, words: str, source: str) -> Fact:
        """A person's words."""
        return facts.PromptSubmitted(key=f"{self.key}:prompt", at=self.at, text=words, source=source)

    def measured(self, used: int, window: int) -> Iterator[Fact]:
        """Tell how full the context is when its percent changed."""
        percent = min(100, round(100 * used / window))
        if percent != self._percent:
            self._percent = percent
            yield facts.ContextMeasured(
                key=f"{self.key}:context", at=self.at, used_tokens=used, window_tokens=window, percent=percent
            )

    def subagent_started(
        self, subagent: str, call_id: str, *, agent_type: str | None, description: str | None
    ) -> Fact:
        """A subagent is off; `subagent_ended` tells of its return once."""
        started = facts.SubagentStarted(
            key=f"subagent:{subagent}",
            at=self.at,
            subagent_id=subagent,
            agent_type=agent_type,
            description=description,
            tool_call_id=call_id,
        )
        remember(self._away, subagent, started, limit=KEPT)
        return started

    def subagent_ended(self, subagent: str, agent_id: str | None) -> Iterator[Fact]:
        """The subagent is back, if it was away."""
        started = self._away.pop(subagent, None)
        if started:
            yield facts.SubagentEnded(
                key=f"subagent-ended:{subagent}",
                at=self.at,
                subagent_id=subagent,
                agent_type=started.agent_type,
                description=started.description,
                tool_call_id=started.tool_call_id,
                agent_id=agent_id,
            )
