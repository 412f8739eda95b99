"""The four records, from the command line to the database and back."""

from __future__ import annotations

from datetime import datetime

from .conftest import INSTANCE, Continuity


def test_sessions_are_listed_with_the_reports_column_names(continuity: Continuity, session: str) -> None:
    listed = continuity("sessions", "list", "--json").document
    assert [row["instance_id"] for row in listed] == [session]
    assert listed[0].keys() >= {
        "instance_id",
        "project",
        "instance_type",
        "status",
        "context_percent",
        "current_epic",
        "last_heartbeat",
        "created_at",
    }
    assert datetime.fromisoformat(listed[0]["last_heartbeat"]).tzinfo is not None


def test_a_session_is_found_by_each_filter(continuity: Continuity, session: str) -> None:
    for found in (["--project", "consilio-s"], ["--status", "active"], ["--type", "PS"], ["--limit", "1"]):
        assert len(continuity("sessions", "list", "--json", *found).document) == 1, found
    for missed in (
        ["--project", "x"],
        ["--status", "stale"],
        ["--type", "MS"],
        ["--silent-for", "30m"],
        ["--before", "1h"],
    ):
        assert continuity("sessions", "list", "--json", *missed).document == [], missed


def test_people_get_a_table_and_programs_a_document(continuity: Continuity, session: str) -> None:
    answer = continuity("sessions", "list")
    assert answer.out.splitlines()[0].split()[:3] == ["INSTANCE_ID", "PROJECT", "STATUS"]
    assert session in answer.out
    assert answer.err == ""


def test_an_empty_table_is_a_note_not_an_answer(continuity: Continuity) -> None:
    answer = continuity("sessions", "list")
    assert (answer.code, answer.out, answer.err) == (0, "", "no sessions\n")


def test_a_session_lives_and_ends(continuity: Continuity, session: str) -> None:
    beaten = continuity(
        "sessions", "heartbeat", session, "--context-percent", "45", "--epic", "e-2", "--json"
    ).document
    assert (beaten["context_percent"], beaten["current_epic"]) == (45, "e-2")
    assert continuity("sessions", "close", session, "--reason", "done", "--json").document["status"] == "closed"
    assert continuity("sessions", "close", session).code == 0
    assert continuity("sessions", "heartbeat", session).code == 5
    assert "closed" in continuity("sessions", "show", session).out


def test_a_registration_keeps_what_it_was_told(continuity: Continuity) -> None:
    answer = continuity(
        "sessions",
        "register",
        "p",
        "--type",
        "MS",
        "--epic",
        "e",
        "--cwd",
        "/",
        "--harness",
        "claude-code",
        "--harness-session-id",
        "h",
        "--pid",
        "7",
        "--heartbeat-interval",
        "1m30s",
        "--metadata",
        '{"a": [1]}',
        "--context-percent",
        "0",
        "--json",
    )
    session = answer.document
    assert session["instance_id"].startswith("p-MS-")
    expected = {
        "current_epic": "e",
        "cwd": "/",
        "harness": "claude-code",
        "harness_session_id": "h",
        "pid": 7,
        "heartbeat_interval_seconds": 90,
        "metadata": {"a": [1]},
        "context_percent": 0,
    }
    assert session.items() >= expected.items()
    spawned = continuity(
        "sessions", "register", "p", "--parent", session["instance_id"], "--relation", "spawned", "--json"
    ).document
    assert spawned["parent_instance_id"] == session["instance_id"]


def test_a_command_is_recorded_completed_and_found(continuity: Continuity, session: str) -> None:
    intent = continuity(
        "commands",
        "record",
        session,
        "tool",
        "pytest -q",
        "--tool",
        "Bash",
        "--tool-call-id",
        "t1",
        "--parameters",
        '{"command": "pytest -q"}',
        "--tag",
        "a",
        "--tag",
        "b",
        "--json",
    ).document
    assert (intent["outcome"], intent["tags"]) == (None, ["a", "b"])
    assert len(continuity("commands", "search", "--outcome", "in_flight", "--json").document) == 1
    done = continuity(
        "commands",
        "outcome",
        session,
        "failure",
        "--tool-call-id",
        "t1",
        "--error",
        "2 failed",
        "--duration-ms",
        "6000",
        "--result",
        "[1, null]",
        "--json",
    ).document
    assert (done["id"], done["outcome"], done["result"]) == (intent["id"], "failure", [1, None])
    for filters in (
        ["--instance", session],
        ["--project", "consilio-s"],
        ["--tool", "Bash"],
        ["--action", "pytest -q"],
        ["--type", "tool"],
        ["--outcome", "failure"],
        ["--text", "2 FAILED"],
        ["--tag", "b"],
        ["--slower-than", "5s"],
        ["--since", "1h"],
    ):
        assert len(continuity("commands", "list", "--json", *filters).document) == 1, filters
    assert continuity("commands", "search", "--slower-than", "6s", "--json").document == []
    assert "2 failed" in continuity("commands", "search").out
    for named in (["--command-id", str(intent["id"])], ["--tool-call-id", "t1"]):
        assert continuity("commands", "show", session, *named, "--json").document == done
    assert continuity("commands", "show", session, "--command-id", "99").code == 3
    by_id = ["commands", "outcome", session, "success", "--command-id", str(intent["id"])]
    assert continuity(*by_id).code == 5


