"""What each harness's hooks tell, fact by fact, on payloads of our own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from session_continuity.capture.facts import facts
from session_continuity.capture.harnesses.hooks import ADAPTERS

from .payloads import AT, PAYLOADS, call, of_type, one, told

OPENCODE_PART = PAYLOADS["opencode"]["event.message.part.updated"]["properties"]["part"]


def part(state: dict[str, Any], *, tool: str = "bash", **top: Any) -> facts.HookFacts:
    """OpenCode's event of a tool part in some state."""
    changed = {**OPENCODE_PART, "tool": tool, "state": state}
    return told(
        "opencode", "event.message.part.updated", properties={"sessionID": "ses_1", "part": changed}, **top
    )


# Sessions


@pytest.mark.parametrize("source", ["startup", "resume", "clear", "compact", "fork"])
@pytest.mark.parametrize("harness", ["claude-code", "codex", "gemini-cli"])
def test_a_session_starts_with_where_it_came_from_and_its_process(harness: str, source: str) -> None:
    started = one(facts.SessionStarted, told(harness, "SessionStart", source=source, host="elsewhere"))
    assert (started.source, started.cwd, started.pid, started.host) == (
        source,
        "/home/ana/shop",
        4711,
        "elsewhere",
    )
    assert started.harness == harness
    assert started.transcript_path
    assert started.parent_harness_session_id is None


def test_opencodes_sessions_start_resume_and_end() -> None:
    started = one(facts.SessionStarted, told("opencode", "event.session.created"))
    assert (started.source, started.version, started.cwd) == ("startup", "1.18.33", "/home/ana/shop")
    assert one(facts.SessionStarted, told("opencode", "session.resumed")).source == "resume"
    assert one(facts.SessionEnded, told("opencode", "dispose")).reason == "exit"
    assert one(facts.SessionEnded, told("opencode", "event.session.deleted")).reason == "deleted"


def test_a_subagent_is_a_session_of_its_own_with_its_parent() -> None:
    for harness, own in (("claude-code", "a-1"), ("codex", "x-sub")):
        begun = told(harness, "SubagentStart")
        started = one(facts.SessionStarted, begun)
        parent = PAYLOADS[harness]["SubagentStart"]["session_id"]
        assert (begun.harness_session_id, begun.parent_harness_session_id) == (own, parent)
        assert (started.harness_session_id, started.parent_harness_session_id, started.source) == (
            own, parent, "subagent",
        )  # fmt: skip
        ended = told(harness, "SubagentStop")
        assert (ended.harness_session_id, one(facts.SessionEnded, ended).reason) == (own, "subagent_stopped")
        assert ended.transcript_path == PAYLOADS[harness]["SubagentStop"]["agent_transcript_path"]
        called = one(facts.ToolCalled, told(harness, "PreToolUse", agent_id=own, agent_type="default"))
        assert called.subagent == own
    info = {"id": "ses_2", "parentID": "ses_1", "directory": "/home/ana/shop"}
    child = told("opencode", "event.session.created", properties={"sessionID": "ses_2", "info": info})
    assert (child.harness_session_id, child.parent_harness_session_id) == ("ses_2", "ses_1")
    assert one(facts.SessionStarted, child).source == "subagent"


def test_the_clients_own_helper_at_a_compaction_is_no_subagent() -> None:
    found = told("claude-code", "SubagentStop", agent_type="")
    assert (found.harness_session_id, found.parent_harness_session_id, found.facts) == ("c-1", None, ())


# Prompts


@pytest.mark.parametrize(
    ("changes", "text", "source"),
    [
        ({}, "Fix the basket total", "user"),
        ({"source": None}, "Fix the basket total", "user"),
        ({"source": "sdk"}, "Fix the basket total", "user"),
        ({"prompt": "/review basket.py"}, "/review basket.py", "slash_command"),
        ({"prompt": "/srv/app is broken"}, "/srv/app is broken", "user"),
        ({"prompt": "x <system-reminder>ours</system-reminder>"}, "x", "user"),
        ({"agent_id": "a-1", "agent_type": "Explore"}, "Fix the basket total", "agent"),
    ],
)
def test_a_prompt_is_told_with_who_wrote_it(changes: dict[str, Any], text: str, source: str) -> None:
    found = told("claude-code", "UserPromptSubmit", **changes)
    prompt = one(facts.PromptSubmitted, found)
    assert (prompt.text, prompt.source, prompt.key) == (text, source, "record")
    changed = one(facts.SessionChanged, found)
    assert (changed.permission_mode, changed.cwd) == ("acceptEdits", "/home/ana/shop")


