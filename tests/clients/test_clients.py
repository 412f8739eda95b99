"""What four real clients did by a script is in the database, row by row, by the hooks that init installed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from session_continuity.domain.command_log import Command
from session_continuity.mcp_server.app import TOOLS

from .conftest import PROGRAMS, Recorded
from .model import SUMMARY
from .scripted import DELEGATE, PROMPT, SLOW

HELLO, FAIL, SLEEP = "echo hello-from-shell", "echo going-to-fail >&2; exit 3", "sleep 20"
SHELL = {"claude-code": "Bash", "codex": "Bash", "gemini-cli": "run_shell_command", "opencode": "bash"}
REMEMBER = {
    "claude-code": "mcp__echo__remember",
    "codex": "mcp__echo__remember",
    "gemini-cli": "mcp_echo_remember",
    "opencode": "echo_remember",
}
PARALLEL = ("codex", "gemini-cli")
"""These start the calls of one answer at the same time."""

InstalledBy = Callable[[str], list[str]]

TURN = Counter(prompt_submitted=1, note_recorded=1)
BEGUN, RESUMED = (
    Counter(instance_registered=1),
    Counter(instance_resumed=1, checkpoint_loaded=1, checkpoint_created=1),
)
ENDED = Counter(instance_closed=1, checkpoint_created=1)


def three_calls(harness: str) -> list[tuple[str, dict[str, Any], str]]:
    """The calls that the scripted model asks for, with their outcomes."""
    return [
        (SHELL[harness], {"command": HELLO}, "success"),
        (SHELL[harness], {"command": FAIL}, "failure"),
        (REMEMBER[harness], {"note": "stub-note"}, "success"),
    ]


def told(harness: str, commands: list[Command]) -> list[tuple[str, dict[str, Any], str]]:
    """Tool, parameters (without what clients add) and outcome of each command; and that nothing is missing."""
    rows: list[tuple[str, dict[str, Any], str]] = []
    for command in commands:
        parameters = {
            key: value for key, value in (command.parameters or {}).items() if key in ("command", "note")
        }
        rows.append((command.tool_name or "", parameters, command.outcome or ""))
        assert command.started_at is not None
        if parameters.get("command") == HELLO:
            assert "hello-from-shell" in str(command.result)
        elif parameters.get("command") == FAIL:
            assert "going-to-fail" in str(command.error_message) + str(command.result)
            assert "3" in str(command.error_message) + str(command.result)
        elif "note" in parameters:
            assert "remembered: stub-note" in str(command.result)
    return sorted(rows, key=str) if harness in PARALLEL else rows


def wanted(harness: str) -> list[tuple[str, dict[str, Any], str]]:
    calls = three_calls(harness)
    return sorted(calls, key=str) if harness in PARALLEL else calls


def prompts(recorded: Recorded) -> list[list[str]]:
    """The prompts of each instance; OpenCode's `run` puts one of several words into quotes."""
    return [
        [prompt["text"].strip('"') for prompt in recorded.events(session, "prompt_submitted")]
        for session in recorded.line()
    ]


def assert_sound(recorded: Recorded, exits: list[int]) -> None:
    """The clients ended as they should, and the product has lost, doubled and refused nothing."""
    report = recorded.report
    assert report["exits"] == exits
    assert {key: report["spool"][key] for key in ("waiting", "quarantined", "lost", "drafts")} == {
        "waiting": 0,
        "quarantined": 0,
        "lost": 0,
        "drafts": 0,
    }
    assert report["serve"]["resident"]["condition"] == "working"
    broken = [link for link in report["doctor"]["links"] if link["state"] == "broken"]
    # Codex: the script's trust is not the user's. A package is not what `continuity init` puts into settings.
    assert [link["link"] for link in broken] in ([], ["switch"], ["hooks"]), broken
    for session in recorded.sessions():
        found = recorded.client.read_events(session.instance_id, limit=1_000)
        assert [event.sequence_num for event in found] == list(range(1, len(found) + 1))


