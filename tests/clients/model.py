"""The scripted model, with what its script lacks: subagents and compactions of Gemini CLI and OpenCode.

usage: python model.py FOLDER ...: stub_model.py of that folder, with its options

A prompt with the word DELEGATE makes these two send a subagent off as well. A request without tools is for a
summary; once that is in the conversation, the model counts few tokens, else the client would compact without end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

SUMMARY = "SUMMARY: both tools were called."
TASK = "Run both tools and report."
FEW = 3_000

Events = Callable[[dict[str, Any]], Iterator[tuple[str | None, dict[str, Any]]]]


def counting(model: Any, events: Events) -> Events:
    """Few tokens after a compaction."""

    def counted(body: dict[str, Any]) -> Iterator[tuple[str | None, dict[str, Any]]]:
        usual = model.state["usage"]
        if SUMMARY in json.dumps(body):
            model.state["usage"] = FEW
        try:
            yield from list(events(body))
        finally:
            model.state["usage"] = usual

    return counted


def opencode(model: Any, usual: Events) -> Events:
    """OpenAI Chat Completions: the task tool, and a summary."""

    def events(body: dict[str, Any]) -> Iterator[tuple[str | None, dict[str, Any]]]:
        asked = [message for message in body.get("messages", []) if message.get("role") in ("user", "tool")]
        last = asked[-1] if asked else {}
        delegates = last.get("role") == "user" and "DELEGATE" in model.text_of(last.get("content"))
        tools = [tool["function"]["name"] for tool in body.get("tools", [])]
        if delegates and "task" in tools:
            arguments = {"description": "probe", "prompt": TASK, "subagent_type": "general"}
            function = {"name": "task", "arguments": json.dumps(arguments)}
            identity = f"call_task_{model.state['count']}"
            call = {"index": 0, "id": identity, "type": "function", "function": function}
            usual_events = list(usual(body))
            base = {**usual_events[0][1], "choices": []}
            for delta, finish in (({"role": "assistant", "tool_calls": [call]}, None), ({}, "tool_calls")):
                yield None, {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
            yield usual_events[-1]
            return
        for name, event in usual(body):
            yield name, (event if tools else json.loads(json.dumps(event).replace("Stub text.", SUMMARY)))

    return events


def gemini(model: Any, usual: Events) -> Events:
    """Gemini: invoke_agent, a subagent's complete_task, and a summary."""

    def events(body: dict[str, Any]) -> Iterator[tuple[str | None, dict[str, Any]]]:
        (event,) = usual(body)
        parts = [part for content in body.get("contents", [])[-1:] for part in content.get("parts", [])]
        answered = any("functionResponse" in part for part in parts)
        tools = [each["name"] for tool in body.get("tools", []) for each in tool.get("functionDeclarations", [])]
        found: dict[str, Any] | None = None
        if "complete_task" in tools and answered:
            found = {"name": "complete_task", "args": {"result": {"response": "Both were called."}}}
        elif "DELEGATE" in model.text_of(parts) and not answered and "invoke_agent" in tools:
            found = {"name": "invoke_agent", "args": {"agent_name": "generalist", "prompt": TASK}}
        if found is not None:
            event[1]["candidates"][0]["content"]["parts"] = [{"functionCall": found}]
        elif not tools:
            snapshot = f"<state_snapshot>{SUMMARY}</state_snapshot>"
            event[1]["candidates"][0]["content"]["parts"] = [{"text": snapshot}]
        yield event

    return events


def main() -> None:
    sys.path.insert(0, sys.argv.pop(1))
    import stub_model  # pyright: ignore[reportMissingImports]

    stub_model.chat_events = counting(stub_model, opencode(stub_model, stub_model.chat_events))
    stub_model.gemini_events = counting(stub_model, gemini(stub_model, stub_model.gemini_events))
    stub_model.main()


if __name__ == "__main__":
    main()
