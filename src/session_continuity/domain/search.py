"""Search: words across sessions, events, commands and the latest checkpoints, with the place where they stand.

A background service makes the index; what is asked is what was indexed so far. `"two words"` stand side by side,
`-word` must not be there, `begin*` begins a word, OR between two takes either; all else must be there. Upper and
lower case are the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from session_continuity.domain.errors import InvalidInput
from session_continuity.domain.identity import check_instance_id
from session_continuity.domain.operation import ALL_PROJECTS, Operation, Statement, Steps
from session_continuity.domain.paging import Place, check_limit, check_place
from session_continuity.domain.payload import check_text
from session_continuity.domain.session_registry import check_choice

SearchKind = Literal["session", "event", "command", "checkpoint"]
SEARCH_KINDS = ("session", "event", "command", "checkpoint")

MOST_TERMS = 20
SESSIONS_AT_ONCE, EVENTS_AT_ONCE, COMMANDS_AT_ONCE = 200, 500, 2_000
"""What one batch of the index takes: sessions, events of each, commands."""

_PUNCTUATION = "\x01-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f"
_TERM = re.compile(r'(-?)(?:"([^"]*)"|(\S+))')
_SPLIT = re.compile(f"[{_PUNCTUATION}]+")
_BETWEEN = f"[{_PUNCTUATION}]+"
_AROUND = 90
_PARTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A place where the words stand. `reference` is the sequence number of an event or checkpoint, the id of a
    command, 0 for a session; `title` says what it is; `snippet` are parts of its text and whether each is one of
    the words. `document_id` pages on, with `at`."""

    kind: SearchKind
    instance_id: str
    project: str
    reference: int
    at: datetime
    document_id: int
    title: str
    outcome: str | None
    snippet: tuple[tuple[str, bool], ...]


class Indexed(NamedTuple):
    """What one batch of the index took in, and whether there is more."""

    documents: int
    more: bool


def search_records(
    query: str,
    *,
    kinds: Sequence[SearchKind] | None = None,
    project: str | None = None,
    instance_id: str | None = None,
    before: Place | None = None,
    limit: int = 50,
) -> Operation[list[Found]]:
    """Where the words of `query` stand, the latest first. `before` pages on: (at, document_id) of the last one.
    Raises InvalidInput, also for a query without a word."""
    asked, words = _parse(query)
    for kind in kinds or ():
        check_choice("kind", kind, SEARCH_KINDS)
    parameters = {
        **ALL_PROJECTS,
        "query": asked,
        "kinds": None if kinds is None else list(kinds),
        "project": project,
        "instance_id": instance_id and check_instance_id(instance_id),
        **check_place(before, 0),
        "limit": check_limit(limit, 500),
    }
    pattern = re.compile("|".join(sorted(words, key=len, reverse=True)), re.IGNORECASE)

    def steps() -> Steps[list[Found]]:
        rows = yield Statement("search_records", parameters)
        return [
            Found(
                kind=kind,
                instance_id=found_in,
                project=of_project,
                reference=reference,
                at=at,
                document_id=document_id,
                title=title or kind,
                outcome=outcome,
                snippet=_snippet(text or "", pattern),
            )
            for kind, found_in, of_project, reference, at, document_id, title, text, outcome in rows
        ]

    return Operation("search_records", steps)


def index_records(*, all_sessions: bool = False) -> Operation[Indexed]:
    """Index the next batch: of the sessions with a heartbeat within the hour, or of all. Several may do so at
    once."""
    batch = {"all": all_sessions, "sessions": SESSIONS_AT_ONCE}

    def steps() -> Steps[Indexed]:
        events = yield Statement("index_events", {**batch, "events": EVENTS_AT_ONCE})
        commands = yield Statement("index_commands", {"commands": COMMANDS_AT_ONCE})
        finished = yield Statement("finish_commands", {"commands": COMMANDS_AT_ONCE})
        states = yield Statement("index_checkpoints", batch)
        sessions = yield Statement("index_sessions", batch)
        (of_events, moved), (of_commands, read), of_states = events[0], commands[0], states[0][0]
        more = (
            SESSIONS_AT_ONCE in (moved, of_states, len(sessions))
            or of_events >= EVENTS_AT_ONCE
            or (read == COMMANDS_AT_ONCE and of_commands > 0)
            or len(finished) == COMMANDS_AT_ONCE
        )
        return Indexed(of_events + of_commands + len(finished) + of_states + len(sessions), more)

    return Operation("index_records", steps)


def _parse(query: str) -> tuple[str, set[str]]:
    """The query in PostgreSQL's own form, made of words alone, and patterns of what is to be marked."""
    check_text("query", query, 1_000)
    asked, words = list[str](), set[str]()
    either = False
    for sign, quoted, bare in _TERM.findall(query.replace("\0", " ")):
        if bare == "OR" and not sign and asked:
            either = True
            continue
        begins = bare.endswith("*")
        parts = [part for part in _SPLIT.sub(" ", quoted or bare).split() if part]
        if not parts:
            continue
        term = " <-> ".join(f"'{part}'" for part in parts) + (":*" if begins else "")
        term = f"!({term})" if sign else f"({term})"
        if not sign:
            words.add(_BETWEEN.join(map(re.escape, parts)))
        asked.append(f"| {term}" if either and asked else f"& {term}" if asked else term)
        either = False
    if not words:
        raise InvalidInput(f"{query[:80]!r} has no word to look for", code="query")
    if len(asked) > MOST_TERMS:
        raise InvalidInput(f"a query has at most {MOST_TERMS} terms", code="query")
    return " ".join(asked), words


def _snippet(text: str, pattern: re.Pattern[str]) -> tuple[tuple[str, bool], ...]:
    """Up to three pieces around the words; the words apart from what is between them."""
    parts: list[tuple[str, bool]] = []
    end = 0
    pieces = 0
    for match in pattern.finditer(text):
        begin = max(end, match.start() - _AROUND)
        if begin > end or not parts:
            if pieces == _PARTS:
                break
            pieces += 1
            parts.append((("… " if begin > 0 else "") + text[begin : match.start()], False))
        else:
            parts.append((text[end : match.start()], False))
        parts.append((match.group(), True))
        end = match.end()
        if len(parts) > 6 * _PARTS:
            break
    tail = text[end : end + _AROUND]
    parts.append((tail + (" …" if end + _AROUND < len(text) else ""), False))
    return tuple((part, is_word) for part, is_word in parts if part)
