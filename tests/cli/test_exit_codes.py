"""Exit codes, and which stream says what."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from session_continuity.cli.failures import exit_code
from session_continuity.domain import errors

from .conftest import Continuity


def test_each_family_of_errors_has_its_code() -> None:
    families = {
        1: (errors.SessionContinuityError, errors.Refused),
        2: (errors.InvalidInput, errors.Ambiguous),
        3: (errors.NotFound,),
        4: (errors.Unavailable, errors.DeadlineExceeded),
        5: (errors.Conflict, errors.Fenced, errors.SequenceConflict, errors.OperationConflict),
    }
    for code, members in families.items():
        for family in members:
            assert exit_code(family("x")) == code


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["sessions", "show", "consilio-PS-zzzzzz"], 3, "not_found"),
        (["sessions", "show", "no id"], 2, "instance_id_format"),
        (["sessions", "register", "p", "--instance-id", "consilio-PS-abc123"], 5, "instance_id_taken"),
        (["sessions", "register", "p", "--type", "XX"], 2, "usage"),
        (["sessions", "list", "--limit", "0"], 2, "limit_range"),
        (["sessions", "list", "--limit", "many"], 2, "usage"),
        (["sessions", "list", "--silent-for", "soon"], 2, "usage"),
        (["sessions", "heartbeat", "consilio-PS-abc123", "--context-percent", "101"], 2, "usage"),
        (["events", "append", "consilio-PS-abc123", "no_such_type", "{}"], 2, "event_type_enum"),
        (["events", "append", "consilio-PS-zzzzzz", "note_recorded", "{}"], 3, "not_found"),
        (["events", "list", "consilio-PS-zzzzzz"], 3, "not_found"),
        (["commands", "outcome", "consilio-PS-abc123", "success"], 2, "command_unnamed"),
        (["commands", "outcome", "consilio-PS-abc123", "success", "--command-id", "7"], 3, "command_not_found"),
        (["checkpoints", "latest", "consilio-PS-abc123"], 3, "not_found"),
        (["checkpoints", "show", "00000000-0000-0000-0000-000000000000"], 3, "not_found"),
        (["timeline", "consilio-PS-abc123", "--after", "x"], 2, "cursor"),
        (["coverage", "consilio-PS-abc123"], 2, "not_captured"),
        (["coverage", "consilio-PS-zzzzzz"], 3, "not_found"),
        (["spool", "show", "nothing"], 3, "record_not_found"),
        (["spool", "retry", "../../etc/passwd"], 3, "record_not_found"),
        (["spool", "drop"], 2, "usage"),
        (["db", "stop"], 1, "server_not_ours"),
        (["db", "downgrade", "--to", "nothing", "--yes"], 2, "migration_unknown"),
        (["import", "codex", "/no/such/file"], 2, "usage"),
        (["sessions"], 2, "usage"),
        (["nonsense"], 2, "usage"),
        ([], 2, "usage"),
    ],
)
def test_a_failure_has_its_code_and_one_line_or_one_document(
    continuity: Continuity, session: str, arguments: list[str], code: int, error: str
) -> None:
    for_programs = continuity(*arguments, "--json")
    assert (for_programs.code, for_programs.document["error"]) == (code, error)
    assert for_programs.document["message"]
    assert for_programs.err == ""
    for_people = continuity(*arguments)
    assert (for_people.code, for_people.out) == (code, "")
    if arguments not in ([], ["sessions"]):
        assert for_people.err.startswith("error: ")
        assert for_people.err.count("\n") == 1


def test_the_process_ends_with_the_code(
    process: Continuity, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTINUITY_DSN", database)
    done = process("sessions", "register", "p", "--json")
    assert (done.code, done.err) == (0, "")
    instance_id = done.document["instance_id"]
    assert process("sessions", "show", "p-PS-zzzzzz").code == 3
    assert process("resume", instance_id).code == 0
    fenced = process("events", "append", instance_id, "note_recorded", "-", stdin="{}")
    assert (fenced.code, fenced.out) == (5, "")
    assert "taken over" in fenced.err


def test_an_unreachable_database_is_told_at_once(process: Continuity) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        for dsn in (f"host=127.0.0.1 port={closed.getsockname()[1]}", "host=/no/such/folder"):
            started = time.monotonic()
            answer = process("--dsn", dsn, "sessions", "list", "--json")
            assert (answer.code, answer.document["error"]) == (4, "unavailable")
            assert time.monotonic() - started < 5
            assert "Traceback" not in answer.err


def test_a_database_without_tables_says_what_to_run(offline: Continuity, empty_database: str) -> None:
    answer = offline("--dsn", empty_database, "sessions", "list")
    assert answer.code == 1
    assert "continuity db upgrade" in answer.err


def test_a_bad_dsn_or_settings_file_is_no_traceback(offline: Continuity, home: Path) -> None:
    answer = offline("--dsn", "nonsense", "sessions", "list", "--json")
    assert answer.code in (1, 2), answer
    assert answer.document["message"]
    home.mkdir()
    (home / "settings.toml").write_text("dsn = 3")
    answer = offline("sessions", "list", "--json")
    assert (answer.code, answer.document["error"]) == (2, "settings")


@pytest.mark.parametrize("arguments", [["sessions", "list"], ["sessions", "register"], ["sessions", "show"]])
def test_an_argument_that_is_no_text_is_refused(continuity: Continuity, arguments: list[str]) -> None:
    given = "--project" if arguments[-1] == "list" else ""
    answer = continuity(*arguments, *filter(None, [given]), "caf\udce9", "--json")
    assert answer.code == 2
    assert answer.document["error"] in ("text_lone_surrogate", "instance_id_format")


def test_an_unexpected_error_is_one_document(offline: Continuity, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("a \x1b[31mdefect")

    monkeypatch.setattr("session_continuity.settings.load_settings", fail)
    answer = offline("settings", "show", "--json")
    assert (answer.code, answer.document["error"]) == (1, "internal")
    people = offline("settings", "show")
    assert people.code == 1
    assert "\x1b" not in people.err
    assert "Traceback" not in people.err
    monkeypatch.setenv("CONTINUITY_DEBUG", "1")
    assert "Traceback" in offline("settings", "show").err


def test_ctrl_c_ends_with_130(home: Path) -> None:
    interrupted = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored where a shell runs us behind
        "from session_continuity.cli import arguments\n"
        "def wait(name):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(10)\n"
        "arguments.read_stdin = wait\n"
        "from session_continuity.__main__ import main\n"
        "sys.argv = ['continuity', 'events', 'append', 'p-PS-abc123', 'note_recorded', '-']\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", interrupted], capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (130, b"")
    assert done.stderr.strip() == b"error: interrupted"


def test_a_reader_that_leaves_is_no_error_message(process: Continuity) -> None:
    environment = dict(os.environ)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "session_continuity", "events", "types", "--json"],
        stdout=writer,
        stderr=subprocess.PIPE,
        env=environment,
        timeout=30,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_an_error(home: Path, unbuffered: str) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "session_continuity", "events", "types"],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"No space left" in done.stderr


def test_one_process_may_run_several_commands(offline: Continuity) -> None:
    for _ in range(2):
        assert offline("events", "types", "--json").document
        assert offline("events", "types").out.startswith("EVENT TYPE")
