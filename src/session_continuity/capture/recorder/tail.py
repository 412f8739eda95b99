"""Reads an agent's own recording on, from where it was left, merged with its hooks by time.

Of a session that is captured live the recording tells what hooks do not (`FILLED`), and how a call ended whose
hook never came. Each thing has one teller, so that both can be read in any order and as often as one likes.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from pathlib import Path

from session_continuity.capture.facts import facts
from session_continuity.capture.facts.transcripts import Line, open_lines, remember
from session_continuity.capture.harnesses.readers import READERS
from session_continuity.capture.harnesses.transcript_reader import KEPT
from session_continuity.capture.recorder.recorder import Recorder, call_of

_LINES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """What a harness's recording tells that its hooks do not. facts: kinds that are taken as they are. prompts:
    sources of prompts. changes: what of SessionChanged. calls: whether both name calls by the same ids, so that
    the recording can complete those whose end no hook told. outcomes: whether hooks tell the end of some calls,
    but not how they ended. summary: whether that of a compaction is in the recording alone, as its tokens are."""

    facts: tuple[type[facts.Fact], ...]
    prompts: frozenset[str] = frozenset()
    changes: frozenset[str] = frozenset({"git_branch", "version", "model"})
    calls: bool = False
    outcomes: bool = False
    summary: bool = False


FILLED: Mapping[str, Filled] = {
    "claude-code": Filled(
        facts=(facts.ContextMeasured, facts.AssistantSaid, facts.Interrupted),
        prompts=frozenset({"queued"}),
        calls=True,
    ),
    "codex": Filled(facts=(facts.ContextMeasured, facts.AssistantSaid), calls=True, outcomes=True, summary=True),
    "gemini-cli": Filled(facts=(facts.ContextMeasured, facts.AssistantSaid, facts.ContextCompacted)),
}
"""By harness; OpenCode's hooks tell everything, and its recording is a database."""


class Tail:
    """One recording, read on. Tells facts up to a time, so that they come between those of the hooks."""

    def __init__(self, harness: str, path: Path, redact: Callable[[facts.JSON], facts.JSON]) -> None:
        self._harness, self._path, self._redact = harness, path, redact
        self._begin(None)

    def until(self, moment: datetime | None) -> Iterator[facts.Fact]:
        """The facts that were not told yet from before that time; None: all."""
        while self.has_news(moment):
            yield self._waiting.popleft()

    def has_news(self, moment: datetime | None) -> bool:
        """Whether there is a fact from before that time that was not told yet."""
        if not self._waiting and not self._read_on():
            return False
        at = self._waiting[0].at
        return moment is None or at is None or at < moment

    def _begin(self, file: tuple[int, int] | None) -> None:
        self._file = file
        self._offset = self._number = 0
        self._waiting: deque[facts.Fact] = deque()
        self._reader = READERS[self._harness]()
        self._reader.redact = self._redact

    def _read_on(self) -> bool:
        """Read until there are facts; False when nothing new is there."""
        try:
            found = os.stat(self._path)
        except OSError:
            return False  # not there yet, or cleaned up: coverage tells
        if not stat.S_ISREG(found.st_mode):
            return False
        file = (found.st_dev, found.st_ino)
        if file != self._file or found.st_size < self._offset:
            self._begin(file)  # another file of this name
        while found.st_size > self._offset and not self._waiting:
            before = self._offset
            told = self._reader.read(self._lines())
            self._waiting.extend(fact for fact in told if not isinstance(fact, facts.Problem))
            if self._offset == before:
                return False
        return bool(self._waiting)

    def _lines(self) -> Iterator[Line]:
        """The next lines that are whole: the last one may still be being written."""
        for line in islice(open_lines(self._path, offset=self._offset, number=self._number), _LINES):
            if not line.ended:
                return
            self._offset, self._number = line.end, line.number
            yield line


@dataclass(slots=True)
class _Held:
    """How a call ended, told by the recording before any hook told it."""

    finished: facts.ToolFinished
    followed_by: list[facts.Fact]


class Filling:
    """Tells a recorder what of the recording its harness's hooks do not tell."""

    def __init__(self, harness: str) -> None:
        self._filled = FILLED[harness]
        self._calls: dict[str, facts.ToolCalled] = {}
        self._held: dict[str, _Held] = {}

    def tell(self, fact: facts.Fact, recorder: Recorder) -> bool:
        """Take one fact of the recording; False when the hooks tell it."""
        recorder.from_transcript = True
        try:
            return self._tell(fact, recorder)
        finally:
            recorder.from_transcript = False

    def settle(self, recorder: Recorder, before: datetime | None) -> None:
        """Complete the calls that ended before that time, when all hooks from before it have been told: what is
        still open, no hook tells any more; what is not known at all, no hook has told."""
        for call_id in self._due(before):
            held = self._held.pop(call_id)
            stored = recorder.stored_command(call_id)
            call = self._calls.get(call_id)
            ours = (None, recorder.session.harness_session_id)
            if stored is None and call is not None and call.subagent in ours:
                recorder.from_transcript = True
                for fact in (call, held.finished, *held.followed_by):
                    recorder.record(fact)
                recorder.from_transcript = False
            elif stored is not None and stored.outcome in (None, "unknown"):
                recorder.record(replace(held.finished, call=call_of(stored)))
            self._calls.pop(call_id, None)

    def has_due(self, before: datetime | None) -> bool:
        """Whether there is something to settle."""
        return bool(self._due(before))

    def complete(self, recorder: Recorder) -> None:
        """Complete at once what a hook told to have ended, but not how."""
        for call_id in [call_id for call_id in self._held if call_id in recorder.unknown_calls]:
            recorder.record(self._held.pop(call_id).finished)
            self._calls.pop(call_id, None)

    def _due(self, before: datetime | None) -> list[str]:
        ended = ((call_id, held.finished.at) for call_id, held in self._held.items())
        return [call_id for call_id, at in ended if before is None or at is None or at < before]

    def _tell(self, fact: facts.Fact, recorder: Recorder) -> bool:
        match fact:
            case facts.ToolCalled():
                remember(self._calls, fact.tool_call_id, fact, limit=KEPT)
            case facts.ToolFinished() if self._filled.calls:
                remember(self._held, fact.tool_call_id, _Held(fact, []), limit=KEPT)
            case facts.PlanUpdated() | facts.SubagentStarted() if held := self._held.get(_call_of(fact)):
                held.followed_by.append(fact)
            case facts.PromptSubmitted() if fact.source in self._filled.prompts:
                recorder.record(fact)
            case facts.SessionStarted() | facts.SessionChanged():
                self._change(fact, recorder)
            case facts.ContextCompacted() if facts.ContextCompacted not in self._filled.facts:
                summary = fact.summary if self._filled.summary else None
                tokens = {"tokens_before": fact.tokens_before, "tokens_after": fact.tokens_after}
                if summary or any(tokens.values()):
                    recorder.note(fact, "compaction", summary, **tokens)
            case _ if isinstance(fact, self._filled.facts):
                recorder.record(fact)
            case _:
                return False
        return True

    def _change(self, fact: facts.SessionStarted | facts.SessionChanged, recorder: Recorder) -> None:
        news = {name: getattr(fact, name) for name in self._filled.changes if getattr(fact, name)}
        if news:
            recorder.record(facts.SessionChanged(key=fact.key, at=fact.at, **news))


def _call_of(fact: facts.PlanUpdated | facts.SubagentStarted) -> str:
    """The id of the call that told the fact."""
    if isinstance(fact, facts.PlanUpdated):
        return fact.key.removeprefix("plan:")
    return fact.tool_call_id or ""
