"""What hooks saw and the recording did not, and the reverse, for one instance that was captured live.

Calls are compared by their ids, where a harness tells none by tool and parameters; prompts by their words;
compactions by their number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from session_continuity.capture.facts import facts
from session_continuity.capture.facts.transcripts import open_lines
from session_continuity.capture.harnesses.readers import READERS
from session_continuity.capture.recorder.incarnations import CAPTURED, instance_at, instances_of, is_captured
from session_continuity.capture.recorder.recorder import TRANSCRIPT
from session_continuity.capture.recorder.size_policy import clipped
from session_continuity.client import SessionContinuity
from session_continuity.domain.command_log import Command
from session_continuity.domain.errors import InvalidInput
from session_continuity.domain.payload import storable_text
from session_continuity.domain.session_registry import Session
from session_continuity.domain.text import shorten

KINDS = ("commands", "prompts", "compactions")

_PAGE = 1_000


@dataclass(slots=True, kw_only=True)
class Covered:
    """One kind of record: how many both told, and what one side alone told, by its first words."""

    both: int = 0
    hooks_only: list[str] = field(default_factory=list[str])
    transcript_only: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageReport:
    """The comparison of one instance. `missing` counts what the recording tells and is not stored, neither by a
    hook nor filled since; `problems` are lines of the recording that can't be understood."""

    instance_id: str
    transcript: str
    kinds: dict[str, Covered]
    missing: int
    problems: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Told:
    """What is stored of an instance, to find what of its recording is not: each thing is matched once. Without
    `filled`, what only the recording has told does not count."""

    def __init__(self, client: SessionContinuity, instance_id: str, *, filled: bool = True) -> None:
        self._longest = client.settings.stored_text_characters
        self._left: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
        self._alike: dict[str, list[str]] = {}
        for command in _commands(client, instance_id):
            if filled or TRANSCRIPT not in command.tags:
                call_id = command.tool_call_id or str(command.id)
                self._left["commands"][call_id] += 1
                if "@" in call_id:  # made from tool, parameters and record
                    alike = _signature(command.tool_name, command.parameters)
                    self._alike.setdefault(alike, []).append(call_id)
        for kind, event_type in (("prompts", "prompt_submitted"), ("compactions", "context_compacted")):
            for data, metadata in _events(client, instance_id, event_type):
                if filled or metadata.get("source") != TRANSCRIPT:
                    self._left[kind][_words(data.get("text"))] += 1

    def take(self, fact: facts.Fact) -> bool:
        """Match one fact; False when nothing like it is left."""
        kind, name = _identity(fact, self._longest)
        if kind is None:
            return False
        if isinstance(fact, facts.ToolCalled) and name not in self._left[kind]:
            alike = self._alike.get(_signature(fact.tool, clipped(fact.parameters, self._longest)), [])
            name = alike.pop() if alike else name
        if self._left[kind][name] <= 0:
            return False
        self._left[kind][name] -= 1
        return True

    def left(self, kind: str) -> list[str]:
        """What was not matched."""
        return sorted(self._left[kind].elements())


def compare_coverage(
    client: SessionContinuity, instance_id: str, transcript: Path | None = None
) -> CoverageReport:
    """Compare an instance with its recording, the one that its hooks named or another. Raises NotFound;
    InvalidInput (not_captured, transcript_unknown, transcript_unreadable)."""
    session = client.get_session(instance_id)
    if not is_captured(session):
        raise InvalidInput(
            f"{instance_id} was not captured by hooks; there is nothing to compare", code="not_captured"
        )
    named: str | None = session.metadata[CAPTURED].get("transcript_path")
    path = transcript or (Path(named) if named else None)
    if path is None or session.harness not in READERS:
        raise InvalidInput(
            f"the hooks of {instance_id} named no recording; name it with --transcript", code="transcript_unknown"
        )
    told, stored = Told(client, instance_id, filled=False), Told(client, instance_id)
    kinds = {kind: Covered() for kind in KINDS}
    missing = problems = 0
    for fact in _facts_of(client, session, path):
        if isinstance(fact, facts.Problem):
            problems += 1
            continue
        kind, _ = _identity(fact, client.settings.stored_text_characters)
        if kind is None:
            continue
        missing += not stored.take(fact)
        if told.take(fact):
            kinds[kind].both += 1
        else:
            kinds[kind].transcript_only.append(_shown(fact))
    for kind, covered in kinds.items():
        covered.hooks_only = [shorten(name, 200) for name in told.left(kind)]
    return CoverageReport(
        instance_id=instance_id, transcript=str(path), kinds=kinds, missing=missing, problems=problems
    )


def _facts_of(client: SessionContinuity, session: Session, path: Path) -> Iterator[facts.Fact | facts.Problem]:
    """The facts of the recording that belong to this instance: it may hold several."""
    harness = session.harness or ""
    instances = instances_of(client, harness, session.harness_session_id or "")
    try:
        for fact in READERS[harness]().read(open_lines(path)):
            if isinstance(fact, facts.Problem):
                yield fact
                continue
            owner = instance_at(instances, fact.at)
            if owner is not None and owner.instance_id == session.instance_id:
                yield fact
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {error.strerror}", code="transcript_unreadable") from None


def _identity(fact: facts.Fact, longest: int) -> tuple[str | None, str]:
    match fact:
        case facts.ToolCalled():
            return "commands", storable_text(fact.tool_call_id)
        case facts.PromptSubmitted():
            return "prompts", _words(clipped(fact.text, longest))
        case facts.ContextCompacted():
            return "compactions", _words(None)
        case _:
            return None, ""


def _shown(fact: facts.Fact) -> str:
    if isinstance(fact, facts.ToolCalled):
        return shorten(f"{fact.tool_call_id} ({fact.tool}: {fact.action})", 200)
    return shorten(fact.text if isinstance(fact, facts.PromptSubmitted) else fact.key, 200)


def _words(text: object) -> str:
    return " ".join(text.split()) if isinstance(text, str) else "compaction"


def _signature(tool: str | None, parameters: Any) -> str:
    return f"{tool} {orjson.dumps(parameters, option=orjson.OPT_SORT_KEYS).decode()}"


def _commands(client: SessionContinuity, instance_id: str) -> Iterator[Command]:
    before = None
    while page := client.search_commands(instance_id=instance_id, before=before, limit=_PAGE):
        yield from page
        before = (page[-1].created_at, page[-1].id)


def _events(
    client: SessionContinuity, instance_id: str, event_type: str
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    after = 0
    while page := client.read_events(instance_id, event_type=event_type, after=after, limit=_PAGE):
        yield from ((event.event_data, event.metadata) for event in page)
        after = page[-1].sequence_num