@pytest.mark.parametrize("source", ["system", "loop_wakeup", "schedule_wakeup", "poll_event"])
def test_a_turn_that_the_client_starts_by_itself_is_no_prompt(source: str) -> None:
    found = told("claude-code", "UserPromptSubmit", source=source)
    assert of_type(facts.PromptSubmitted, found) == []
    assert one(facts.Notified, found).kind == f"prompt:{source}"


def test_commands_of_the_interface_and_notices_are_no_prompts() -> None:
    for words in ("/model opus", "<task-notification>done</task-notification>", ""):
        assert of_type(facts.PromptSubmitted, told("claude-code", "UserPromptSubmit", prompt=words)) == []


def test_our_own_briefing_is_taken_out_of_a_prompt() -> None:
    assert one(facts.PromptSubmitted, told("gemini-cli", "BeforeAgent")).text == "Fix the basket total"
    prompt = one(facts.PromptSubmitted, told("opencode", "chat.message"))
    assert (prompt.text, prompt.key) == ("Fix the basket total", "prt_1:prompt")
    assert one(facts.PromptSubmitted, told("codex", "UserPromptSubmit")).source == "user"
    assert one(facts.PromptSubmitted, told("opencode", "chat.message", parentID="ses_0")).source == "agent"


# Tools


def test_the_intent_is_told_before_a_tool_runs() -> None:
    for harness, event, key, action in (
        ("claude-code", "PreToolUse", "call:t-1", "pytest"),
        ("codex", "PreToolUse", "call:k-1", "cargo test"),
        ("gemini-cli", "BeforeTool", "record", "npm test"),
        ("opencode", "tool.execute.before", "call:call_1", "make test"),
    ):
        called = one(facts.ToolCalled, told(harness, event))
        assert (called.key, called.action, called.subagent, called.at) == (key, action, None, AT)


def test_claude_codes_outcomes_have_result_duration_and_the_call_again() -> None:
    finished = one(facts.ToolFinished, told("claude-code", "PostToolUse"))
    assert (finished.key, finished.outcome, finished.error, finished.duration_ms) == (
        "result:t-1", "success", None, 1200,
    )  # fmt: skip
    assert isinstance(finished.result, dict)
    assert finished.result["stdout"] == "3 passed in 0.10s"
    assert finished.call is not None
    assert (finished.call.key, finished.call.at) == ("call:t-1", AT - timedelta(milliseconds=1200))
    failed = one(facts.ToolFinished, told("claude-code", "PostToolUseFailure"))
    assert (failed.outcome, failed.result) == ("failure", {"exit_code": 1, "output": "1 failed in 0.10s"})
    assert (
        one(facts.ToolFinished, told("claude-code", "PostToolUseFailure", is_interrupt=True)).outcome
        == "cancelled"
    )
    stopped = told("claude-code", "PostToolUse", tool_response={"stdout": "", "interrupted": True})
    assert one(facts.ToolFinished, stopped).outcome == "cancelled"


def test_codex_tells_no_exit_code_so_a_shell_commands_outcome_is_unknown() -> None:
    for output in ("3 passed", "aborted by user", "Chunk ID: a\nProcess exited with code 7\nOutput:\nx"):
        finished = one(facts.ToolFinished, told("codex", "PostToolUse", tool_response=output))
        assert (finished.outcome, finished.error, finished.result) == ("unknown", None, {"output": output})


