"""Transcripts and derivation rules, from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.capture.opencode_database import make

from .conftest import Continuity

FIXTURES = Path(__file__).parents[1] / "capture" / "fixtures"
CLAUDE, CODEX = FIXTURES / "claude_2_1.jsonl", FIXTURES / "codex_0_169.jsonl"
GEMINI, GEMINI_OBJECT = FIXTURES / "gemini_0_61.jsonl", FIXTURES / "gemini_one_object.json"


@pytest.mark.parametrize(
    ("harness", "file"),
    [("claude-code", CLAUDE), ("codex", CODEX), ("gemini-cli", GEMINI), ("gemini-cli", GEMINI_OBJECT)],
)
def test_a_transcript_is_imported_once(continuity: Continuity, harness: str, file: Path) -> None:
    first = continuity("import", harness, str(file), "--project", "shop", "--json").document
    assert (first[0]["file"], first[0]["project"]) == (str(file), "shop")
    assert first[0]["events_added"] > 0
    again = continuity("import", harness, str(file), "--json").document
    assert (again[0]["instance_id"], again[0]["events_added"]) == (first[0]["instance_id"], 0)
    assert continuity("resume", first[0]["instance_id"], "--dry-run").code == 0


def test_every_session_in_opencodes_database_is_imported_once(continuity: Continuity, tmp_path: Path) -> None:
    database = make(tmp_path / "opencode.db")
    first = continuity("import", "opencode", str(database), "--json").document
    assert [(entry["harness_session_id"], entry["project"]) for entry in first] == [
        ("ses_1", "shop"), ("ses_2", "shop"),
    ]  # fmt: skip
    assert (first[0]["commands"], first[0]["in_flight"], first[0]["problems"]) == (7, 1, {})
    child = continuity("sessions", "show", first[1]["instance_id"], "--json").document
    assert (child["parent_instance_id"], child["relation"]) == (first[0]["instance_id"], "spawned")
    files = continuity("events", "list", first[0]["instance_id"], "--type", "files_changed", "--json").document
    assert [file for event in files for file in event["event_data"]["files"]] == [
        {"path": "tax.js", "change": "created"}
    ]
    again = continuity("import", "opencode", str(database), "--json").document
    assert [entry["events_added"] for entry in again] == [0, 0]


def test_a_file_that_is_no_database_is_named(continuity: Continuity, tmp_path: Path) -> None:
    database = make(tmp_path / "opencode.db")
    answer = continuity("import", "opencode", str(CLAUDE), str(database), "--json")
    assert answer.code == 2
    assert [entry.get("error") for entry in answer.document] == ["transcript_unreadable", None, None]


def test_an_import_can_stop_where_the_agent_died(continuity: Continuity) -> None:
    part = continuity("import", "claude-code", str(CLAUDE), "--until", "10", "--json").document[0]
    assert part["records"] == 10
    assert continuity("import", "claude-code", str(CLAUDE), "--until", "0").code == 2


def test_a_bad_file_does_not_keep_the_others_out(continuity: Continuity, tmp_path: Path) -> None:
    empty = tmp_path / "empty \x1b[31m.jsonl"
    empty.write_text("")
    answer = continuity("import", "claude-code", str(empty), str(CLAUDE), "--json")
    assert answer.code == 2
    assert [entry.get("error") for entry in answer.document] == ["transcript_empty", None]
    assert len(continuity("sessions", "list", "--json").document) == 1
    people = continuity("import", "claude-code", str(empty), str(CLAUDE))
    assert people.code == 2
    assert people.err.startswith("error: ")
    assert "instance_id" in people.out
    assert "\x1b" not in people.out + people.err


def test_an_unreachable_database_ends_it_at_once(offline: Continuity) -> None:
    answer = offline("--dsn", "host=/nowhere", "import", "claude-code", str(CLAUDE), str(CLAUDE), "--json")
    assert (answer.code, answer.document["error"]) == (4, "unavailable")


def test_there_is_no_bar_where_nobody_looks(continuity: Continuity) -> None:
    assert continuity("import", "claude-code", str(CLAUDE)).err == ""


def test_the_shipped_rules_hold(offline: Continuity) -> None:
    checked = offline("import", "rules", "check", "--json")
    assert (checked.code, checked.document["failures"]) == (0, [])
    assert checked.document["examples"] > 0


def test_a_bad_rules_file_is_refused(offline: Continuity, tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text("nonsense = [")
    answer = offline("import", "rules", "check", str(file), "--json")
    assert answer.code == 2
