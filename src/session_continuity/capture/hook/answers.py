"""What a hook prints: a text for the model, or a refused tool, in the form of each harness.

Claude Code and Codex take one form (Codex refuses unknown fields), Gemini CLI refuses a tool in its own;
OpenCode's is that of our plugin. An event that is not named takes no text: there is nothing to print then.
"""

from __future__ import annotations

import json

_TOLD = {
    "claude-code": frozenset(
        (
            "SessionStart",
            "UserPromptSubmit",
            "PreToolUse",
            "PostToolUse",
            "PostToolUseFailure",
            "PostToolBatch",
            "SubagentStart",
        )
    ),
    "codex": frozenset(("SessionStart", "UserPromptSubmit", "PreToolUse", "PostToolUse", "SubagentStart")),
    "gemini-cli": frozenset(("SessionStart", "BeforeAgent", "AfterTool")),
}
"""Where a text reaches the model. Not at Stop: there it would keep the turn going without end."""

_BEFORE_TOOL = {"claude-code": "PreToolUse", "codex": "PreToolUse", "gemini-cli": "BeforeTool"}


def context_answer(harness: str, event: str, text: str) -> str | None:
    """What to print so that the model is told `text`; None where this event of the harness can't tell it."""
    if harness == "opencode":
        return json.dumps({"additionalContext": text})
    if event not in _TOLD.get(harness, ()):
        return None
    return json.dumps({"hookSpecificOutput": {"hookEventName": event, "additionalContext": text}})


def refusal_answer(harness: str, event: str, reason: str) -> str | None:
    """What to print so that the tool is not run and the model is told why; None when no tool is about to run."""
    if harness == "opencode":
        return json.dumps({"block": True, "reason": reason}) if event == "tool.execute.before" else None
    if event != _BEFORE_TOOL.get(harness):
        return None
    if harness == "gemini-cli":
        return json.dumps({"decision": "deny", "reason": reason})
    denied = {"hookEventName": event, "permissionDecision": "deny", "permissionDecisionReason": reason}
    return json.dumps({"hookSpecificOutput": denied})
