"""Ages, lengths of time and sizes in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from session_continuity.domain.measures import ago, duration, size


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-60, "in the future"),
        (-3, "0 s ago"),
        (0, "0 s ago"),
        (119, "119 s ago"),
        (120, "2 min ago"),
        (7_200, "2 h ago"),
        (7_500, "2 h 5 min ago"),
        (172_800, "2 d ago"),
    ],
)
def test_how_long_ago(seconds: int, shown: str) -> None:
    assert ago(datetime.now(UTC) - timedelta(seconds=seconds)) == shown


def test_a_time_that_never_was() -> None:
    assert ago(None) == "never"


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [(None, ""), (0, "0 ms"), (999, "999 ms"), (5_200, "5.2 s"), (9_000, "9 s"), (119_000, "119 s")],
)
def test_how_long(milliseconds: float | None, shown: str) -> None:
    assert duration(milliseconds) == shown


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(None, ""), (999, "999 B"), (1_000, "1.0 kB"), (123_456, "123 kB"), (-2.5e6, "-2.5 MB"), (3e13, "30.0 TB")],
)
def test_how_large(amount: float | None, shown: str) -> None:
    assert size(amount) == shown
