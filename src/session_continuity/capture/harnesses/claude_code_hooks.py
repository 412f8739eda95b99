"""Claude Code's hooks as facts (33 events of 2.1.330, and the status line's JSON as event `Status`).

Fields and meanings: type declarations of `@anthropic-ai/claude-agent-sdk` 0.3.330, and captured payloads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from session_continuity.capture.facts import facts
from session_continuity.capture.facts.actions import SUBAGENT_TOOLS
from session_continuity.capture.facts.facts import JSON, Fact, HookFacts, Record
from session_continuity.capture.facts.prompts import SlashCommand, written_by_person
from session_continuity.capture.facts.transcripts import fields, names, text, whole
from session_continuity.capture.harnesses.claude_results import finished_call
from session_continuity.capture.harnesses.hook_events import (
    Hook,
    HookCall,
    HookEvent,
    HookSession,
    HookTable,
    refusals,
)

HARNESS: str = "claude-code"

_COMMON = names(
    "session_id transcript_path cwd hook_event_name prompt_id permission_mode agent_id agent_type effort"
)
_TOOL = names("tool_name tool_input tool_use_id mcp_server")
_STOP = names("stop_hook_active last_assistant_message background_tasks session_crons")
_RESUMED = names(
    """seconds_since_last_response context_tokens prompt_cache_likely_expired estimated_cache_write_usd
    session_title"""
)
_SWITCH = names(
    "requested_model source context_tokens prompt_cache_warm cache_ttl estimated_cache_write_usd pricing"
)
_STATUS = names(
    """model workspace version output_style cost context_window exceeds_200k_tokens prompt_cache fast_mode thinking
    session_name vim agent worktree rate_limits"""
)
_SLASH_COMMAND = re.compile(r"/([a-zA-Z][\w:-]{0,80})(?:\s+|$)")
_PERSONS = (None, "user", "sdk")
"""Sources of a prompt: typed, or handed over by `-p` and the SDK; the others are turns that the client starts."""


def read_hook(event: str, payload: Record, call: HookCall) -> HookFacts:
    """The facts of one payload; see `hooks.HookAdapter`."""
    return _TABLE.read(event, payload, call)


def _session_of(hook: Hook) -> HookSession:
    """A subagent's events are its own session's. One without a type is the client's own helper at a compaction."""
    session, agent = hook.text("session_id"), hook.text("agent_id")
    if agent and hook.text("agent_type"):
        return HookSession(
            session_id=agent,
            parent_id=session,
            cwd=hook.text("cwd"),
            transcript_path=hook.text("agent_transcript_path"),
        )
    return HookSession(session_id=session, cwd=hook.text("cwd"), transcript_path=hook.text("transcript_path"))


# The session


def _session_start(hook: Hook) -> Iterator[Fact]:
    yield hook.session_started(HARNESS, _session_of(hook), source=hook.text("source"), model=hook.text("model"))


def _session_end(hook: Hook) -> Iterator[Fact]:
    yield hook.session_ended(hook.text("reason") or "other")


def _cwd_changed(hook: Hook) -> Iterator[Fact]:
    yield from hook.changed(cwd=hook.text("new_cwd"))


def _model_switched(hook: Hook) -> Iterator[Fact]:
    yield from hook.changed(model=hook.text("to_model"))


def _status(hook: Hook) -> Iterator[Fact]:
    """The status line: used tokens are those of the last request, and null before the first answer."""
    model = text(hook.fields("model").get("id"))
    place = text(hook.fields("workspace").get("current_dir")) or hook.text("cwd")
    yield from hook.changed(model=model, version=hook.text("version"), cwd=place)
    context = hook.fields("context_window")
    usage, window = fields(context.get("current_usage")), whole(context.get("context_window_size"))
    parts = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    used = sum(whole(usage.get(name)) or 0 for name in parts)
    if used and window:
        yield hook.measured(used, window, percent=whole(context.get("used_percentage")))


# Turns


