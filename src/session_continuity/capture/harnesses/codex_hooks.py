"""Codex's hooks as facts (0.169; names and fields from the schemas in its binary, and captured payloads).

A hook tells of a finished shell command its output and no exit code, so the outcome is unknown there; the rollout
completes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from session_continuity.capture.facts import facts
from session_continuity.capture.facts.actions import SHELL_TOOLS
from session_continuity.capture.facts.facts import Fact, HookFacts, Record
from session_continuity.capture.facts.prompts import written_by_person
from session_continuity.capture.facts.transcripts import fields, names, parse_object, parts_text, text
from session_continuity.capture.harnesses.codex_results import Told, finished_call, read_output
from session_continuity.capture.harnesses.hook_events import (
    Hook,
    HookCall,
    HookEvent,
    HookSession,
    HookTable,
    refusals,
)

HARNESS: str = "codex"

_COMMON = names("session_id transcript_path cwd hook_event_name model turn_id permission_mode agent_id agent_type")
_TOOL = names("tool_name tool_input tool_use_id")
_STOP = names("stop_hook_active last_assistant_message")
_TOOL_GROUP = re.compile(r"^multi_agent_v\d{1,3}_{0,2}(?=[a-z])")
"""Hooks run group and name of these tools together: `multi_agent_v1wait_agent` is the rollout's `wait_agent`."""

_STILL_AWAY = ("running", "pending_init", "not_found")


def read_hook(event: str, payload: Record, call: HookCall) -> HookFacts:
    """The facts of one payload; see `hooks.HookAdapter`."""
    return _TABLE.read(event, payload, call)


def _session_of(hook: Hook) -> HookSession:
    """A subagent's events name the parent as session; its own rollout is in one of two fields."""
    session, agent, path = hook.text("session_id"), hook.text("agent_id"), hook.text("transcript_path")
    if agent is None:
        return HookSession(session_id=session, cwd=hook.text("cwd"), transcript_path=path)
    own = hook.text("agent_transcript_path") if hook.event == "SubagentStop" else path
    return HookSession(session_id=agent, parent_id=session, cwd=hook.text("cwd"), transcript_path=own)


def _session_start(hook: Hook) -> Iterator[Fact]:
    yield hook.session_started(HARNESS, _session_of(hook), source=hook.text("source"), model=hook.text("model"))


def _session_end(hook: Hook) -> Iterator[Fact]:
    yield hook.session_ended(hook.text("reason") or "other")


def _prompt(hook: Hook) -> Iterator[Fact]:
    yield from hook.changed(
        cwd=hook.text("cwd"), model=hook.text("model"), permission_mode=hook.text("permission_mode")
    )
    if words := written_by_person(hook.text("prompt") or ""):
        yield hook.prompt(words, "agent" if hook.text("agent_id") else "user")


def _call(hook: Hook) -> facts.ToolCalled:
    return hook.tool_called(
        hook.text("tool_use_id") or hook.key(),
        _TOOL_GROUP.sub("", hook.text("tool_name") or "unknown"),
        hook.fields("tool_input"),
        subagent=hook.text("agent_id"),
    )


def _tool_called(hook: Hook) -> Iterator[Fact]:
    yield _call(hook)


def _tool_finished(hook: Hook) -> Iterator[Fact]:
    call, response = _call(hook), hook.payload.get("tool_response")
    failed = fields(response).get("isError") is True
    finished = finished_call(
        call.tool_call_id, read_output(response), Told(failed=failed), command=None, at=hook.at, asked=None
    )
    if call.tool in SHELL_TOOLS:
        output = parts_text(response) or parts_text(fields(response).get("content"))
        finished = replace(finished, result={"output": output}, outcome="unknown", error=None)
    # What it led to comes first: the recorder derives nothing from a call whose subagent is known already.
    if finished.outcome == "success":
        yield from _consequences(hook, call, parts_text(response))
    yield replace(finished, call=call)


