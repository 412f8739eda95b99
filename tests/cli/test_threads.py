"""Resume, fork and rewind from the command line."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from session_continuity.capture.spool.spool import Spool

from .conftest import Continuity


@pytest.fixture
def worked(continuity: Continuity, session: str) -> str:
    """A session with a prompt, a note and a command in flight."""
    continuity("events", "append", session, "prompt_submitted", '{"text": "build the bridge"}')
    continuity("events", "append", session, "note_recorded", '{"text": "no ferries", "kind": "decision"}')
    continuity("commands", "record", session, "shell", "make bridge", "--tool-call-id", "t1")
    return session


def test_resume_prints_the_brief_and_says_who_goes_on(continuity: Continuity, worked: str) -> None:
    answer = continuity("resume", "last")
    assert answer.code == 0
    assert answer.out.startswith("# Brief: resume")
    assert "build the bridge" in answer.out
    assert "no ferries" in answer.out
    assert worked in answer.err
    assert "may write no more" in answer.err


def test_the_old_copy_can_write_no_more(continuity: Continuity, worked: str) -> None:
    new = continuity("resume", worked, "--json").document["instance_id"]
    late = continuity("events", "append", worked, "note_recorded", "{}", "--json")
    assert (late.code, late.document["error"], late.document["successor"]) == (5, "fenced", new)
    assert continuity("sessions", "heartbeat", worked).code == 5
    assert continuity("checkpoints", "take", worked).code == 5
    assert continuity("events", "append", new, "note_recorded", "{}").code == 0


def test_the_document_holds_what_a_program_needs(continuity: Continuity, worked: str, tmp_path: Path) -> None:
    resumed = continuity("resume", worked, "--cwd", str(tmp_path), "--harness", "codex", "--json").document
    assert resumed.keys() >= {"instance_id", "brief", "tokens", "work_state", "drift", "unknown_outcomes"}
    assert resumed["predecessor"] == worked
    assert resumed["work_state"]["prompts"][0]["text"] == "build the bridge"
    assert [command["action"] for command in resumed["unknown_outcomes"]] == ["make bridge"]
    session = continuity("sessions", "show", resumed["instance_id"], "--json").document
    assert (session["cwd"], session["harness"], session["relation"]) == (str(tmp_path), "codex", "resumed_from")
    assert session["host"]


def test_a_dry_run_changes_nothing(continuity: Continuity, worked: str) -> None:
    before = continuity("sessions", "list", "--json").out
    for command in (["resume", worked], ["fork", worked, "--at", "2"], ["rewind", worked, "2"]):
        answer = continuity(*command, "--dry-run")
        assert answer.code == 0
        assert "nothing was changed" in answer.err
        assert continuity(*command, "--dry-run", "--json").document["dry_run"] is True
    assert continuity("sessions", "list", "--json").out == before


@pytest.mark.parametrize("name", ["last", "abc123", "consilio-s", "epic-7", "consilio-PS-abc123"])
def test_a_session_is_named_in_every_way(continuity: Continuity, session: str, name: str) -> None:
    continuity("sessions", "heartbeat", session, "--epic", "epic-7")
    assert continuity("resume", name, "--dry-run", "--json").document["predecessor"] == session


def test_several_matches_are_listed_and_never_guessed(continuity: Continuity, session: str) -> None:
    other = continuity("sessions", "register", "consilio-s", "--json").document["instance_id"]
    answer = continuity("resume", "consilio-s", "--json")
    assert (answer.code, answer.document["error"]) == (2, "ambiguous")
    assert set(answer.document["matches"]) == {session, other}


def test_nothing_by_that_name_is_not_found(continuity: Continuity) -> None:
    assert continuity("resume", "last").code == 3
    assert continuity("resume", "nobody", "--json").document["error"] == "not_found"


def test_a_budget_that_is_too_small_fences_nobody(continuity: Continuity, worked: str) -> None:
    answer = continuity("resume", worked, "--budget", "10", "--json")
    assert (answer.code, answer.document["error"]) == (2, "budget")
    assert continuity("sessions", "heartbeat", worked).code == 0


def test_a_retried_resume_answers_with_the_same_successor(continuity: Continuity, worked: str) -> None:
    first, again = (continuity("resume", worked, "--operation", "r1", "--json").document for _ in range(2))
    assert first["successor"] == again["successor"]
    assert len(continuity("sessions", "list", "--json").document) == 2


def test_a_fork_leaves_the_session_as_it_is(continuity: Continuity, worked: str) -> None:
    forked = continuity("fork", worked, "--at", "2", "--successor-id", "consilio-PS-fork01", "--json").document
    assert (forked["instance_id"], forked["sequence_num"]) == ("consilio-PS-fork01", 2)
    assert forked["work_state"]["notes"] == []
    assert continuity("events", "append", worked, "note_recorded", "{}").code == 0


def test_a_rewind_goes_back_and_deletes_nothing(continuity: Continuity, worked: str) -> None:
    rewound = continuity("rewind", worked, "2", "--json").document
    assert rewound["work_state"]["notes"] == []
    assert len(continuity("events", "list", worked, "--json").document) == 3
    assert continuity("events", "append", worked, "note_recorded", "{}").code == 5


def test_an_event_that_is_not_there_is_refused(continuity: Continuity, worked: str) -> None:
    answer = continuity("rewind", worked, "99", "--json")
    assert (answer.code, answer.document["error"]) == (2, "sequence_num_range")


def test_the_superseded_is_told_who_took_over(continuity: Continuity, worked: str) -> None:
    new = continuity("resume", worked, "--json").document["instance_id"]
    answer = continuity("resume", worked, "--operation", "other", "--json")
    assert (answer.code, answer.document["error"], answer.document["successor"]) == (5, "superseded", new)


@pytest.mark.parametrize(
    ("harness", "words"),
    [
        ("claude-code", 'claude "$(continuity resume '),
        ("codex", 'codex "$(continuity resume '),
        ("gemini-cli", 'gemini --prompt-interactive "$(continuity resume '),
        ("opencode", 'opencode --prompt "$(continuity resume '),
    ],
)
def test_resume_says_how_to_start_the_agent_and_that_changes_nothing_more(
    continuity: Continuity, worked: str, harness: str, words: str, tmp_path: Path
) -> None:
    answer = continuity("resume", worked, "--harness", harness, "--cwd", str(tmp_path))
    (line,) = [line for line in answer.err.splitlines() if "start the agent" in line]
    assert f"cd {tmp_path} && {words}" in line
    command = line.partition("$(continuity ")[2].rpartition(")")[0]
    before = continuity("sessions", "list", "--json").out
    again = continuity(*shlex.split(command))
    assert (again.code, again.out.splitlines()[2:]) == (0, answer.out.splitlines()[2:])
    assert continuity("sessions", "list", "--json").out == before


def test_without_a_known_harness_there_is_no_such_line(continuity: Continuity, worked: str) -> None:
    assert "start the agent" not in continuity("resume", worked).err


def test_the_hooks_of_the_old_copy_know_of_a_resume_at_once(continuity: Continuity, home: Path) -> None:
    register = ["sessions", "register", "p", "--harness", "claude-code", "--harness-session-id", "5e55"]
    old = continuity(*register, "--json").document["instance_id"]
    Spool(home / "spool")
    new = continuity("resume", old, "--json").document["instance_id"]
    assert json.loads((home / "spool" / "fenced" / "5e55").read_bytes())["successor"] == new
