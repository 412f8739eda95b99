"""Cursors of pages: the place of the last row seen. Opaque to agents, and checked as any other input."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from session_continuity.domain.errors import InvalidInput


def write_place(at: datetime, row_id: Any) -> str:
    """The cursor after a row of a list that goes back in time."""
    return f"{at.isoformat()},{row_id}"


def read_place(cursor: str | None) -> tuple[datetime, str] | None:
    """The place that a cursor names. Raises InvalidInput (cursor)."""
    if cursor is None:
        return None
    at, comma, row_id = cursor.partition(",")
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        raise bad_cursor() from None
    if not comma or not row_id or moment.tzinfo is None or "\0" in row_id:
        raise bad_cursor()
    return moment, row_id


def read_number(cursor: str | None) -> int | None:
    """The sequence number that a cursor names. Raises InvalidInput (cursor)."""
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdecimal()) or len(cursor) > 18:
        raise bad_cursor()
    return int(cursor)


def bad_cursor() -> InvalidInput:
    return InvalidInput("the cursor is none of this list", code="cursor")