def test_claude_code(run_script: Callable[..., Recorded], installed_by: InstalledBy) -> None:
    recorded = run_script("claude-code", *installed_by("claude-code"))
    assert_sound(recorded, [0, 0, 0, 0])
    first, delegating, compacted, last = line = recorded.line()
    assert [session.relation for session in line] == [None, *["resumed_from"] * 3]
    assert [session.owner_epoch for session in line] == [1, 2, 3, 4]
    assert {session.status for session in recorded.sessions()} == {"closed"}
    assert {session.harness_session_id for session in line} == {"11111111-2222-4333-8444-555555555555"}
    assert prompts(recorded) == [[PROMPT], [DELEGATE], [], [PROMPT]]
    for session in (first, last):
        assert told("claude-code", recorded.commands(session)) == wanted("claude-code")
    (sent_off,) = recorded.commands(delegating)
    assert (sent_off.action, sent_off.outcome) == ("spawn_subagent", "success")
    (subagent,) = recorded.subagents()
    assert subagent.parent_instance_id == delegating.instance_id
    assert told("claude-code", recorded.commands(subagent)) == wanted("claude-code")
    assert recorded.commands(compacted) == []
    (compaction,) = recorded.events(compacted, "context_compacted")
    assert (compaction["trigger"], bool(compaction["summary"])) == ("manual", True)
    reasons = [data["reason"] for data in recorded.events(compacted, "checkpoint_created")]
    assert reasons == ["resume", "before compaction", "session ended"]
    assert Counter(recorded.event_types(first)) == BEGUN + TURN + ENDED + Counter(context_window_updated=1)
    assert Counter(recorded.event_types(last)) == RESUMED + TURN + ENDED
    assert [data["percent"] for data in recorded.events(first, "context_window_updated")] == [4]


def test_codex(run_script: Callable[..., Recorded]) -> None:
    recorded = run_script("codex")
    assert_sound(recorded, [0, 0, 0])
    first, delegating, last = line = recorded.line()
    assert [session.relation for session in line] == [None, "resumed_from", "resumed_from"]
    assert {session.status for session in recorded.sessions()} == {"closed"}
    assert prompts(recorded) == [[PROMPT], [DELEGATE], [PROMPT]]
    for session in (first, last):
        assert told("codex", recorded.commands(session)) == wanted("codex")
    sent_off, awaited, *after = recorded.commands(delegating)
    assert [(each.action, each.outcome) for each in (sent_off, awaited)] == [
        ("spawn_subagent", "success"),
        ("wait_agent", "success"),
    ]
    assert told("codex", after) == wanted("codex")
    (subagent,) = recorded.subagents()
    assert subagent.parent_instance_id == delegating.instance_id
    assert told("codex", recorded.commands(subagent)) == wanted("codex")
    assert [data["task_id"] for data in recorded.events(delegating, "task_spawned")] == [
        subagent.harness_session_id
    ]
    compactions = [data for session in line for data in recorded.events(session, "context_compacted")]
    assert [data["trigger"] for data in compactions] == ["auto"]
    assert Counter(recorded.event_types(first)) == BEGUN + TURN + ENDED + Counter(context_window_updated=1)


def test_gemini_cli(run_script: Callable[..., Recorded], installed_by: InstalledBy) -> None:
    recorded = run_script("gemini-cli", *installed_by("gemini-cli"))
    assert_sound(recorded, [0, 0, 0])
    first, delegating, last = line = recorded.line()
    assert [session.relation for session in line] == [None, "resumed_from", "resumed_from"]
    assert {session.status for session in recorded.sessions()} == {"closed"}
    assert prompts(recorded) == [[PROMPT], [DELEGATE], [PROMPT]]
    for session in (first, last):
        assert told("gemini-cli", recorded.commands(session)) == wanted("gemini-cli")
    # Its hooks do not say who calls a tool: what the subagent does is recorded as the session's.
    sent_off, *by_the_subagent, completed = recorded.commands(delegating)
    assert (sent_off.action, sent_off.outcome) == ("spawn_subagent", "success")
    assert (completed.tool_name, completed.outcome) == ("complete_task", "success")
    assert told("gemini-cli", by_the_subagent) == wanted("gemini-cli")
    assert [data["agent_type"] for data in recorded.events(delegating, "task_spawned")] == ["generalist"]
    assert [data["summary"] for data in recorded.events(last, "context_compacted")] == [SUMMARY]
    assert Counter(recorded.event_types(first)) == BEGUN + TURN + ENDED + Counter(context_window_updated=1)


