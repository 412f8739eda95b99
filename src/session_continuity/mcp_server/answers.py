"""Answers: the whole object as structured content, and beside it a text short enough for a model to read.

Captured text in a line is quoted and made printable, so that it can neither begin a line of its own nor hide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple, cast

import orjson

from session_continuity.domain.errors import InvalidInput
from session_continuity.domain.payload import storable
from session_continuity.domain.text import printable, shorten

PAGE_BYTES = 48_000
"""A page ends here, whatever its limit: clients cut answers of more than some 25,000 tokens."""

SHORT, LONG = 160, 20_000
"""Most characters of a value in the text: as it is shown by itself, and when its field was asked for."""


class Answer(NamedTuple):
    """What a tool answers."""

    text: str
    document: dict[str, Any]


def record_answer(record: Any, shown: Sequence[str], only: Sequence[str] | None = None) -> Answer:
    """One record: its fields `shown` as text, or those asked for with `only`, which then are all of the answer."""
    document = plain(record)
    if only is not None:
        document = _only(document, only, fields_of(record))
    width = SHORT if only is None or only is shown else LONG
    return Answer(line(document, only or shown, width), document)


def page_answer(
    name: str,
    found: Sequence[Any],
    limit: int,
    cursor: Callable[[Any], str],
    shown: Sequence[str],
    only: Sequence[str] | None = None,
    *,
    known: Sequence[str],
) -> Answer:
    """A page of records under `name`, of each the fields `known`. `found` holds one more than `limit` when there
    are more; the page also ends when it gets too large. Raises InvalidInput (fields)."""
    names = known if only is None else _check(only, known)
    documents: list[dict[str, Any]] = []
    size = 0
    for record in found[:limit]:
        whole = plain(record)
        document = {name: whole[name] for name in names if name in whole}
        size += len(orjson.dumps(document))
        if documents and size > PAGE_BYTES:
            break
        documents.append(document)
    answer: dict[str, Any] = {name: documents}
    width = SHORT if only is None else LONG
    lines = [line(document, only or shown, width) for document in documents]
    if not documents:
        lines.append(f"no {name}")
    if len(documents) < len(found):
        answer["next_cursor"] = cursor(found[len(documents) - 1])
        lines.append(f"more: cursor={answer['next_cursor']}")
    return Answer("\n".join(lines), answer)


def document_answer(
    document: dict[str, Any], text: str, only: Sequence[str] | None = None, *, names: Iterable[str] = ()
) -> Answer:
    """An answer that is no record: its own text, or the members asked for with `only`."""
    whole = plain(document)
    if only is None:
        return Answer(text, whole)
    kept = _only(whole, only, names or whole)
    return Answer(line(kept, only, LONG), kept)


def line(document: dict[str, Any], names: Sequence[str], width: int = SHORT) -> str:
    """A record as one line: name=value for those that have one."""
    return " ".join(f"{name}={_shown(document[name], width)}" for name in names if name in document)


def quote(text: str, width: int = SHORT) -> str:
    """Captured text as one short line."""
    return printable(shorten(" ".join(text[: 10 * width].split()), width))


def plain(record: Any) -> dict[str, Any]:
    """A record as JSON values, without the fields that have no value."""
    document = {name: value for name, value in _members(record).items() if value is not None}
    try:
        return orjson.loads(orjson.dumps(document, default=_plain))
    except TypeError:  # plain SQL can store numbers that other readers refuse
        return orjson.loads(orjson.dumps(storable(document), default=_plain))


def fields_of(record: Any) -> tuple[str, ...]:
    """The names of a record's fields."""
    return tuple(cast("dict[str, Any]", record)) if isinstance(record, dict) else _names(record.__class__)


@cache
def _names(kind: Any) -> tuple[str, ...]:
    if is_dataclass(kind):
        return tuple(field.name for field in fields(kind))
    return (*kind._fields, "cursor") if hasattr(kind, "cursor") else kind._fields


def _members(record: Any) -> dict[str, Any]:
    if isinstance(record, dict):
        return cast("dict[str, Any]", record)
    return {name: getattr(record, name) for name in _names(record.__class__)}


def _plain(value: Any) -> Any:
    if hasattr(value, "_asdict") or (is_dataclass(value) and not isinstance(value, type)):
        return _members(value)
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _only(document: dict[str, Any], only: Sequence[str], known: Iterable[str]) -> dict[str, Any]:
    return {name: document[name] for name in _check(only, known) if name in document}


def _check(only: Sequence[str], known: Iterable[str]) -> Sequence[str]:
    names = list(known)
    for name in only:
        if name not in names:
            raise InvalidInput(f"there is no field {name[:60]!r}; there are: {', '.join(names)}", code="fields")
    return only


def _shown(value: Any, width: int) -> str:
    if isinstance(value, str):
        text = quote(value, width) if width == SHORT else printable(shorten(value, width))
        return text if text and " " not in text and '"' not in text else orjson.dumps(text).decode()
    if isinstance(value, bool | int | float):
        return orjson.dumps(value).decode()
    return printable(shorten(orjson.dumps(value).decode(), width))


def moment(value: datetime) -> str:
    """A time for a line of ours."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