def test_codexs_other_tools_tell_how_they_ended() -> None:
    name = "mcp__tickets__create"
    for flag, outcome in ((False, "success"), (True, "failure")):
        answer = {"content": [{"type": "text", "text": "no such project"}], "isError": flag}
        found = told("codex", "PostToolUse", tool_name=name, tool_input={"title": "x"}, tool_response=answer)
        finished = one(facts.ToolFinished, found)
        assert (finished.outcome, finished.result) == (outcome, {"output": "no such project"})
    waited = told("codex", "PreToolUse", tool_name="multi_agent_v1wait_agent", tool_input={})
    assert one(facts.ToolCalled, waited).tool == "wait_agent"


@pytest.mark.parametrize(
    ("text", "outcome", "result"),
    [
        ("Output: ok\nProcess Group PGID: 1", "success", {"output": "ok", "exit_code": 0}),
        (
            "Output: said Exit Code: 9\nProcess Group PGID: 1",
            "success",
            {"output": "said Exit Code: 9", "exit_code": 0},
        ),
        ("Output: (empty)\nExit Code: 3\nProcess Group PGID: 1", "failure", {"output": "", "exit_code": 3}),
        (
            "Output: Exit Code: 9\nok\nProcess Group PGID: 1",
            "success",
            {"output": "Exit Code: 9\nok", "exit_code": 0},
        ),
        ("Output: x\nSignal: 9\nProcess Group PGID: 1", "failure", {"output": "x"}),
        (
            "Command: ls\nDirectory: (root)\nStdout: a\nStderr: (empty)\nError: (none)\nExit Code: 0\n"
            "Signal: (none)\nBackground PIDs: (none)\nProcess Group PGID: 1",
            "success",
            {"output": "a\nStderr: (empty)", "exit_code": 0},
        ),
        ("something else", "unknown", {"output": "something else"}),
        (
            "Command moved to background (PID: 7). Output hidden. Press Ctrl+B to view.",
            "success",
            {
                "output": "Command moved to background (PID: 7). Output hidden. Press Ctrl+B to view.",
                "status": "running",
            },
        ),
        (
            "Command was cancelled by user before it could complete. There was no output before it was cancelled.",
            "cancelled",
            {
                "output": "Command was cancelled by user before it could complete. There was no output before it "
                "was cancelled."
            },
        ),
    ],
)
def test_geminis_exit_code_is_at_the_end_of_its_text(text: str, outcome: str, result: dict[str, Any]) -> None:
    answer = {"llmContent": f"<untrusted_context>\n{text}\n</untrusted_context>"}
    finished = one(facts.ToolFinished, told("gemini-cli", "AfterTool", tool_response=answer))
    assert (finished.outcome, finished.result) == (outcome, result)


def test_geminis_calls_are_paired_by_tool_and_input() -> None:
    called = one(facts.ToolCalled, told("gemini-cli", "BeforeTool"))
    turned = dict(reversed(PAYLOADS["gemini-cli"]["AfterTool"]["tool_input"].items()))
    finished = one(facts.ToolFinished, told("gemini-cli", "AfterTool", tool_input=turned))
    assert finished.tool_call_id == called.tool_call_id
    assert (finished.outcome, finished.error) == ("failure", "Exit code 1\nTests: 1 failed, 5 passed, 6 total")
    assert finished.key == "record"
    other = one(facts.ToolCalled, told("gemini-cli", "BeforeTool", tool_input={"command": "npm run build"}))
    assert other.tool_call_id != called.tool_call_id
    broken = told("gemini-cli", "AfterTool", tool_response={"error": {"message": "no such tool", "type": "x"}})
    assert (one(facts.ToolFinished, broken).outcome, one(facts.ToolFinished, broken).error) == (
        "failure", "no such tool",
    )  # fmt: skip


