"""The status line of Claude Code: what it shows, what it spools, and what it goes on showing."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from session_continuity import SessionContinuity
from session_continuity.capture.recorder.live import live_store
from session_continuity.capture.setup.installation import wanted_entries
from session_continuity.capture.spool.drain import drain
from session_continuity.capture.spool.spool import open_spool
from session_continuity.settings import load_settings

from .conftest import Continuity

SESSION = "52bad7e9-d1f6-4661-a579-9a7246a02d5d"


def status(percent: float | None = 42, **more: Any) -> str:
    window = {"used_percentage": percent, "context_window_size": 200_000}
    return json.dumps({"session_id": SESSION, "model": {"id": "m"}, "context_window": window, **more})


@pytest.fixture
def known(home: Path) -> Path:
    """What the drain has written of the session."""
    file = home / "statusline" / f"{SESSION}.json"
    file.parent.mkdir(parents=True)
    started = datetime.now(UTC) - timedelta(minutes=72)
    file.write_text(
        json.dumps({"instance_id": "shop-PS-abc123", "epic": "Pay by card", "started_at": started.isoformat()})
    )
    return file


def spooled(home: Path) -> list[str]:
    return [record.event for record in open_spool(load_settings(home=home)).pending()]


def test_it_shows_instance_epic_context_and_hours(offline: Continuity, known: Path) -> None:
    assert offline("statusline", "claude-code", stdin=status()).out == (
        "shop-PS-abc123 | Pay by card | 42 % | 1.2 h\n"
    )


def test_before_the_first_drain_it_says_so(offline: Continuity, home: Path) -> None:
    assert offline("statusline", "claude-code", stdin=status(None)).out == "not recorded yet | - | - % | - h\n"
    assert spooled(home) == []


def test_the_status_is_spooled_once_for_each_change(offline: Continuity, home: Path, known: Path) -> None:
    for percent in (None, 42, 42, 42.3, 43):
        offline("statusline", "claude-code", stdin=status(percent))
    offline("statusline", "claude-code", stdin=status(43, model={"id": "other"}))
    assert spooled(home) == ["Status"] * 3


def test_the_user_s_own_line_stays_above(offline: Continuity, known: Path) -> None:
    theirs = 'printf "\\033[31m"; cat | grep -o \'"id": "m"\'; printf "no end"'
    answer = offline("statusline", "claude-code", "--wrap", theirs, stdin=status())
    lines = answer.out.splitlines()
    assert lines[:2] == ['\x1b[31m"id": "m"', "no end"]
    assert lines[2].startswith("shop-PS-abc123 |")


@pytest.mark.parametrize("theirs", ["exit 3", "echo wrong >&2; false", "no-such-program"])
def test_a_line_of_the_user_s_that_fails_does_not_take_ours_away(
    offline: Continuity, known: Path, theirs: str
) -> None:
    answer = offline("statusline", "claude-code", "--wrap", theirs, stdin=status())
    assert (answer.code, answer.out.split(" |")[0]) == (0, "shop-PS-abc123")


def test_a_line_of_the_user_s_that_hangs_is_ended(
    offline: Continuity, known: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("session_continuity.capture.recorder.statusline._WRAPPED_SECONDS", 0.2)
    answer = offline("statusline", "claude-code", "--wrap", "echo first; sleep 100", stdin=status())
    assert [line.split(" |")[0] for line in answer.out.splitlines()] == ["first", "shop-PS-abc123"]


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "not json",
        "[]",
        '{"session_id": "../../../etc/passwd"}',
        '{"session_id": 7}',
        status(True),
        status(101),
        status(None, context_window="full"),
        "[" * 100_000,
    ],
)
def test_whatever_it_is_given_it_prints_a_line_and_fails_nothing(
    offline: Continuity, home: Path, payload: str
) -> None:
    answer = offline("statusline", "claude-code", stdin=payload)
    assert (answer.code, answer.out.count("\n"), answer.err) == (0, 1, "")
    assert not (home / "spool").exists() or spooled(home) == []


def test_a_spool_that_can_not_be_used_takes_no_line_away(offline: Continuity, home: Path, known: Path) -> None:
    (home / "spool").write_text("in the way")
    answer = offline("statusline", "claude-code", stdin=status())
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("shop-PS-abc123 |")


def test_hostile_text_can_not_reach_the_terminal(offline: Continuity, known: Path) -> None:
    known.write_text(json.dumps({"instance_id": "a\x1b[2J", "epic": "x\ny\u202e" * 50, "started_at": "\x07"}))
    out = offline("statusline", "claude-code", stdin=status()).out
    assert (out.count("\n"), "\x1b" in out, "\u202e" in out) == (1, False, False)


def test_the_installed_command_is_that_line_and_asks_no_database(home: Path, known: Path) -> None:
    words = wanted_entries(load_settings(home=home), "claude-code").status_line
    done = subprocess.run(
        [*words, "--wrap", "echo theirs"],
        input=status().encode(),
        capture_output=True,
        timeout=60,
        check=True,
        env={"PATH": "/usr/bin:/bin", "CONTINUITY_DSN": "host=/no/such/folder"},
    )
    assert done.stdout.decode().splitlines() == ["theirs", "shop-PS-abc123 | Pay by card | 42 % | 1.2 h"]
    assert done.stderr == b""
    assert spooled(home) == ["Status"]


def test_the_drain_tells_who_a_session_is_and_forgets_it_at_its_end(
    offline: Continuity, home: Path, client: SessionContinuity
) -> None:
    settings = load_settings(home=home)
    spool = open_spool(settings)
    local = SessionContinuity(dataclasses.replace(client.settings, home=home))
    told = {"session_id": SESSION, "cwd": str(home)}
    for event, more in (("SessionStart", {"source": "startup"}), ("UserPromptSubmit", {"prompt": "go"})):
        spool.put("claude-code", event, json.dumps({**told, "hook_event_name": event, **more}).encode())
    drain(spool, live_store(local))
    (session,) = client.find_sessions()
    shown = offline("statusline", "claude-code", stdin=status()).out
    assert shown == f"{session.instance_id} | - | 42 % | 0.0 h\n"
    spool.put("claude-code", "SessionEnd", json.dumps({**told, "reason": "exit"}).encode())
    drain(spool, live_store(local))
    assert list((home / "statusline").iterdir()) == []
    local.close()
