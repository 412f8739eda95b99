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


def test_the_family_is_a_tree(continuity: Continuity, session: str) -> None:
    child = continuity(
        "sessions", "register", "consilio-s", "--parent", session, "--relation", "spawned", "--json"
    ).document["instance_id"]
    successor = continuity("resume", child, "--json").document["successor"]
    family = continuity("sessions", "family", successor, "--json").document
    assert [(row["depth"], row["session"]["instance_id"]) for row in family] == [
        (0, session),
        (1, child),
        (2, successor),
    ]
    shown = continuity("sessions", "family", session).out.splitlines()
    assert [line.split("  ")[0] for line in shown[1:]] == [session, f"· {child}", f"· · {successor}"]
    assert continuity("sessions", "family", "consilio-PS-zzzzzz").code == 3


def test_checkpoints_are_compared_by_what_differs(continuity: Continuity, session: str) -> None:
    before = continuity("checkpoints", "take", session, "--json").document["checkpoint_id"]
    noted = continuity("events", "note", session, "Cookies: too large", "--kind", "rejected", "--json").document
    after = continuity("checkpoints", "take", session, "--json").document["checkpoint_id"]
    compared = continuity("checkpoints", "compare", before, after, "--json").document
    assert [compared[side]["checkpoint_id"] for side in ("before", "after")] == [before, after]
    assert "work_state" not in compared["before"]
    (added,) = [each for each in compared["differences"] if each["path"] == ["notes", "Cookies: too large"]]
    assert (added["change"], added["before"]) == ("added", None)
    assert added["after"]["kind"] == "rejected"
    assert noted["sequence_num"] == compared["before"]["sequence_num"] + 1
    assert "notes / Cookies: too large" in continuity("checkpoints", "compare", before, after).out
    assert continuity("checkpoints", "compare", after, after).err == "no difference\n"
    assert continuity("checkpoints", "compare", before, "0190a000-0000-7000-8000-000000000001").code == 3


def test_a_note_is_in_the_brief_and_comes_from_standard_input_too(continuity: Continuity, session: str) -> None:
    first = continuity("events", "note", session, "-", "--operation", "n1", stdin="Keep the old API.\n")
    again = continuity("events", "note", session, "-", "--operation", "n1", stdin="Keep the old API.\n")
    assert (first.out, first.code) == (again.out, again.code) == ("2\n", 0)
    assert "Keep the old API." in continuity("resume", session, "--dry-run").out
    assert continuity("events", "note", session, "").code == 2
    assert continuity("events", "note", session, "x", "--kind", "rumour").code == 2


def test_a_standup_tells_results_of_a_project_since_a_time(continuity: Continuity, session: str) -> None:
    continuity("events", "append", session, "test_failed", '{"command": "pytest"}')
    continuity("events", "append", session, "task_spawned", '{"task_id": "1"}')
    told = continuity("standup", "consilio-s", "--json").document
    assert [each["instance_id"] for each in told["sessions"]] == [session]
    assert [each["event_type"] for each in told["events"]] == ["test_failed"]
    assert told["is_whole"] is True
    shown = continuity("standup", "consilio-s", "--since", "1h").out
    assert session in shown
    assert "test_failed" in shown
    continuity("events", "note", session, "later")
    assert "left out" in continuity("standup", "consilio-s", "--limit", "1").err
    assert continuity("standup", "other").err == "no session lived since then\n"
    assert continuity("standup", "consilio-s", "--since", "soon").code == 2


def test_the_status_counts_the_silent_and_says_how_to_find_them(continuity: Continuity, session: str) -> None:
    continuity("commands", "record", session, "shell", "make")
    told = continuity("status", "--json").document
    assert (told["fleet"]["active"], told["fleet"]["silent"], told["fleet"]["in_flight"]) == (1, 0, 1)
    assert {one["table"] for one in told["storage"]["tables"]} >= {"supervisor_sessions", "event_store"}
    assert (told["server"]["state"], told["fleet"]["alerts"], told["resident"]) == ("running", 0, None)
    shown = continuity("status", "--silent-for", "1ms")
    assert "sessions silent" in shown.out
    assert "--silent-for 0.001s" in shown.err
    assert continuity("status", "--project", "other", "--json").document["fleet"]["active"] == 0
