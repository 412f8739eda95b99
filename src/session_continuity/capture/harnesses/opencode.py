"""OpenCode's sessions as facts, from its database `~/.local/share/opencode/opencode.db` (SQLite).

Seen: 1.18.33. A session has messages and a message has parts, each a row with a JSON object in `data`. A row is
changed in place while it grows, so a tool call that was in flight is a row whose state is `running`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import orjson

from session_continuity.capture.facts import facts
from session_continuity.capture.facts.facts import Fact, Problem, Record
from session_continuity.capture.facts.prompts import written_by_person
from session_continuity.capture.facts.transcripts import MAX_LINE_BYTES, Line, fields, parse_object, remember, text
from session_continuity.capture.harnesses.opencode_parts import ABORTED, called, moment_of, outcome, sent_off
from session_continuity.capture.harnesses.transcript_reader import KEPT, TranscriptReader
from session_continuity.domain.errors import InvalidInput

HARNESS = "opencode"

_SESSIONS = "SELECT id FROM session ORDER BY time_created, id"
_SESSION = "SELECT id, parent_id, directory, version, time_created FROM session WHERE id = ?"
_MESSAGES = "SELECT id, time_created, data FROM message WHERE session_id = ? ORDER BY time_created, id"
_PARTS = "SELECT id, message_id, time_created, data FROM part WHERE message_id = ? ORDER BY id"


def session_ids(path: Path | str) -> list[str]:
    """All sessions in a database, parents before the subagents they sent off. Raises InvalidInput when it can't
    be read."""
    with _opened(path) as database:
        return [str(_readable(row["id"])) for row in database.execute(_SESSIONS)]


def open_rows(path: Path | str, session_id: str) -> Iterator[Line]:
    """The rows of one session as lines for `read_transcript`, each an object with the name of its table as `type`.

    Nothing is written and memory holds one row. Raises InvalidInput when the database can't be read.
    """
    with _opened(path) as database:
        for number, row in enumerate(_rows(database, session_id), start=1):
            data = orjson.dumps(row)
            too_long = len(data) > MAX_LINE_BYTES
            yield Line(number=number, offset=0, data=b"" if too_long else data, too_long=too_long)


def read_transcript(lines: Iterable[bytes | Line]) -> Iterator[Fact | Problem]:
    """Yield the facts of one session's rows in their order, and a problem for each that can't be understood.

    Memory is bounded: the latest messages, the last 65,536 row ids.
    """
    return transcript_reader().read(lines)


def transcript_reader() -> TranscriptReader:
    """A reader for the rows of one session."""
    return _Reader()


def _rows(database: sqlite3.Connection, session_id: str) -> Iterator[Record]:
    def read(table: str, query: str, key: str) -> Iterator[Record]:
        for row in database.execute(query, (key,)):
            yield {"type": table, **{name: _readable(row[name]) for name in row.keys()}}  # noqa: SIM118

    yield from read("session", _SESSION, session_id)
    for message in read("message", _MESSAGES, session_id):
        yield message
        yield from read("part", _PARTS, str(message["id"]))


def _readable(value: object) -> str | int | float | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, int | float) else None


@contextmanager
def _opened(path: Path | str) -> Generator[sqlite3.Connection]:
    """The database, read only; texts come as bytes, since what claims to be UTF-8 may not be."""
    try:
        uri = f"{Path(path).absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=5)) as database:
            database.text_factory = bytes
            database.row_factory = sqlite3.Row
            yield database
    except sqlite3.Error as error:
        raise InvalidInput(
            f"{path} can't be read as OpenCode's database: {error}", code="transcript_unreadable"
        ) from None


class _Reader(TranscriptReader):
    def __init__(self) -> None:
        super().__init__()
        self._child = False
        self._session: str | None = None
        self._messages: dict[str, Record] = {}
        self._compaction: str | None = None
        self.handlers = {"session": self._start, "message": self._message, "part": self._part}

    def before(self, kind: str, record: Record) -> Iterator[Fact]:
        self.key = text(record.get("id")) or self.key
        self.at = moment_of(record.get("time_created")) or self.at
        if kind != "session" and not self.started:
            yield from self._start({})

    def _start(self, row: Record) -> Iterator[Fact]:
        if self.started:
            return
        self.started, self._session, parent = True, text(row.get("id")), text(row.get("parent_id"))
        self._child = parent is not None
        self.note({"cwd": text(row.get("directory")), "version": text(row.get("version"))})
        yield facts.SessionStarted(
            key="session",
            at=self.at,
            harness=HARNESS,
            harness_session_id=self._session,
            cwd=self.now("cwd"),
            git_branch=None,
            git_head=None,
            version=self.now("version"),
            model=None,
            source="subagent" if parent else None,
            parent_harness_session_id=parent,
        )

    def _message(self, row: Record) -> Iterator[Fact]:
        told, key = parse_object(text(row.get("data")) or ""), self.key
        remember(self._messages, key, told, limit=KEPT)
        model = text(told.get("modelID")) or text(fields(told.get("model")).get("modelID"))
        yield from self.change({"cwd": text(fields(told.get("path")).get("cwd")), "model": model})
        if fields(told.get("error")).get("name") == ABORTED:
            yield facts.Interrupted(key=f"{key}:interrupted", at=self.at, tool_call_id=None)

    def _part(self, row: Record) -> Iterator[Fact]:
        part, message_id = parse_object(text(row.get("data")) or ""), text(row.get("message_id")) or ""
        message, kind = self._messages.get(message_id, {}), part.get("type")
        if kind == "tool":
            yield from self._tool(part)
        elif kind == "compaction":
            self._compaction = "auto" if part.get("auto") is True else "manual"
        elif kind == "text" and part.get("synthetic") is not True and part.get("ignored") is not True:
            yield from self._text(message_id, message, text(part.get("text")))

    def _text(self, message_id: str, message: Record, words: str | None) -> Iterator[Fact]:
        if words and message.get("role") == "user":
            prompt = written_by_person(words)
            if prompt:
                yield self.prompt(prompt, "agent" if self._child else "user")
        elif words and message.get("summary") is True:
            trigger, self._compaction = self._compaction, None
            yield facts.ContextCompacted(
                key=f"{message_id}:compacted",
                at=self.at,
                trigger=trigger,
                tokens_before=None,
                tokens_after=None,
                summary=words,
            )
        elif words:
            yield facts.AssistantSaid(key=f"{self.key}:said", at=self.at, text=words)

    def _tool(self, part: Record) -> Iterator[Fact]:
        call = called(part, subagent=self._session if self._child else None, at=self.at)
        if call is None or not self.seen.first_time(f"call {call.tool_call_id}"):
            return
        yield call
        if (task := sent_off(call)) is not None:
            yield task
        yield from outcome(part, call, at=self.at)