def _prompt(hook: Hook) -> Iterator[Fact]:
    yield from hook.changed(cwd=hook.text("cwd"), permission_mode=hook.text("permission_mode"))
    source, words = hook.text("source"), written_by_person(hook.text("prompt") or "")
    if words is None:
        return
    if source not in _PERSONS:
        yield hook.notified(f"prompt:{source}", words)
    elif hook.text("agent_id"):
        yield hook.prompt(words, "agent")
    elif match := _SLASH_COMMAND.match(words):
        command = SlashCommand(name=match[1], arguments=words[match.end() :])
        if command.is_about_work:
            yield hook.prompt(command.text, "slash_command")
    else:
        yield hook.prompt(words, "user")


def _stop(hook: Hook) -> Iterator[Fact]:
    yield from hook.answered(hook.text("last_assistant_message"))
    yield hook.turn_ended()


def _stop_failure(hook: Hook) -> Iterator[Fact]:
    yield from hook.answered(hook.text("last_assistant_message"))
    told = (hook.text("error"), hook.text("error_details"))
    yield hook.turn_ended(": ".join(words for words in told if words) or "unknown")


def _notification(hook: Hook) -> Iterator[Fact]:
    told = (hook.text("title"), hook.text("message"))
    yield hook.notified(
        hook.text("notification_type") or "notification", ": ".join(words for words in told if words)
    )


def _elicitation(hook: Hook) -> Iterator[Fact]:
    yield hook.notified("elicitation", f"{hook.text('mcp_server_name')}: {hook.text('message') or ''}")


def _elicitation_result(hook: Hook) -> Iterator[Fact]:
    yield hook.notified("elicitation_result", f"{hook.text('mcp_server_name')}: {hook.text('action')}")


def _config_changed(hook: Hook) -> Iterator[Fact]:
    yield hook.notified("config_change", f"{hook.text('source')}: {hook.text('file_path') or ''}")


def _directory_added(hook: Hook) -> Iterator[Fact]:
    yield hook.notified("directory_added", hook.text("directory") or "")


def _teammate_idle(hook: Hook) -> Iterator[Fact]:
    yield hook.notified("teammate_idle", hook.text("teammate_name") or "")


# Compaction


def _compaction_started(hook: Hook) -> Iterator[Fact]:
    yield facts.CompactionStarted(key=hook.key(), at=hook.at, trigger=hook.text("trigger"))


def _compacted(hook: Hook) -> Iterator[Fact]:
    yield facts.ContextCompacted(
        key=hook.key(),
        at=hook.at,
        trigger=hook.text("trigger"),
        tokens_before=None,
        tokens_after=None,
        summary=hook.text("compact_summary"),
    )


# Tools


def _call(hook: Hook) -> facts.ToolCalled:
    return hook.tool_called(
        hook.text("tool_use_id") or hook.key(),
        hook.text("tool_name") or "unknown",
        hook.fields("tool_input"),
        subagent=hook.text("agent_id"),
        took_ms=whole(hook.payload.get("duration_ms")),
    )


def _tool_called(hook: Hook) -> Iterator[Fact]:
    call = _call(hook)
    yield call
    if call.tool in SUBAGENT_TOOLS:
        yield facts.SubagentStarted(
            key=f"subagent:{call.tool_call_id}",
            at=hook.at,
            subagent_id=call.tool_call_id,
            agent_type=text(call.parameters.get("subagent_type")),
            description=text(call.parameters.get("description")),
            tool_call_id=call.tool_call_id,
        )


def _tool_succeeded(hook: Hook) -> Iterator[Fact]:
    response = hook.payload.get("tool_response")
    structured = response if isinstance(response, dict | list) else None
    finished = _finished(hook, {"content": None if structured else response}, structured)
    yield finished
    if finished.call and finished.outcome == "success" and not finished.call.subagent:
        yield from hook.plan_updated(finished.call)
    yield from _subagent_ended(finished)


