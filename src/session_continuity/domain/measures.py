"""Ages, lengths of time and sizes, in the words that people read."""

from __future__ import annotations

from datetime import UTC, datetime


def ago(moment: datetime | None) -> str:
    """How long ago a time is, in one or two units."""
    if moment is None:
        return "never"
    seconds = round((datetime.now(UTC) - moment).total_seconds())
    if seconds < -5:
        return "in the future"
    return "0 s ago" if seconds < 1 else f"{duration(seconds * 1_000)} ago"


def duration(milliseconds: float | None) -> str:
    """A length of time in one or two units: 340 ms, 5.2 s, 3 min, 2 h 5 min, 4 d."""
    if milliseconds is None:
        return ""
    if milliseconds < 1_000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1_000
    if seconds < 10 and milliseconds % 1_000:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, hours = int(seconds // 60), int(seconds // 3_600)
    if minutes < 120:
        return f"{minutes} min"
    if hours < 48:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    return f"{hours // 24} d"


def size(amount: float | None) -> str:
    """Bytes in decimal units."""
    if amount is None:
        return ""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(amount) < 1_000:
            return f"{amount:.0f} {unit}" if unit == "B" or abs(amount) >= 100 else f"{amount:.1f} {unit}"
        amount /= 1_000
    return f"{amount:.1f} TB"