def test_opencode(run_script: Callable[..., Recorded], installed_by: InstalledBy) -> None:
    recorded = run_script("opencode", *installed_by("opencode"))
    assert_sound(recorded, [0, 0, 0])
    first, delegating, last = line = recorded.line()
    assert [session.relation for session in line] == [None, "resumed_from", "resumed_from"]
    assert {session.status for session in recorded.sessions()} == {"closed"}
    assert prompts(recorded) == [[PROMPT], [DELEGATE], [PROMPT]]
    for session in (first, last):
        assert told("opencode", recorded.commands(session)) == wanted("opencode")
    (sent_off,) = recorded.commands(delegating)
    assert (sent_off.action, sent_off.outcome) == ("spawn_subagent", "success")
    (subagent,) = recorded.subagents()
    assert subagent.parent_instance_id == delegating.instance_id
    assert told("opencode", recorded.commands(subagent)) == wanted("opencode")
    (compaction,) = recorded.events(last, "context_compacted")
    assert (compaction["trigger"], compaction["summary"]) == ("auto", SUMMARY)
    assert "before compaction" in [data["reason"] for data in recorded.events(last, "checkpoint_created")]
    assert Counter(recorded.event_types(first)) == BEGUN + TURN + ENDED + Counter(context_window_updated=1)


@pytest.mark.parametrize("harness", PROGRAMS)
def test_a_killed_client_is_found_dead_and_its_work_goes_on(
    run_script: Callable[..., Recorded], harness: str
) -> None:
    recorded = run_script(harness, "--kill")
    assert_sound(recorded, [-9, 0])
    dead, successor = line = recorded.line()
    assert [session.owner_epoch for session in line] == [1, 2]
    assert (dead.status, dead.superseded_by) == ("closed", successor.instance_id)
    assert successor.relation == "resumed_from"
    assert dead.harness_session_id != successor.harness_session_id
    assert prompts(recorded) == [[SLOW], [PROMPT]]
    (cut,) = recorded.commands(dead)
    assert told(harness, [cut]) == [(SHELL[harness], {"command": SLEEP}, "unknown")]
    requests = recorded.report["requests"]
    for text in (dead.instance_id, successor.instance_id, SLEEP, "unknown"):
        assert text in requests, "the brief did not reach the model"


@pytest.mark.parametrize("harness", PROGRAMS)
def test_a_model_is_offered_our_tools_and_a_call_reaches_the_records(
    run_script: Callable[..., Recorded], harness: str
) -> None:
    given = {"project": "by-the-model", "current_epic": "login", "operation_id": "the one call"}
    recorded = run_script(harness, "--tool", "register_session", "--arguments", json.dumps(given))
    assert_sound(recorded, [0])
    assert [link["state"] for link in recorded.report["doctor"]["links"] if link["link"] == "mcp"] == ["ok"]
    for tool in TOOLS:
        assert tool.name in recorded.report["requests"], f"{tool.name} was not offered to the model"
    (registered,) = [session for session in recorded.sessions() if session.project == given["project"]]
    (hooked,) = [session for session in recorded.sessions() if session.harness_session_id is not None]
    assert registered.current_epic == "login"
    assert registered.instance_id in recorded.report["requests"], "the answer did not reach the model"
    # Its process is the one that the hooks know, so the life line holds both (tests/mcp/test_lifeline.py shows the
    # heartbeats, which a session as short as this may not live to see); its end closes what hooks close.
    assert registered.metadata["process"] == hooked.metadata["process"]
    assert (hooked.status, registered.status) == ("closed", "active")
    (call,) = [each for each in recorded.commands(hooked) if "register_session" in (each.tool_name or "")]
    assert (call.outcome, (call.parameters or {})["project"]) == ("success", given["project"])