def _tool_failed(hook: Hook) -> Iterator[Fact]:
    finished = _finished(hook, {"content": hook.payload.get("error"), "is_error": True}, None)
    yield finished
    yield from _subagent_ended(finished)


def _finished(hook: Hook, part: Record, structured: JSON) -> facts.ToolFinished:
    """As the transcript's reader makes it, with the duration that only the hook tells."""
    call = _call(hook)
    denied = hook.payload.get("is_interrupt") is True
    finished = finished_call(call.tool_call_id, part, structured, denied=denied, at=hook.at, asked=None)
    told = whole(hook.payload.get("duration_ms"))
    return replace(finished, call=call, duration_ms=finished.duration_ms if told is None else told)


def _subagent_ended(finished: facts.ToolFinished) -> Iterator[Fact]:
    """A background agent's call returns at once; its end is told in the transcript."""
    call, result = finished.call, fields(finished.result)
    if call is None or call.tool not in SUBAGENT_TOOLS:
        return
    if result.get("status") == "async_launched" or result.get("isAsync") is True:
        return
    yield facts.SubagentEnded(
        key=f"subagent-ended:{call.tool_call_id}",
        at=finished.at,
        subagent_id=call.tool_call_id,
        agent_type=text(call.parameters.get("subagent_type")),
        description=text(call.parameters.get("description")),
        tool_call_id=call.tool_call_id,
        agent_id=text(result.get("agentId")),
    )


def _permission_requested(hook: Hook) -> Iterator[Fact]:
    call = _call(hook)
    yield hook.permission_requested(call.tool, call.parameters)


def _permission_denied(hook: Hook) -> Iterator[Fact]:
    call, reason = _call(hook), hook.text("reason")
    yield facts.PermissionDenied(
        key=hook.key(),
        at=hook.at,
        tool_call_id=call.tool_call_id,
        tool=call.tool,
        parameters=call.parameters,
        reason=reason,
    )
    yield facts.ToolFinished(
        key=f"result:{call.tool_call_id}",
        at=hook.at,
        tool_call_id=call.tool_call_id,
        result=None,
        error=reason or "permission denied",
        outcome="cancelled",
        duration_ms=None,
        call=call,
    )


# Subagents


def _subagent_start(hook: Hook) -> Iterator[Fact]:
    session = _session_of(hook)
    if session.parent_id:
        yield hook.session_started(HARNESS, session, source="subagent", model=hook.text("model"))


def _subagent_stop(hook: Hook) -> Iterator[Fact]:
    if _session_of(hook).parent_id:
        yield from hook.answered(hook.text("last_assistant_message"))
        yield hook.session_ended("subagent_stopped")


