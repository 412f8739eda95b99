"""Gemini CLI's hooks as facts (0.61; fields from its `hooks/types.ts`, and captured payloads).

A call has no id here: one is made from the tool and its input, so two equal calls have the same and are paired in
their order. The prompt holds what hooks injected, our own briefing too; that is taken out again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256

from session_continuity.capture.facts import facts
from session_continuity.capture.facts.actions import SUBAGENT_TOOLS
from session_continuity.capture.facts.facts import Fact, HookFacts, Record
from session_continuity.capture.facts.prompts import written_by_person
from session_continuity.capture.facts.transcripts import fields, names, parts_text, text, whole
from session_continuity.capture.harnesses.gemini_cli import context_window_for
from session_continuity.capture.harnesses.gemini_results import finished_call
from session_continuity.capture.harnesses.hook_events import (
    Hook,
    HookCall,
    HookEvent,
    HookSession,
    HookTable,
    refusals,
)

HARNESS: str = "gemini-cli"

_COMMON = names("session_id transcript_path cwd hook_event_name timestamp")
_TOOL = names("tool_name tool_input mcp_context original_request_name")


def read_hook(event: str, payload: Record, call: HookCall) -> HookFacts:
    """The facts of one payload; see `hooks.HookAdapter`."""
    return _TABLE.read(event, payload, call)


def _session_of(hook: Hook) -> HookSession:
    return HookSession(
        session_id=hook.text("session_id"), cwd=hook.text("cwd"), transcript_path=hook.text("transcript_path")
    )


def call_id(tool: str, parameters: Record) -> str:
    """The id of a call that has none: equal calls have an equal one."""
    try:
        canonical = json.dumps(parameters, sort_keys=True)
    except RecursionError:
        canonical = ""
    return f"{tool}:{sha256(canonical.encode()).hexdigest()[:16]}"


def _session_start(hook: Hook) -> Iterator[Fact]:
    yield hook.session_started(HARNESS, _session_of(hook), source=hook.text("source"), model=None)


def _session_end(hook: Hook) -> Iterator[Fact]:
    yield hook.session_ended(hook.text("reason") or "other")


def _prompt(hook: Hook) -> Iterator[Fact]:
    yield from hook.changed(cwd=hook.text("cwd"))
    if words := written_by_person(hook.text("prompt") or ""):
        yield hook.prompt(words, "user")


def _turn_ended(hook: Hook) -> Iterator[Fact]:
    yield from hook.answered(hook.text("prompt_response"))
    yield hook.turn_ended()


def _answered_by_model(hook: Hook) -> Iterator[Fact]:
    """It fires for every streamed chunk; the counts come with the last ones."""
    model = text(hook.fields("llm_request").get("model"))
    used = whole(fields(hook.fields("llm_response").get("usageMetadata")).get("promptTokenCount"))
    if used:
        yield from hook.changed(model=model)
        yield hook.measured(used, context_window_for(model))


def _call(hook: Hook, key: str) -> facts.ToolCalled:
    tool, parameters = hook.text("tool_name") or "unknown", hook.fields("tool_input")
    return hook.tool_called(call_id(tool, parameters), tool, parameters, key=key)


def _tool_called(hook: Hook) -> Iterator[Fact]:
    call = _call(hook, hook.key())
    yield call
    if call.tool in SUBAGENT_TOOLS:
        yield facts.SubagentStarted(
            key=hook.key("subagent"),
            at=hook.at,
            subagent_id=call.tool_call_id,
            agent_type=text(call.parameters.get("agent_name")),
            description=(text(call.parameters.get("prompt")) or "")[:200] or None,
            tool_call_id=call.tool_call_id,
        )


def _tool_finished(hook: Hook) -> Iterator[Fact]:
    call, response = _call(hook, hook.key("call")), hook.fields("tool_response")
    told, failure = parts_text(response.get("llmContent")), response.get("error")
    error = text(failure) or text(fields(failure).get("message")) or ("no message" if failure else None)
    yield finished_call(
        hook.key(), call.tool_call_id, call.tool, told, error=error, cancelled=False, at=hook.at, call=call
    )
    if error is None:
        yield from hook.plan_updated(call, key=hook.key("plan"))


def _notification(hook: Hook) -> Iterator[Fact]:
    yield hook.notified(hook.text("notification_type") or "notification", hook.text("message") or "")


_TABLE = HookTable(
    common=_COMMON,
    session_of=_session_of,
    events={
        "SessionStart": HookEvent(
            recorded="The session: how it began (startup, resume, clear), folder, process.",
            read=_session_start,
            fields=names("source"),
        ),
        "BeforeAgent": HookEvent(
            recorded="The prompt without what hooks injected, and the folder.",
            read=_prompt,
            fields=names("prompt"),
        ),
        "BeforeTool": HookEvent(
            recorded="The intent: tool and parameters, before it runs.", read=_tool_called, fields=_TOOL
        ),
        "AfterTool": HookEvent(
            recorded="The outcome: output, exit code, error; the plan when it was written.",
            read=_tool_finished,
            fields=_TOOL | names("tool_response"),
        ),
        "AfterModel": HookEvent(
            recorded="The context percentage and the model. Not installed: it holds the whole conversation again "
            "for every chunk of an answer, and the transcript tells the same.",
            read=_answered_by_model,
            fields=names("llm_request llm_response"),
        ),
        "AfterAgent": HookEvent(
            recorded="The end of a turn: the agent waits.",
            read=_turn_ended,
            fields=names("prompt prompt_response stop_hook_active"),
        ),
        "Notification": HookEvent(
            recorded="What the user was told or asked, such as to permit a tool.",
            read=_notification,
            fields=names("notification_type message details"),
        ),
        "SessionEnd": HookEvent(
            recorded="The end of the session and its reason.", read=_session_end, fields=names("reason")
        ),
    },
    refused=refusals(
        {
            "it fires before every request, compressed or not; the transcript tells": "PreCompress",
            "it holds the whole request again; prompt and tools are told by the other events": (
                "BeforeModel BeforeToolSelection"
            ),
        }
    ),
)

EVENTS: Mapping[str, str] = _TABLE.recorded
REFUSED: Mapping[str, str] = _TABLE.refused
