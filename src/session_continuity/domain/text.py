"""Captured text made safe to show: it is hostile input for terminals, pages and briefs."""

from __future__ import annotations

import re

_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
    "|[\U000e0000-\U000e0fff]"
)


def _escape(match: re.Match[str]) -> str:
    point = ord(match.group())
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def printable(text: str) -> str:
    """One line with control characters, escapes, line and paragraph separators and bidirectional and invisible
    marks shown as \\x1b, \\u202e and the like."""
    return _HIDDEN.sub(_escape, text)


def printable_lines(text: str) -> list[str]:
    """The lines of a text, by every line break that Unicode knows, each printable; tabs become spaces."""
    return [printable(line.replace("\t", "    ")) for line in text.splitlines()] or [""]


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters, the cut marked by an ellipsis."""
    return text if len(text) <= limit else text[: max(0, limit - 1)] + "…"