def test_opencodes_finished_parts_tell_exit_code_duration_errors_and_refusals() -> None:
    finished = one(facts.ToolFinished, told("opencode", "event.message.part.updated"))
    assert (finished.key, finished.outcome, finished.duration_ms) == ("result:call_1", "failure", 2500)
    assert finished.error == "Exit code 2\nmake: *** [test] Error 1"
    time = {"start": 1777888801000, "end": 1777888801500}
    aborted = part({"status": "error", "input": {}, "error": "Tool execution aborted", "time": time})
    assert one(facts.ToolFinished, aborted).outcome == "cancelled"
    broken = part({"status": "error", "input": {}, "error": "File not found: a.py", "time": time}, tool="read")
    assert one(facts.ToolFinished, broken).outcome == "failure"
    words = "The user rejected permission to use this specific tool call."
    refused = part({"status": "error", "input": {"command": "git push"}, "error": words, "time": time})
    denied = one(facts.PermissionDenied, refused)
    assert (denied.tool_call_id, denied.tool, denied.reason) == ("call_1", "bash", words)
    assert one(facts.ToolFinished, refused).outcome == "cancelled"


@pytest.mark.parametrize("status", ["pending", "running"])
def test_opencodes_unfinished_parts_tell_nothing(status: str) -> None:
    assert part({"status": status, "input": {}, "time": {"start": 1}}).facts == ()


def test_an_output_that_opencode_prunes_later_is_not_told_again() -> None:
    time = {"start": 1777888801000, "end": 1777888801500, "compacted": 1777888900000}
    assert part({"status": "completed", "input": {}, "output": "", "metadata": {}, "time": time}).facts == ()


def test_a_permission_that_is_asked_for_or_denied() -> None:
    for harness, event in (("claude-code", "PermissionRequest"), ("codex", "PermissionRequest")):
        asked = one(facts.Notified, told(harness, event))
        assert (asked.kind, asked.message) == ("permission_request", "Bash: git push")
    asked = one(facts.Notified, told("opencode", "event.permission.asked"))
    assert (asked.kind, asked.message) == ("permission_request", "bash: git push *")
    found = told("claude-code", "PermissionDenied")
    denied, finished = one(facts.PermissionDenied, found), one(facts.ToolFinished, found)
    assert (denied.tool_call_id, denied.tool, denied.reason) == ("t-2", "Bash", "the branch is protected")
    assert (finished.key, finished.outcome, finished.error) == (
        "result:t-2",
        "cancelled",
        "the branch is protected",
    )


# Subagents and plans


def test_the_parent_hears_of_a_subagent_by_its_own_call() -> None:
    task = {"description": "look around", "subagent_type": "Explore", "prompt": "..."}
    sent = one(facts.SubagentStarted, told("claude-code", "PreToolUse", tool_name="Agent", tool_input=task))
    assert (sent.key, sent.agent_type, sent.description) == ("subagent:t-1", "Explore", "look around")
    answer: dict[str, Any] = {"agentId": "a-1", "status": "completed"}
    back = told("claude-code", "PostToolUse", tool_name="Agent", tool_input=task, tool_response=answer)
    assert (one(facts.SubagentEnded, back).subagent_id, one(facts.SubagentEnded, back).agent_id) == ("t-1", "a-1")
    answer["status"] = "async_launched"
    launched = told("claude-code", "PostToolUse", tool_name="Agent", tool_input=task, tool_response=answer)
    assert of_type(facts.SubagentEnded, launched) == []

    spawned = told(
        "codex",
        "PostToolUse",
        tool_name="spawn_agent",
        tool_input={"message": "look around"},
        tool_response='{"agent_id":"x-sub"}',
    )
    assert one(facts.SubagentStarted, spawned).key == "subagent:x-sub"
    waited = told(
        "codex",
        "PostToolUse",
        tool_name="multi_agent_v1wait_agent",
        tool_input={},
        tool_response='{"status":{"x-sub":{"completed":"Two."},"x-other":"running"}}',
    )
    assert [fact.subagent_id for fact in of_type(facts.SubagentEnded, waited)] == ["x-sub"]

    given = {"input": {"sessionID": "ses_1", "tool": "task", "callID": "call_5"}, "output": {"args": task}}
    assert one(facts.SubagentStarted, told("opencode", "tool.execute.before", **given)).key == "subagent:call_5"
    gemini = {"agent_name": "codebase_investigator", "prompt": "look around"}
    sent = one(
        facts.SubagentStarted, told("gemini-cli", "BeforeTool", tool_name="invoke_agent", tool_input=gemini)
    )
    assert (sent.agent_type, sent.description) == ("codebase_investigator", "look around")


