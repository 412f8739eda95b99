"""Every event that a harness offers is recorded or refused, and the page on capture says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from session_continuity.capture.harnesses.hooks import ADAPTERS, HookAdapter

PAGE = Path(__file__).parents[2] / "docs" / "capture.md"

OFFERED = {
    "claude-code": """PreToolUse PostToolUse PostToolUseFailure PostToolBatch Notification UserPromptSubmit
        UserPromptExpansion SessionStart SessionEnd Stop StopFailure SubagentStart SubagentStop PreCompact
        PostCompact PreModelSwitch PostModelSwitch PermissionRequest PermissionDenied Setup TeammateIdle
        TaskCreated TaskCompleted Elicitation ElicitationResult ConfigChange WorktreeCreate WorktreeRemove
        InstructionsLoaded CwdChanged FileChanged DirectoryAdded MessageDisplay Status""",
    "codex": """SessionStart SessionEnd UserPromptSubmit PreToolUse PermissionRequest PostToolUse PreCompact
        PostCompact SubagentStart SubagentStop Stop Interrupt PreModelRequest PostModelRequest""",
    "gemini-cli": """SessionStart SessionEnd BeforeAgent AfterAgent BeforeModel AfterModel BeforeToolSelection
        BeforeTool AfterTool PreCompress Notification""",
    "opencode": """event.session.created event.session.updated event.session.status event.session.idle
        event.session.diff event.session.error event.session.deleted event.session.compacted event.message.updated
        event.message.removed event.message.part.updated event.message.part.delta event.message.part.removed
        event.todo.updated event.permission.asked event.permission.replied event.question.asked
        event.question.replied event.question.rejected event.command.executed event.file.edited
        event.vcs.branch.updated chat.message chat.params chat.headers tool.execute.before tool.execute.after
        permission.ask shell.env command.execute.before experimental.chat.system.transform
        experimental.chat.messages.transform experimental.session.compacting experimental.compaction.autocontinue
        experimental.text.complete tool.definition dispose""",
}
"""As the harnesses' own declarations and programs name them (Claude Code 2.1.330, Codex 0.169, Gemini CLI 0.61,
OpenCode 1.18.33)."""


def table(adapter: HookAdapter) -> str:
    """What the page says of a harness."""
    recorded = [f"| `{event}` | {sentence} |" for event, sentence in adapter.EVENTS.items()]
    reasons: dict[str, list[str]] = {}
    for event, reason in adapter.REFUSED.items():
        reasons.setdefault(reason, []).append(f"`{event}`")
    refused = [f"| {' '.join(events)} | {reason} |" for reason, events in reasons.items()]
    lines = [f"## {adapter.HARNESS}", "", "| event | what is recorded |", "|---|---|", *recorded]
    return "\n".join([*lines, "", "| not subscribed to | because |", "|---|---|", *refused, ""])


@pytest.mark.parametrize("harness", ADAPTERS)
def test_every_event_that_a_harness_offers_is_recorded_or_refused(harness: str) -> None:
    adapter = ADAPTERS[harness]
    assert set(OFFERED[harness].split()) <= set(adapter.EVENTS) | set(adapter.REFUSED)
    assert not set(adapter.EVENTS) & set(adapter.REFUSED)
    assert all(sentence.endswith(".") for sentence in adapter.EVENTS.values())
    assert all(adapter.REFUSED.values())


@pytest.mark.parametrize("harness", ADAPTERS)
def test_the_page_on_capture_says_what_is_recorded(harness: str) -> None:
    """When it fails, put what `table` gives into the page."""
    assert table(ADAPTERS[harness]) in PAGE.read_text("utf-8")