def _consequences(hook: Hook, call: facts.ToolCalled, answer: str) -> Iterator[Fact]:
    told = parse_object(answer)
    if call.tool == "spawn_agent":
        message = text(call.parameters.get("message")) or text(call.parameters.get("task"))
        agent = text(told.get("agent_id")) or call.tool_call_id
        yield facts.SubagentStarted(
            key=f"subagent:{agent}",
            at=hook.at,
            subagent_id=agent,
            agent_type=text(call.parameters.get("agent_type")),
            description=message[:200] if message else None,
            tool_call_id=call.tool_call_id,
        )
    elif call.tool in ("wait_agent", "wait", "close_agent"):
        for agent, status in fields(told.get("status")).items():
            if status not in _STILL_AWAY:
                yield _subagent_back(hook, agent)
    elif not call.subagent:
        yield from hook.plan_updated(call)


def _subagent_back(hook: Hook, agent: str) -> Fact:
    return facts.SubagentEnded(
        key=f"subagent-ended:{agent}",
        at=hook.at,
        subagent_id=agent,
        agent_type=None,
        description=None,
        tool_call_id=None,
        agent_id=agent,
    )


def _permission_requested(hook: Hook) -> Iterator[Fact]:
    call = _call(hook)
    yield hook.permission_requested(call.tool, call.parameters)


def _subagent_start(hook: Hook) -> Iterator[Fact]:
    yield hook.session_started(HARNESS, _session_of(hook), source="subagent", model=hook.text("model"))


def _subagent_stop(hook: Hook) -> Iterator[Fact]:
    yield from hook.answered(hook.text("last_assistant_message"))
    yield hook.session_ended("subagent_stopped")


def _compaction_started(hook: Hook) -> Iterator[Fact]:
    yield facts.CompactionStarted(key=hook.key(), at=hook.at, trigger=hook.text("trigger"))


def _compacted(hook: Hook) -> Iterator[Fact]:
    yield facts.ContextCompacted(
        key=hook.key(),
        at=hook.at,
        trigger=hook.text("trigger"),
        tokens_before=None,
        tokens_after=None,
        summary=None,
    )


def _stop(hook: Hook) -> Iterator[Fact]:
    yield from hook.answered(hook.text("last_assistant_message"))
    yield hook.turn_ended()


def _interrupted(hook: Hook) -> Iterator[Fact]:
    yield facts.Interrupted(key=hook.key(), at=hook.at, tool_call_id=None)


_TABLE = HookTable(
    common=_COMMON,
    session_of=_session_of,
    events={
        "SessionStart": HookEvent(
            recorded="The session: how it began (startup, resume, clear, compact, fork), folder, model, "
            "permission mode, process.",
            read=_session_start,
            fields=names("source"),
        ),
        "UserPromptSubmit": HookEvent(
            recorded="The prompt, the folder, the model and the permission mode; a subagent's is its task.",
            read=_prompt,
            fields=names("prompt"),
        ),
        "PreToolUse": HookEvent(
            recorded="The intent: tool and parameters, before it runs.", read=_tool_called, fields=_TOOL
        ),
        "PostToolUse": HookEvent(
            recorded="The result; the outcome, but of a shell command (unknown until the rollout tells its exit "
            "code); the plan when it was written; subagents sent off and back.",
            read=_tool_finished,
            fields=_TOOL | names("tool_response"),
        ),
        "PermissionRequest": HookEvent(
            recorded="A notification that the user is asked about a tool.",
            read=_permission_requested,
            fields=_TOOL,
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
            fields=names("trigger"),
        ),
        "PostCompact": HookEvent(
            recorded="The compaction; its summary is in the rollout alone.",
            read=_compacted,
            fields=names("trigger"),
        ),
        "Stop": HookEvent(recorded="The end of a turn: the agent waits.", read=_stop, fields=_STOP),
        "Interrupt": HookEvent(recorded="That the user stopped the agent.", read=_interrupted),
        "SessionEnd": HookEvent(
            recorded="The end of the session and its reason.", read=_session_end, fields=names("reason")
        ),
    },
    refused=refusals(
        {
            "named in the program without a schema; what the model is asked and answers is in the rollout": (
                "PreModelRequest PostModelRequest"
            )
        }
    ),
)

EVENTS: Mapping[str, str] = _TABLE.recorded
REFUSED: Mapping[str, str] = _TABLE.refused
