"""Lengths of time as people and agents write them: 250ms, 5s, 30m, 2h, 7d or a sum like 1h30m."""

from __future__ import annotations

import re
from datetime import timedelta

from session_continuity.domain.errors import InvalidInput

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
_WHOLE = re.compile(r"(\d{1,9}(\.\d{1,6})?(ms|[smhdw])){1,12}", re.ASCII)


def parse_duration(text: str) -> timedelta:
    """The length of time. Raises InvalidInput (duration)."""
    if not _WHOLE.fullmatch(text):
        raise InvalidInput(
            f"{text[:80]!r} is not a duration; write 250ms, 5s, 30m, 2h, 7d or 1h30m", code="duration"
        )
    parts = re.findall(r"([\d.]+)(ms|[smhdw])", text)
    try:
        return timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in parts))
    except OverflowError:
        raise InvalidInput(f"{text[:80]!r} is too long", code="duration") from None
