"""A recording becomes a session: once, in order, with its own times, and as if the agent had died anywhere."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from session_continuity import InvalidInput, NewEvent, SessionContinuity
from session_continuity.capture.recorder.transcript_import import import_transcript
from session_continuity.domain.work_state import canonical

SCRIPT = Path(__file__).parents[2] / "demo" / "session.jsonl"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "session.jsonl"
    text = SCRIPT.read_text("utf-8").replace("{cwd}", "/srv/shop").replace("{sha}", "abc1234")
    path.write_text(text.replace("{session}", "5e55104e-0000-4000-8000-000000000001"), "utf-8")
    return path


def test_a_recording_becomes_a_session_with_commands_and_events(
    client: SessionContinuity, recording: Path
) -> None:
    report = import_transcript(client, "claude-code", recording)
    assert (report.records, report.prompts, report.commands, report.in_flight, report.problems) == (
        28,
        2,
        12,
        0,
        {},
    )
    session = client.get_session(report.instance_id)
    assert (session.project, session.harness, session.status, session.git_branch) == (
        "shop", "claude-code", "stale", "rate-limit",
    )  # fmt: skip
    assert session.last_heartbeat == datetime(2026, 3, 2, 9, 3, 16, tzinfo=UTC)
    commands = client.search_commands(instance_id=report.instance_id)
    assert [command.outcome for command in commands].count("failure") == 2
    assert commands[-1].started_at == commands[-1].created_at == datetime(2026, 3, 2, 9, 0, 21, tzinfo=UTC)
    state = client.recover_state(report.instance_id).work_state
    assert state["commits"][0]["sha"] == "abc1234"
    assert [item["status"] for item in state["plan"]["items"]] == [
        "completed",
        "completed",
        "in_progress",
        "pending",
    ]
    assert {file["path"].rpartition("/")[2] for file in state["files"]} == {"login.py", "limiter.py"}
    assert [check["outcome"] for check in state["tests"]] == ["passed", "passed"]


def test_importing_twice_adds_nothing(client: SessionContinuity, recording: Path) -> None:
    first = import_transcript(client, "claude-code", recording)
    before = (client.read_events(first.instance_id), client.search_commands(instance_id=first.instance_id))
    second = import_transcript(client, "claude-code", recording)
    assert (second.instance_id, second.events_added) == (first.instance_id, 0)
    assert (
        client.read_events(first.instance_id),
        client.search_commands(instance_id=first.instance_id),
    ) == before


@pytest.mark.parametrize("cut", [1, 4, 10, 20, 24, 27])
def test_an_import_that_goes_on_ends_where_a_whole_one_does(
    client: SessionContinuity, recording: Path, cut: int
) -> None:
    part = import_transcript(client, "claude-code", recording, until=cut)
    whole = import_transcript(client, "claude-code", recording)
    assert whole.instance_id == part.instance_id
    assert whole.events_added == whole.events + whole.checkpoints + 1 - part.events - part.checkpoints - 1
    events = client.read_events(whole.instance_id)
    assert [event.sequence_num for event in events] == list(range(1, len(events) + 1))
    recovered, replayed = client.recover_state(whole.instance_id), client.replay_events(whole.instance_id)
    assert canonical(recovered.work_state) == canonical(replayed.work_state)


def test_a_cut_leaves_the_command_in_flight(client: SessionContinuity, recording: Path) -> None:
    report = import_transcript(client, "claude-code", recording, until=24)
    (command,) = client.search_commands(instance_id=report.instance_id, outcome="in_flight")
    assert command.tool_name == "Edit"
    resumed = client.resume_session(report.instance_id)
    assert [unknown.id for unknown in resumed.commands.unknown_outcomes] == [command.id]


def test_a_session_that_was_taken_over_gets_no_more_from_its_recording(
    client: SessionContinuity, recording: Path
) -> None:
    from session_continuity import Fenced

    report = import_transcript(client, "claude-code", recording, until=10)
    client.resume_session(report.instance_id)
    again = import_transcript(client, "claude-code", recording, until=10)
    assert again.events_added == 0
    with pytest.raises(Fenced):
        import_transcript(client, "claude-code", recording)
    late = [command for command in client.search_commands(instance_id=report.instance_id) if command.late]
    assert late  # the audit trail of the old copy is kept, marked


def test_broken_lines_and_unknown_records_are_counted(client: SessionContinuity, recording: Path) -> None:
    lines = recording.read_text("utf-8").splitlines()
    lines[3:3] = ["{broken", "[1, 2]", '{"type": "from-the-future", "uuid": "x"}', ""]
    recording.write_text("\n".join(lines), "utf-8")
    report = import_transcript(client, "claude-code", recording)
    assert report.commands == 12
    assert report.problems == {"broken_line": 2, "unknown_record": 1}
    assert len(report.first_problems) == 3


def test_hostile_values_are_stored_and_can_be_read(client: SessionContinuity, recording: Path) -> None:
    text = recording.read_text("utf-8")
    text = text.replace("No new dependency.", "nul \\u0000 half \\ud800 escape \\u001b[31m " + "long " * 9_000)
    recording.write_text(text, "utf-8")
    report = import_transcript(client, "claude-code", recording)
    prompt = client.read_events(report.instance_id, event_type="prompt_submitted")[0].event_data["text"]
    assert "nul \ufffd half" in prompt
    assert len(prompt) < 30_000


def test_a_file_without_a_session_is_refused(client: SessionContinuity, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(InvalidInput) as refused:
        import_transcript(client, "claude-code", empty)
    assert refused.value.stable_code == "transcript_empty"
    with pytest.raises(InvalidInput) as refused:
        import_transcript(client, "claude-code", tmp_path / "missing.jsonl")
    assert refused.value.stable_code == "transcript_unreadable"
    assert client.find_sessions() == []


def test_a_checkpoint_comes_at_least_every_hundred_events(client: SessionContinuity, recording: Path) -> None:
    first, *_ = recording.read_text("utf-8").splitlines()
    prompts = []
    for number in range(350):
        record = json.loads(first)
        record["uuid"] = f"10000000-0000-4000-8000-{number:012d}"
        record["message"]["content"] = f"prompt {number}"
        prompts.append(json.dumps(record))
    recording.write_text("\n".join([first, *prompts]), "utf-8")
    report = import_transcript(client, "claude-code", recording)
    assert report.checkpoints >= 3
    assert client.recover_state(report.instance_id).events_folded <= 100


def test_progress_is_told_in_bytes(client: SessionContinuity, recording: Path) -> None:
    told: list[tuple[int, int]] = []
    import_transcript(client, "claude-code", recording, progress=lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][1] == recording.stat().st_size
    assert told[-1][1] - told[-1][0] <= 1


def test_a_large_recording_is_read_in_bounded_memory(database: str, recording: Path) -> None:
    """Thirty megabytes in a process of its own: its memory must not grow with the file."""
    first, *_ = recording.read_text("utf-8").splitlines()
    record = json.loads(first)
    record["message"]["content"] = "p " * 100_000
    with recording.open("w", encoding="utf-8") as file:
        for number in range(150):
            record["uuid"] = f"10000000-0000-4000-8000-{number:012d}"
            file.write(json.dumps(record) + "\n")
    program = (
        "import resource, sys\n"
        "from session_continuity import SessionContinuity\n"
        "from session_continuity.capture.recorder.transcript_import import import_transcript\n"
        "client = SessionContinuity(dsn=sys.argv[1])\n"
        "client.find_sessions()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "import_transcript(client, 'claude-code', sys.argv[2])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, database, str(recording)], check=True, capture_output=True, text=True
    )
    assert recording.stat().st_size > 29_000_000
    assert int(done.stdout) < 20_000  # kilobytes


def test_two_imports_at_once_make_one_session(client: SessionContinuity, database: str, recording: Path) -> None:
    program = (
        "import sys\n"
        "from session_continuity import SessionContinuity\n"
        "from session_continuity.capture.recorder.transcript_import import import_transcript\n"
        "import_transcript(SessionContinuity(dsn=sys.argv[1]), 'claude-code', sys.argv[2])\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", program, database, str(recording)]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    (session,) = client.find_sessions()
    events = client.read_events(session.instance_id)
    assert len({event.event_id for event in events}) == len(events) == session.last_sequence_num


def test_live_events_and_an_import_mix(client: SessionContinuity, recording: Path) -> None:
    part = import_transcript(client, "claude-code", recording, until=12)
    client.append_events(part.instance_id, [NewEvent(event_type="note_recorded", event_data={"text": "by hand"})])
    whole = import_transcript(client, "claude-code", recording)
    notes = client.read_events(whole.instance_id, event_type="note_recorded")
    assert [note.event_data.get("kind") for note in notes] == ["answer", None, "answer"]
