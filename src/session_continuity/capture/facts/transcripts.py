"""Reading a harness's JSON lines in bounded memory, and recognising whose they are."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import orjson

from session_continuity.capture.facts.facts import JSON, Problem, Record

MAX_LINE_BYTES = 64 * 1024 * 1024
"""A longer line is skipped and reported, so that one line can't fill the memory."""

Harness: TypeAlias = Literal["claude-code", "codex", "gemini-cli", "opencode"]

_CHUNK_BYTES = 256 * 1024
_DETECT_LINES = 50
_DETECT_BYTES = 64 * 1024
_SQLITE = b"SQLite format 3\0"


def names(several: str) -> frozenset[str]:
    """A set of names written as one text."""
    return frozenset(several.split())


_CLAUDE_TYPES = names(
    """user assistant system attachment summary queue-operation file-history-snapshot progress mode
    permission-mode last-prompt custom-title ai-title agent-name agent-setting atis-latch"""
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a file: `number` from 1, `offset` and `end` in bytes; `data` is empty when it was `too_long`.

    `ended` is False for a last line without its newline: it may still be being written.
    """

    number: int
    offset: int
    data: bytes
    end: int = 0
    ended: bool = True
    too_long: bool = False


def open_lines(
    path: Path | str, *, offset: int = 0, number: int = 0, max_line_bytes: int = MAX_LINE_BYTES
) -> Iterator[Line]:
    """Yield the lines of a file of any size; memory holds one chunk and one line. `offset` and `number` are where
    to read on: the bytes and the lines before."""
    with Path(path).open("rb", buffering=_CHUNK_BYTES) as file:
        file.seek(offset)
        while data := file.readline(max_line_bytes + 1):
            number += 1
            size, too_long = len(data), len(data) > max_line_bytes and not data.endswith(b"\n")
            ended = data.endswith(b"\n")
            while too_long and not ended and (rest := file.readline(_CHUNK_BYTES)):
                size += len(rest)
                ended = rest.endswith(b"\n")
            yield Line(
                number=number,
                offset=offset,
                data=b"" if too_long else data.rstrip(b"\r\n"),
                end=offset + size,
                ended=ended,
                too_long=too_long,
            )
            offset += size


def records(lines: Iterable[bytes | Line]) -> Iterator[tuple[int, Record | Problem]]:
    """Yield each line's number with its JSON object or the problem that hides it; blank lines are skipped."""
    for number, line in enumerate(lines, start=1):
        if isinstance(line, bytes):
            line = Line(number=number, offset=0, data=line)  # noqa: PLW2901
        if line.too_long:
            yield line.number, _broken(line.number, "longer than the limit for one line")
        elif line.data.strip():
            yield line.number, _parse(line)


def detect(path: Path | str) -> Harness | None:
    """Tell whose transcript a file is by its first records; None when no harness wrote it.

    A SQLite database is taken for OpenCode's; a JSON object over many lines for Gemini CLI's, if it says so.
    """
    with Path(path).open("rb") as file:
        head = file.read(_DETECT_BYTES)
    if head.startswith(_SQLITE):
        return "opencode"
    if head.partition(b"\n")[0].strip() == b"{" and (b'"projectHash"' in head or b'"gemini"' in head):
        return "gemini-cli"
    for _, record in records(_first(open_lines(path), _DETECT_LINES)):
        if isinstance(record, Problem):
            continue
        if "sessionId" in record and "projectHash" in record:
            return "gemini-cli"
        kind = text(record.get("type"))
        if kind in ("session_meta", "response_item", "event_msg", "turn_context") and "payload" in record:
            return "codex"
        if kind in _CLAUDE_TYPES and ("sessionId" in record or kind == "summary"):
            return "claude-code"
        if kind in _CLAUDE_TYPES and "timestamp" in record and ("message" in record or "attachment" in record):
            return "claude-code"
    return None


def moment(value: JSON) -> datetime | None:
    """An ISO 8601 text as an aware UTC time; a time without zone is taken as UTC."""
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def text(value: JSON) -> str | None:
    """The value when it is a text with something in it."""
    return value if isinstance(value, str) and value.strip() else None


def whole(value: JSON) -> int | None:
    """The value as a whole number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value < 2**53 else None


def fields(value: JSON) -> Record:
    """The value when it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def elements(value: JSON) -> list[JSON]:
    """The value when it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def parse_object(told: str) -> Record:
    """The object that a text holds as JSON, empty when it holds none."""
    try:
        return fields(cast(JSON, orjson.loads(told)))
    except orjson.JSONDecodeError:
        return {}


def parts_text(content: JSON) -> str:
    """The text of a message content: a plain string, or the texts of its parts joined by newlines."""
    if isinstance(content, str):
        return content
    texts = [text(fields(part).get("text")) for part in elements(content)]
    return "\n".join(part for part in texts if part)


class Recent:
    """The last `size` names seen: finds repeated records without remembering the whole file.

    A repetition further back is told twice, with the same key.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._seen: OrderedDict[str, None] = OrderedDict()

    def first_time(self, name: str) -> bool:
        """True when the name is new; it is remembered."""
        if name in self._seen:
            self._seen.move_to_end(name)
            return False
        self._seen[name] = None
        if len(self._seen) > self._size:
            self._seen.popitem(last=False)
        return True


def remember(table: dict[str, Any], name: str, value: Any, *, limit: int) -> None:
    """Put a value into a table that forgets its oldest entry beyond `limit`."""
    table.pop(name, None)
    table[name] = value
    if len(table) > limit:
        del table[next(iter(table))]


def _first(lines: Iterator[Line], count: int) -> Iterator[Line]:
    for line, _ in zip(lines, range(count), strict=False):
        yield line


def _broken(number: int, detail: str) -> Problem:
    return Problem(line=number, kind="broken_line", detail=detail)


def _parse(line: Line) -> Record | Problem:
    try:
        value = cast(JSON, orjson.loads(line.data))
    except orjson.JSONDecodeError as error:
        try:
            value = _parse_leniently(line.data)
        except (ValueError, RecursionError):
            unfinished = "" if line.ended else " (the last line has no end yet)"
            return _broken(line.number, f"not JSON: {str(error)[:200]}{unfinished}")
    if not isinstance(value, dict):
        return _broken(line.number, "not a JSON object")
    return value


def _parse_leniently(data: bytes) -> JSON:
    """What JavaScript writes and orjson refuses: half a surrogate pair (a cut emoji), stray bytes, NaN."""
    return _mended(json.loads(data.decode("utf-8", "replace"), parse_constant=lambda _: None))


def _mended(value: JSON) -> JSON:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, dict):
        return {key.encode("utf-8", "replace").decode(): _mended(item) for key, item in value.items()}
    return value
