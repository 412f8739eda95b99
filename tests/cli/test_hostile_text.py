"""Captured text is hostile: nothing of it may act on a terminal, whichever command prints it."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import unicodedata

import psycopg
import pytest

from .conftest import INSTANCE, Continuity

NASTY = (
    "red \x1b[31m bell \a back \b return \r\n line csi \x9b31m bidi \u202e\u2066 "
    "sep \u2028\u2029 del \x7f zero \u200b tag \U000e0041 end"
)
LONG = NASTY + " and on " * 1_250
SHOWN = (
    ["sessions", "list"],
    ["sessions", "show", INSTANCE],
    ["sessions", "heartbeat", INSTANCE],
    ["commands", "search"],
    ["events", "list", INSTANCE],
    ["events", "find", "note_recorded"],
    ["events", "replay", INSTANCE],
    ["checkpoints", "list"],
    ["checkpoints", "latest", INSTANCE],
    ["checkpoints", "verify", INSTANCE],
    ["timeline", INSTANCE],
    ["resume", "last", "--dry-run"],
    ["fork", "last"],
    ["commands", "record", INSTANCE, "x", NASTY],
    ["sessions", "show", NASTY],
    ["resume", NASTY],
    ["events", "find", NASTY],
    ["sessions", "list", "--limit", NASTY],
    ["sessions", NASTY],
    [NASTY],
)


@pytest.fixture
def captured(continuity: Continuity, database: str) -> Continuity:
    """A session whose every free field holds hostile text."""
    made = continuity(
        "sessions",
        "register",
        NASTY,
        "--instance-id",
        INSTANCE,
        "--epic",
        NASTY,
        "--cwd",
        "/tmp",
        "--harness",
        NASTY,
        "--harness-session-id",
        LONG[:4_000],
        "--metadata",
        json.dumps({NASTY: LONG}),
        "--json",
    )
    assert made.code == 0, made
    for kind in ("prompt_submitted", "note_recorded"):
        continuity("events", "append", INSTANCE, kind, "-", stdin=json.dumps({"text": LONG, NASTY: [NASTY]}))
    continuity(
        "commands",
        "record",
        INSTANCE,
        NASTY,
        NASTY,
        "--tool",
        NASTY,
        "--parameters",
        json.dumps({NASTY: LONG}),
        "--outcome",
        "failure",
        "--error",
        LONG,
        "--tag",
        NASTY,
        "--tool-call-id",
        NASTY,
        "--result",
        json.dumps(NASTY),
    )
    continuity("commands", "record", INSTANCE, "shell", NASTY + "in flight")
    assert continuity("checkpoints", "take", INSTANCE, "--reason", NASTY, "--json").code == 0
    return continuity


def test_no_command_prints_a_raw_control_character(captured: Continuity) -> None:
    for arguments in SHOWN:
        for arguments_with in (arguments, [*arguments, "--json"]):
            answer = captured(*arguments_with)
            assert acting(answer.out) == set(), (arguments_with, acting(answer.out))
            assert acting(answer.err) == set(), (arguments_with, acting(answer.err))


def test_programs_get_the_text_unchanged(captured: Continuity) -> None:
    session = captured("sessions", "show", INSTANCE, "--json").document
    assert (session["project"], session["current_epic"]) == (NASTY, NASTY)
    assert session["metadata"] == {NASTY: LONG}
    events = captured("events", "list", INSTANCE, "--json").document
    assert events[1]["event_data"]["text"] == LONG


def test_tables_stay_narrow(captured: Continuity) -> None:
    for arguments in (["sessions", "list"], ["commands", "search"], ["timeline", INSTANCE]):
        lines = captured(*arguments).out.splitlines()
        assert len(lines) > 1
        assert max(map(len, lines)) < 1_000


def test_plain_sql_rows_are_hostile_too(continuity: Continuity, session: str, database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO checkpoints (instance_id, checkpoint_type, sequence_num, work_state, metadata)"
            " VALUES (%s, 'manual', 1, %s::jsonb, %s::jsonb)",
            (session, json.dumps([NASTY]), json.dumps(NASTY)),
        )
        connection.execute(
            "INSERT INTO event_store (instance_id, event_type, sequence_num, event_data)"
            " VALUES (%s, %s, 2, %s::jsonb)",
            (session, "note_recorded", json.dumps(NASTY)),
        )
    for arguments in SHOWN[:11]:
        answer = continuity(*arguments)
        assert answer.code in (0, 1), (arguments, answer.err)
        assert "internal" not in answer.err
        assert acting(answer.out + answer.err) == set()


@pytest.mark.parametrize("colour", [True, False])
def test_a_terminal_gets_only_our_own_codes(captured: Continuity, colour: bool) -> None:
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"} | (
        {} if colour else {"NO_COLOR": "1"}
    )
    for arguments in (["sessions", "list"], ["commands", "search"], ["sessions", "show", NASTY]):
        drawn = on_a_terminal(arguments, environment)
        if not colour:
            assert "\x1b" not in drawn
        own = re.sub(r"\x1b\[(0|1|31)m", "", drawn.replace("\r\n", "\n"))
        assert acting(own) == set()


def on_a_terminal(arguments: list[str], environment: dict[str, str]) -> str:
    """What the command prints when both its streams are one terminal."""
    ours, theirs = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-m", "session_continuity", *arguments], stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    read = bytearray()
    try:
        while part := os.read(ours, 65_536):
            read += part
    except OSError:  # the terminal is closed
        pass
    os.close(ours)
    done.wait(timeout=30)
    return read.decode()


def acting(text: str) -> set[str]:
    """The characters of an output that could act on a terminal or hide what they stand for."""
    return {c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs")}