def test_events_are_numbered_listed_and_found(continuity: Continuity, session: str) -> None:
    answer = continuity("events", "append", session, "epic_started", '{"epic_id": "001"}')
    assert (answer.code, answer.out) == (0, "2\n")
    from_stdin = continuity(
        "events", "append", session, "note_recorded", "-", "--json", stdin='{"text": "naïve ☃"}'
    )
    assert from_stdin.document["sequence_num"] == 3
    listed = continuity("events", "list", session, "--after", "1", "--json").document
    assert [event["event_type"] for event in listed] == ["epic_started", "note_recorded"]
    assert listed[1]["event_data"] == {"text": "naïve ☃"}
    assert len(continuity("events", "list", session, "--until", "2", "--json").document) == 2
    assert len(continuity("events", "list", session, "--type", "epic_started", "--json").document) == 1
    assert continuity("events", "list", session, "--as-of", "1h", "--json").document == []
    assert len(continuity("events", "find", "epic_started", "--project", "consilio-s", "--json").document) == 1
    assert "naïve ☃" in continuity("events", "list", session).out


def test_an_event_keeps_its_time_and_metadata(continuity: Continuity, session: str) -> None:
    continuity(
        "events",
        "append",
        session,
        "note_recorded",
        "{}",
        "--timestamp",
        "2026-01-28T10:00:00+02:00",
        "--metadata",
        '{"m": 1}',
    )
    event = continuity("events", "list", session, "--json").document[-1]
    assert datetime.fromisoformat(event["timestamp"]) == datetime.fromisoformat("2026-01-28T08:00:00+00:00")
    assert event["metadata"] == {"m": 1}


def test_a_retry_with_the_same_operation_changes_nothing(continuity: Continuity, session: str) -> None:
    append = ("events", "append", session, "note_recorded", '{"text": "once"}', "--operation", "note 1", "--json")
    assert continuity(*append).document == continuity(*append).document
    assert len(continuity("events", "list", session, "--json").document) == 2


def test_an_unexpected_sequence_is_a_conflict(continuity: Continuity, session: str) -> None:
    answer = continuity("events", "append", session, "note_recorded", "{}", "--expected-sequence", "7", "--json")
    assert (answer.code, answer.document["error"], answer.document["actual"]) == (5, "sequence_conflict", 1)


def test_event_types_say_who_defined_them(offline: Continuity) -> None:
    types = {row["event_type"]: row["defined_by"] for row in offline("events", "types", "--json").document}
    assert len(types) == 30
    assert sum(by == "report" for by in types.values()) == 23
    assert types["note_recorded"] == "session-continuity"


def test_a_checkpoint_is_taken_shown_and_verified(continuity: Continuity, session: str) -> None:
    taken = continuity(
        "checkpoints", "take", session, "--reason", "lunch", "--context-percent", "45", "--json"
    ).document
    assert (taken["sequence_num"], taken["context_window_percent"], len(taken["state_hash"])) == (2, 45, 64)
    continuity("events", "append", session, "prompt_submitted", '{"text": "go on"}')
    assert continuity("checkpoints", "show", taken["checkpoint_id"], "--json").document == taken
    assert continuity("checkpoints", "latest", session, "--json").document == taken
    for filters in ([], [session], ["--type", "manual"]):
        assert len(continuity("checkpoints", "list", *filters, "--json").document) == 1
    assert continuity("checkpoints", "list", "--type", "automatic", "--json").document == []
    verified = continuity("checkpoints", "verify", session, "--json")
    assert (verified.code, verified.document["identical"], verified.document["events_folded"]) == (0, True, 1)
    assert verified.document["events_replayed"] == 3


def test_replay_gives_the_state_at_any_event(continuity: Continuity, session: str) -> None:
    for text in ("one", "two"):
        continuity("events", "append", session, "prompt_submitted", f'{{"text": "{text}"}}')
    whole = continuity("events", "replay", session, "--json").document
    before = continuity("events", "replay", session, "--until", "2", "--json").document
    assert [prompt["text"] for prompt in whole["work_state"]["prompts"]] == ["one", "two"]
    assert [prompt["text"] for prompt in before["work_state"]["prompts"]] == ["one"]
    assert '"two"' in continuity("events", "replay", session).out


def test_the_timeline_merges_the_records_and_pages_on(continuity: Continuity, session: str) -> None:
    continuity("commands", "record", session, "shell", "make")
    continuity("checkpoints", "take", session)
    kinds = [entry["kind"] for entry in continuity("timeline", session, "--json").document]
    assert kinds == ["event", "command", "event", "checkpoint"]
    seen: list[str] = []
    cursor: list[str] = []
    while page := continuity("timeline", session, "--limit", "1", "--json", *cursor).document:
        seen.append(page[0]["kind"])
        cursor = ["--after", page[0]["cursor"]]
    assert seen == kinds
    assert "more: --after " in continuity("timeline", INSTANCE, "--limit", "2").err
