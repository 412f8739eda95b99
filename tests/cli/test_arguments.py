"""Times, durations and numbers as people type them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
import pytest

from session_continuity.cli.arguments import DURATION, NUMBER, TIME


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("5s", 5),
        ("30m", 1_800),
        ("2h", 7_200),
        ("7d", 604_800),
        ("1w", 604_800),
        ("1h30m", 5_400),
        ("1.5h", 5_400),
    ],
)
def test_a_duration_has_units(text: str, seconds: float) -> None:
    assert DURATION.convert(text, None, None) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5", "-5s", "5 s", "5x", "s", "5s!", "٥s", "999999999w", "1e3s"])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter):
        DURATION.convert(text, None, None)


def test_a_time_is_iso_8601_or_how_long_ago() -> None:
    assert TIME.convert("2026-01-28T10:00:00+02:00", None, None) == datetime(2026, 1, 28, 8, tzinfo=UTC)
    assert TIME.convert("2026-01-28T08:00:00Z", None, None) == datetime(2026, 1, 28, 8, tzinfo=UTC)
    local = TIME.convert("2026-01-28 10:00", None, None)
    assert local == datetime(2026, 1, 28, 10).astimezone()
    assert local.tzinfo is not None
    ago = datetime.now(UTC) - TIME.convert("2h", None, None)
    assert abs(ago - timedelta(hours=2)) < timedelta(minutes=1)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "99999999w", "2026-01-28T25:00"])
def test_anything_else_is_no_time(text: str) -> None:
    with pytest.raises(click.BadParameter):
        TIME.convert(text, None, None)


@pytest.mark.parametrize("text", ["-1", "x", "", str(2**63), "9" * 5_000, "1.0"])
def test_a_number_fits_the_database(text: str) -> None:
    with pytest.raises(click.BadParameter):
        NUMBER.convert(text, None, None)
