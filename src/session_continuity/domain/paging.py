"""Pages of lists that go back in time, and the place where each begins."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeAlias

from session_continuity.domain.errors import InvalidInput
from session_continuity.domain.payload import check_time

Place: TypeAlias = datetime | tuple[datetime, Any]
"""Where the next page of a list begins: before a time, or before the row of that time and id, so that rows of
one time are not lost between two pages."""


def write_place(at: datetime, row_id: Any) -> str:
    """The cursor after a row: its time and id."""
    return f"{at.isoformat()},{row_id}"


def read_place(cursor: str | None) -> tuple[datetime, str] | None:
    """The place that a cursor names. Raises InvalidInput (cursor)."""
    if cursor is None:
        return None
    at, comma, row_id = cursor.partition(",")
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        raise _no_cursor() from None
    if not comma or not row_id or moment.tzinfo is None or "\0" in row_id:
        raise _no_cursor()
    return moment, row_id


def read_number(cursor: str | None) -> int | None:
    """The sequence number that a cursor names. Raises InvalidInput (cursor)."""
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdecimal()) or len(cursor) > 18:
        raise _no_cursor()
    return int(cursor)


def check_place(before: Place | None, lowest: Any) -> dict[str, Any]:
    """The parameters of a page: rows of the very time of `before` come after those with a higher id."""
    at, row_id = before if isinstance(before, tuple) else (before, lowest)
    try:
        row_id = type(lowest)(str(row_id))
    except ValueError:
        raise InvalidInput(f"{str(row_id)[:80]!r} is no id of a row of this list", code="before_id") from None
    return {"before": check_time("before", at), "before_id": row_id}


def check_limit(limit: int, highest: int = 10_000) -> int:
    if not 1 <= limit <= highest:
        raise InvalidInput(f"limit {limit} is not between 1 and {highest:,}", code="limit_range")
    return limit


def _no_cursor() -> InvalidInput:
    return InvalidInput("the cursor is none of this list; its first page has one", code="cursor")
