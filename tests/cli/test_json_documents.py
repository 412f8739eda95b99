"""Every command prints exactly one JSON document with --json, and everything else on standard error."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from session_continuity.capture.spool.spool import open_spool
from session_continuity.settings import load_settings

from .conftest import Continuity, leaves

S = "consilio-PS-abc123"
RECORD = "codex@Stop@7@8-0123456789ab"
TRANSCRIPTS = Path(__file__).parents[1] / "capture" / "fixtures"

RUNS: dict[str, list[str]] = {
    "init": ["--agent", "codex", "--dry-run"],
    "doctor": ["--no-probe"],
    "statusline claude-code": [],
    "sessions list": [],
    "sessions show": [S],
    "sessions family": [S],
    "sessions register": ["other"],
    "sessions heartbeat": [S],
    "sessions close": [S],
    "sessions sweep": [],
    "sessions hold": [S, "--reason", "case 7"],
    "sessions release": [S, "--reason", "case 7 is closed"],
    "sessions export": [S, "--output", os.devnull, "--force"],
    "sessions forget": [S, "--yes"],
    "commands search": [],
    "commands list": [],
    "commands show": [S, "--tool-call-id", "t1"],
    "commands record": [S, "shell", "make"],
    "commands outcome": [S, "success", "--tool-call-id", "t1"],
    "events append": [S, "note_recorded", '{"text": "x"}'],
    "events note": [S, "x", "--kind", "decision"],
    "events list": [S],
    "events find": ["note_recorded"],
    "events types": [],
    "events replay": [S],
    "checkpoints take": [S],
    "checkpoints list": [],
    "checkpoints show": ["CHECKPOINT"],
    "checkpoints latest": [S],
    "checkpoints verify": [S],
    "checkpoints compare": ["CHECKPOINT", "CHECKPOINT"],
    "timeline": [S],
    "standup": ["consilio-s"],
    "status": [],
    "coverage": [S],
    "resume": ["last"],
    "fork": ["last"],
    "rewind": [S, "1"],
    "import claude-code": [str(TRANSCRIPTS / "claude_2_1.jsonl")],
    "import codex": [str(TRANSCRIPTS / "codex_0_169.jsonl")],
    "import gemini-cli": [str(TRANSCRIPTS / "gemini_0_61.jsonl")],
    "import opencode": [str(TRANSCRIPTS / "nothing.db")],
    "import rules check": [],
    "redact check": [str(TRANSCRIPTS / "claude_2_1.jsonl")],
    "spool list": [],
    "spool show": [RECORD],
    "spool retry": [RECORD],
    "spool drop": [RECORD, "--yes"],
    "services list": [],
    "services run": ["automatic_checkpoints"],
    "heartbeat run": ["--pid", "1", "--session", "nobody-PS-000000"],
    "archive plan": [],
    "archive run": [],
    "archive list": [],
    "archive show": ["nothing-20260101000000-00000000"],
    "archive verify": [],
    "archive restore": ["nothing-20260101000000-00000000"],
    "archive search": ["needle"],
    "search": ["consilio"],
    "alerts list": [],
    "alerts ack": ["0190a000-0000-7000-8000-000000000000"],
    "alerts test": [],
    "audit list": [],
    "dashboard": ["--person", ""],
    "serve": ["--status"],
    "forward": ["--to", "https://build.example"],
    "mcp config": ["cursor"],
    "tokens create": ["--scope", "read", "--name", "build"],
    "tokens list": [],
    "tokens revoke": ["build"],
    "db upgrade": [],
    "db downgrade": ["--to", "overview"],
    "db status": [],
    "db url": [],
    "db stop": [],
    "db verify": [],
    "db deploy": [],
    "settings show": [],
    "completion": ["bash"],
}
REFUSED = {
    "doctor": 1,
    "sessions forget": 1,
    "import opencode": 2,
    "db stop": 1,
    "db deploy": 2,
    "forward": 2,
    "coverage": 2,
    "heartbeat run": 3,
    "alerts ack": 3,
    "dashboard": 2,
    "archive show": 3,
    "archive restore": 3,
}
"""What can't be done with the database of a test, and its exit code; the answer is a document all the same."""


def test_every_command_is_run_below() -> None:
    assert {" ".join(path) for path, _ in leaves()} == RUNS.keys()


def test_every_command_answers_with_one_document(continuity: Continuity, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, arguments in RUNS.items():
        if name == "db deploy":
            monkeypatch.delenv("CONTINUITY_DSN")
        prepare(continuity) if name.split()[0] not in ("db", "settings", "completion") else None
        answer = continuity(
            *name.split(), *(checkpoint(continuity) if a == "CHECKPOINT" else a for a in arguments), "--json"
        )
        assert answer.out.endswith("\n")
        assert answer.out.count("\n") == 1, name
        json.loads(answer.out)
        assert answer.code == REFUSED.get(name, 0), (name, answer)


def test_json_may_stand_before_the_command(continuity: Continuity, session: str) -> None:
    for arguments in (
        ["--json", "sessions", "list"],
        ["sessions", "--json", "list"],
        ["sessions", "list", "--json"],
    ):
        assert continuity(*arguments).document[0]["instance_id"] == session


def test_options_may_stand_anywhere(offline: Continuity, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in (
        ["--dsn", database, "sessions", "list", "--json"],
        ["sessions", "--dsn", database, "list", "--json"],
        ["sessions", "list", "--dsn", database, "--json"],
    ):
        assert offline(*arguments).document == []
    monkeypatch.setenv("CONTINUITY_DSN", "host=/nowhere")
    assert offline("sessions", "list", "--dsn", database, "--json").document == []
    assert offline("--dsn", "host=/nowhere", "sessions", "list", "--dsn", database, "--json").document == []


@pytest.mark.parametrize("path", [" ".join(path) for path, _ in leaves()])
def test_a_wrong_option_is_one_document_too(offline: Continuity, path: str) -> None:
    answer = offline(*path.split(), "--no-such-option", "--json")
    assert (answer.code, answer.document["error"]) == (2, "usage")
    assert answer.err == ""


def prepare(continuity: Continuity) -> None:
    """A session under the known id with a command in flight, whoever was fenced or closed before."""
    continuity("db", "downgrade", "--yes", "--json")
    continuity("db", "upgrade", "--json")
    continuity("sessions", "register", "consilio-s", "--instance-id", S, "--json")
    continuity("commands", "record", S, "shell", "make", "--tool-call-id", "t1", "--json")
    continuity("checkpoints", "take", S, "--json")
    spool = open_spool(load_settings())
    spool.put("codex", "Stop", b"{}", name=RECORD)
    spool.quarantine(RECORD, "payload_not_json", "not JSON")


def checkpoint(continuity: Continuity) -> str:
    return continuity("checkpoints", "latest", S, "--json").document["checkpoint_id"]
