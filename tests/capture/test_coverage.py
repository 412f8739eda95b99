"""Hooks against the agent's own recording: what each side alone has seen, and an import that fills the rest."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.capture.scripted import Script, capture, working_day

from session_continuity import InvalidInput, SessionContinuity
from session_continuity.capture.recorder import transcript_import
from session_continuity.capture.recorder.coverage import compare_coverage
from session_continuity.capture.recorder.transcript_import import import_transcript


@pytest.fixture
def script(tmp_path: Path) -> Script:
    script = working_day(Script(transcript=tmp_path / "recording.jsonl"))
    script.write()
    return script


def only_session(client: SessionContinuity) -> str:
    (session,) = client.find_sessions()
    return session.instance_id


def of_event(script: Script, event: str) -> list[int]:
    return [number for number, record in enumerate(script.hooks) if record.event == event]


def test_hooks_that_saw_everything_cover_the_recording(client: SessionContinuity, script: Script) -> None:
    capture(client).store(script.hooks)
    report = compare_coverage(client, only_session(client))
    assert report.missing == 0  # words typed into a running turn reach no hook; they were filled
    assert report.kinds["prompts"].transcript_only == ["mind the proxies"]
    assert (report.kinds["prompts"].both, report.kinds["prompts"].hooks_only) == (3, [])
    commands = report.kinds["commands"]
    assert (commands.both, commands.hooks_only, commands.transcript_only) == (5, [], [])
    assert (report.kinds["compactions"].both, report.problems) == (1, 0)


def test_coverage_tells_both_directions(client: SessionContinuity, script: Script) -> None:
    """Two hooks never came, and two records are not in the recording."""
    lost = {of_event(script, event)[0] for event in ("PostToolUse", "PreToolUse", "UserPromptSubmit")}
    script.hook("PreToolUse", tool_name="Bash", tool_input={"command": "make"}, tool_use_id="toolu_9")
    script.hook("UserPromptSubmit", prompt="only a hook saw this")
    capture(client).store([record for number, record in enumerate(script.hooks) if number not in lost])
    report = compare_coverage(client, only_session(client), script.transcript)
    assert report.kinds["commands"].transcript_only == ["toolu_1 (Bash: pytest)"]
    assert report.kinds["commands"].hooks_only == ["toolu_9"]
    assert "Add a rate limit to the login" in report.kinds["prompts"].transcript_only
    assert report.kinds["prompts"].hooks_only == ["only a hook saw this"]
    assert report.missing == 1  # the prompt; the call was completed from the recording at the turn's end


def test_coverage_of_calls_without_ids_goes_by_tool_and_parameters(
    client: SessionContinuity, tmp_path: Path
) -> None:
    import json

    path = tmp_path / "chat.jsonl"
    script = Script(harness="gemini-cli", transcript=path, session_id="a55e4279-0000-4000-8000-000000000001")
    script.hook("SessionStart", source="startup")
    tool = {"tool_name": "read_file", "tool_input": {"file_path": "a.py"}}
    script.hook("BeforeTool", **tool)
    script.hook("AfterTool", tool_response={"llmContent": "text"}, **tool)
    capture(client).store(script.hooks)

    def call(number: int, file: str) -> dict[str, object]:
        return {"id": f"call-{number}", "name": "read_file", "args": {"file_path": file}, "status": "success"}

    at = script.now.isoformat()
    head = {"sessionId": script.session_id, "projectHash": "x", "startTime": at}
    user = {"id": "u1", "type": "user", "timestamp": at, "content": "read"}
    calls = [call(1, "a.py"), call(2, "b.py")]
    answer = {"id": "g1", "type": "gemini", "timestamp": at, "content": "", "toolCalls": calls}
    path.write_text("".join(f"{json.dumps(record)}\n" for record in (head, user, answer)), "utf-8")
    commands = compare_coverage(client, only_session(client)).kinds["commands"]
    assert (commands.both, commands.hooks_only) == (1, [])
    assert [name.partition(" ")[0] for name in commands.transcript_only] == ["call-2"]


def test_importing_the_recording_of_a_live_session_fills_it(client: SessionContinuity, script: Script) -> None:
    """Hooks were lost; the import adds what they would have told, and no second session."""
    lost = {of_event(script, event)[0] for event in ("PostToolUse", "PreToolUse", "UserPromptSubmit")}
    script.hook("UserPromptSubmit", prompt="only a hook saw this")
    for record in [record for number, record in enumerate(script.hooks) if number not in lost]:
        capture(client).store([record])
    session = only_session(client)
    assert script.transcript is not None
    report = import_transcript(client, "claude-code", script.transcript)
    assert (report.instance_id, only_session(client)) == (session, session)
    assert report.events_added > 0
    again = import_transcript(client, "claude-code", script.transcript)
    assert again.events_added == 0
    prompts = [e.event_data["text"] for e in client.read_events(session, event_type="prompt_submitted")]
    assert sorted(prompts) == [
        "Add a rate limit to the login",
        "go on",
        "go on",
        "mind the proxies",
        "only a hook saw this",
    ]
    commands = {c.tool_call_id: (c.outcome, c.tags) for c in client.search_commands(instance_id=session)}
    assert commands["toolu_1"] == ("success", ["transcript"])
    assert len(commands) == 5
    assert len(client.read_events(session, event_type="test_passed")) == 1
    assert len(client.read_events(session, event_type="context_compacted")) == 1
    # What the import filled is not taken for something that hooks saw.
    filled = compare_coverage(client, session)
    assert filled.kinds["commands"].transcript_only == ["toolu_1 (Bash: pytest)"]
    assert filled.missing == 0


def test_the_hooks_of_a_session_that_was_imported_before_go_on_with_it(
    client: SessionContinuity, script: Script
) -> None:
    assert script.transcript is not None
    first = import_transcript(client, "claude-code", script.transcript)
    script.begin("resume")
    script.prompt("one more thing")
    capture(client).store(script.hooks[-2:])
    resumed = client.find_resumable(first.instance_id)
    assert resumed.instance_id != first.instance_id
    assert (resumed.owner_epoch, resumed.harness_session_id) == (2, script.session_id)


def test_an_import_of_a_session_that_was_taken_over_says_what_it_could_not_write(
    client: SessionContinuity, script: Script
) -> None:
    assert script.transcript is not None
    capture(client).store(script.hooks[:3])
    session = only_session(client)
    client.resume_session(session)
    report = import_transcript(client, "claude-code", script.transcript)
    assert report.problems["fenced"] > 0
    assert report.events_added == 0


def test_what_can_not_be_compared_says_why(client: SessionContinuity, script: Script, tmp_path: Path) -> None:
    session = client.register_session("shop").instance_id
    with pytest.raises(InvalidInput) as refused:
        compare_coverage(client, session)
    assert refused.value.stable_code == "not_captured"
    bare = Script(session_id="bbbbbbbb-0000-4000-8000-000000000002")
    bare.begin()
    capture(client).store(bare.hooks)
    (captured,) = client.find_sessions(harness_session_id=bare.session_id)
    with pytest.raises(InvalidInput) as refused:
        compare_coverage(client, captured.instance_id)
    assert refused.value.stable_code == "transcript_unknown"
    with pytest.raises(InvalidInput) as refused:
        compare_coverage(client, captured.instance_id, tmp_path / "missing.jsonl")
    assert refused.value.stable_code == "transcript_unreadable"


def test_control_an_import_that_does_not_look_for_the_live_session_makes_a_second_one(
    client: SessionContinuity, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture(client).store(script.hooks)
    monkeypatch.setattr(transcript_import, "is_captured", lambda _: False)
    assert script.transcript is not None
    import_transcript(client, "claude-code", script.transcript)
    assert len(client.find_sessions()) == 2