def test_a_plan_written_whole_is_told_with_the_transcripts_key() -> None:
    wanted = [("Find the bug", "completed"), ("Fix it", "in_progress")]

    def steps(name: str) -> list[dict[str, str]]:
        found = [{name: text, "status": status} for text, status in wanted]
        return [*found, {name: "Drop it", "status": "cancelled"}]

    todo = {
        "status": "completed",
        "input": {"todos": steps("content")},
        "output": "[]",
        "metadata": {},
        "time": {},
    }
    for found, key in (
        (
            told("claude-code", "PostToolUse", tool_name="TodoWrite", tool_input={"todos": steps("content")}),
            "plan:t-1",
        ),
        (
            told(
                "codex",
                "PostToolUse",
                tool_name="update_plan",
                tool_input={"plan": steps("step")},
                tool_response="ok",
            ),
            "plan:k-1",
        ),
        (
            told(
                "gemini-cli",
                "AfterTool",
                tool_name="write_todos",
                tool_input={"todos": steps("description")},
                tool_response={"llmContent": "done"},
            ),
            "record:plan",
        ),
        (part(todo, tool="todowrite"), "plan:call_1"),
    ):
        plan = one(facts.PlanUpdated, found)
        assert (plan.key, [(item.text, item.status) for item in plan.items]) == (key, wanted)


def test_changes_of_one_step_and_a_subagents_plan_are_not_told_as_the_plan() -> None:
    created = told("claude-code", "PostToolUse", tool_name="TaskCreate", tool_input={"subject": "x"})
    assert of_type(facts.PlanUpdated, created) == []
    todos = {"todos": [{"content": "x", "status": "pending"}]}
    inner = told(
        "claude-code", "PostToolUse", tool_name="TodoWrite", tool_input=todos, agent_id="a-1", agent_type="Explore"
    )
    assert of_type(facts.PlanUpdated, inner) == []


# Compaction, turns, context, changes


def test_compaction_is_told_before_and_after() -> None:
    for harness, trigger in (("claude-code", "auto"), ("codex", "manual")):
        assert one(facts.CompactionStarted, told(harness, "PreCompact")).trigger == trigger
        assert one(facts.ContextCompacted, told(harness, "PostCompact")).trigger == trigger
    assert one(facts.ContextCompacted, told("claude-code", "PostCompact")).summary == "So far the basket."
    assert one(facts.CompactionStarted, told("opencode", "experimental.session.compacting")).trigger is None
    text = {"id": "prt_7", "messageID": "msg_7", "type": "text", "text": "So far the basket.", "time": {"end": 2}}
    event, properties = "event.message.part.updated", {"sessionID": "ses_1", "part": text}
    compacted = one(
        facts.ContextCompacted, told("opencode", event, properties=properties, summary=True, trigger="auto")
    )
    assert (compacted.key, compacted.summary, compacted.trigger) == (
        "msg_7:compacted", "So far the basket.", "auto",
    )  # fmt: skip
    said = one(facts.AssistantSaid, told("opencode", event, properties=properties))
    assert (said.key, said.text) == ("prt_7:said", "So far the basket.")


def test_geminis_precompress_is_no_mark_of_a_compaction() -> None:
    payload = {"session_id": "g-1", "trigger": "auto"}
    assert ADAPTERS["gemini-cli"].read_hook("PreCompress", payload, call()).facts == ()


def test_a_turn_ends_well_or_by_an_error() -> None:
    for harness, event in (
        ("claude-code", "Stop"),
        ("codex", "Stop"),
        ("gemini-cli", "AfterAgent"),
        ("opencode", "event.session.idle"),
    ):
        assert one(facts.TurnEnded, told(harness, event)).error is None
    assert one(facts.TurnEnded, told("claude-code", "StopFailure")).error == "rate_limit: try again at noon"
    assert one(facts.TurnEnded, told("opencode", "event.session.error")).error == "APIError: overloaded"