_TABLE = HookTable(
    common=_COMMON,
    session_of=_session_of,
    events={
        "SessionStart": HookEvent(
            recorded="The session: how it began (startup, resume, clear, compact, fork), folder, model, process.",
            read=_session_start,
            fields=names("source model") | _RESUMED,
        ),
        "UserPromptSubmit": HookEvent(
            recorded="The prompt as typed, the folder and the permission mode; a turn that the client itself "
            "starts is a notification.",
            read=_prompt,
            fields=names("prompt source session_title"),
        ),
        "PreToolUse": HookEvent(
            recorded="The intent: tool and parameters, before it runs; of an agent tool also the task sent off.",
            read=_tool_called,
            fields=_TOOL,
        ),
        "PostToolUse": HookEvent(
            recorded="The outcome: result and duration; the plan when the tool wrote it whole; the subagent's "
            "return.",
            read=_tool_succeeded,
            fields=_TOOL | names("tool_response duration_ms"),
        ),
        "PostToolUseFailure": HookEvent(
            recorded="The failure: error, exit code, duration; cancelled when the user interrupted it.",
            read=_tool_failed,
            fields=_TOOL | names("error is_interrupt duration_ms"),
        ),
        "PermissionRequest": HookEvent(
            recorded="A notification that the user is asked about a tool.",
            read=_permission_requested,
            fields=_TOOL | names("permission_suggestions"),
        ),
        "PermissionDenied": HookEvent(
            recorded="The refusal with its reason; the call is cancelled.",
            read=_permission_denied,
            fields=_TOOL | names("reason"),
        ),
        "SubagentStart": HookEvent(
            recorded="A session of the subagent's own, spawned by this one.", read=_subagent_start
        ),
        "SubagentStop": HookEvent(
            recorded="The end of the subagent's session.",
            read=_subagent_stop,
            fields=_STOP | names("agent_transcript_path"),
        ),
        "PreCompact": HookEvent(
            recorded="A checkpoint before compaction, and whether it was asked for.",
            read=_compaction_started,
            fields=names("trigger custom_instructions"),
        ),
        "PostCompact": HookEvent(
            recorded="The compaction with its whole summary.",
            read=_compacted,
            fields=names("trigger compact_summary"),
        ),
        "Stop": HookEvent(recorded="The end of a turn: the agent waits.", read=_stop, fields=_STOP),
        "StopFailure": HookEvent(
            recorded="The end of a turn by an error of the model's service, with that error.",
            read=_stop_failure,
            fields=_STOP | names("error error_details"),
        ),
        "Notification": HookEvent(
            recorded="What the user was told, and of what kind it is.",
            read=_notification,
            fields=names("message title notification_type"),
        ),
        "SessionEnd": HookEvent(
            recorded="The end of the session and its reason.", read=_session_end, fields=names("reason")
        ),
        "PostModelSwitch": HookEvent(
            recorded="The model that the session runs on now.",
            read=_model_switched,
            fields=_SWITCH | names("from_model to_model"),
        ),
        "CwdChanged": HookEvent(
            recorded="The folder that the session works in now.",
            read=_cwd_changed,
            fields=names("old_cwd new_cwd"),
        ),
        "DirectoryAdded": HookEvent(
            recorded="A notification of the folder that was added.",
            read=_directory_added,
            fields=names("directory source"),
        ),
        "ConfigChange": HookEvent(
            recorded="A notification that settings changed, and which file.",
            read=_config_changed,
            fields=names("source file_path"),
        ),
        "Elicitation": HookEvent(
            recorded="A notification that an MCP server asks the user something.",
            read=_elicitation,
            fields=names("mcp_server_name message mode url elicitation_id requested_schema"),
        ),
        "ElicitationResult": HookEvent(
            recorded="Whether the user accepted, declined or cancelled; never what was typed.",
            read=_elicitation_result,
            fields=names("mcp_server_name elicitation_id mode action content"),
        ),
        "TeammateIdle": HookEvent(
            recorded="A notification that a teammate waits.",
            read=_teammate_idle,
            fields=names("teammate_name team_name"),
        ),
        "Status": HookEvent(
            recorded="The context percentage, model, version and folder, from the status line; hooks tell none.",
            read=_status,
            fields=_STATUS,
        ),
    },
    refused=refusals(
        {
            "PostToolUse and PostToolUseFailure have told each call of the batch": "PostToolBatch",
            "UserPromptSubmit tells the same words as typed": "UserPromptExpansion",
            "the TaskCreate and TaskUpdate calls tell the same": "TaskCreated TaskCompleted",
            "PostModelSwitch tells the switches that were made": "PreModelSwitch",
            "it fires for every flush of a text that the transcript holds whole": "MessageDisplay",
            "it says which instruction files were read, nothing about the work": "InstructionsLoaded",
            "it fires only for files that a hook asks to watch; edits are tool calls": "FileChanged",
            "a hook on it takes the client's place and must make or remove the worktree itself": "WorktreeCreate "
            "WorktreeRemove",
            "it runs by `claude --init` or `--maintenance`, before there is a session": "Setup",
        }
    ),
)

EVENTS: Mapping[str, str] = _TABLE.recorded
REFUSED: Mapping[str, str] = _TABLE.refused