def test_the_user_stops_the_agent() -> None:
    assert one(facts.Interrupted, told("codex", "Interrupt")).key == "record"
    info = {**PAYLOADS["opencode"]["event.message.updated"]["properties"]["info"]}
    info["error"] = {"name": "MessageAbortedError", "data": {"message": "aborted"}}
    found = told("opencode", "event.message.updated", properties={"sessionID": "ses_1", "info": info})
    assert one(facts.Interrupted, found).key == "msg_2:interrupted"


def test_the_context_percentage_is_told_where_the_payload_has_it() -> None:
    for found, measured in (
        (told("claude-code", "Status"), (84000, 200000, 42)),
        (told("gemini-cli", "AfterModel"), (524288, 1048576, 50)),
        (told("opencode", "event.message.updated"), (50000, 200000, 25)),
    ):
        fact = one(facts.ContextMeasured, found)
        assert (fact.used_tokens, fact.window_tokens, fact.percent) == measured
    request = {**PAYLOADS["gemini-cli"]["AfterModel"]["llm_request"], "model": "gemma-3-27b"}
    assert (
        one(facts.ContextMeasured, told("gemini-cli", "AfterModel", llm_request=request)).window_tokens == 256000
    )
    chunk = told("gemini-cli", "AfterModel", llm_response={"text": "I", "candidates": []})
    assert chunk.facts == ()
    unanswered = {"context_window_size": 1000000, "current_usage": None, "used_percentage": None}
    assert of_type(facts.ContextMeasured, told("claude-code", "Status", context_window=unanswered)) == []
    assert of_type(facts.ContextMeasured, told("opencode", "event.message.updated", contextWindow=None)) == []


def test_what_changes_about_a_session() -> None:
    status = one(facts.SessionChanged, told("claude-code", "Status"))
    assert (status.model, status.version, status.cwd) == ("claude-sonnet-5-5", "2.1.330", "/home/ana/shop/api")
    assert one(facts.SessionChanged, told("claude-code", "PostModelSwitch")).model == "claude-opus-5"
    assert one(facts.SessionChanged, told("claude-code", "CwdChanged")).cwd == "/home/ana/shop/api"
    prompted = one(facts.SessionChanged, told("codex", "UserPromptSubmit"))
    assert (prompted.model, prompted.permission_mode) == ("gpt-6", "default")
    assert one(facts.SessionChanged, told("opencode", "event.vcs.branch.updated")).git_branch == "tax"
    assert one(facts.SessionChanged, told("gemini-cli", "AfterModel")).model == "gemini-2.5-flash"


def test_notifications_say_of_what_kind_they_are() -> None:
    for harness, event, kind in (
        ("claude-code", "Notification", "permission_prompt"),
        ("gemini-cli", "Notification", "ToolPermission"),
        ("opencode", "event.question.asked", "question"),
        ("opencode", "event.session.status", "retry"),
    ):
        told_of = one(facts.Notified, told(harness, event))
        assert told_of.kind == kind
        assert told_of.message
    assert told("opencode", "event.session.status", properties={"status": {"type": "busy"}}).facts == ()


def test_what_the_user_typed_for_an_mcp_server_is_not_kept() -> None:
    found = told("claude-code", "ElicitationResult")
    assert one(facts.Notified, found).message == "tickets: accept"
    assert "password" not in repr(found)


@pytest.mark.parametrize(
    ("tool", "action"),
    [
        ("replace", "edit"),
        ("write_file", "write"),
        ("read_file", "read"),
        ("multiedit", "edit"),
        ("task", "spawn_subagent"),
        ("invoke_agent", "spawn_subagent"),
        ("webfetch", "fetch"),
        ("google_web_search", "web_search"),
        ("todowrite", "todo_write"),
        ("write_todos", "todo_write"),
    ],
)
def test_the_tools_of_gemini_cli_and_opencode_have_the_names_of_what_they_do(tool: str, action: str) -> None:
    assert one(facts.ToolCalled, told("gemini-cli", "BeforeTool", tool_name=tool, tool_input={})).action == action
