"""What any harness can tell about a session, in one vocabulary.

Readers (`claude_code`, `codex`) turn a harness's own records into these facts; the recorder turns facts
into commands and events. Nothing here knows a harness or a database.

A fact's `key` names the record it came from, inside its session. It stays the same when the file is read
again or when more lines have been added, so a store that keeps keys stores each fact once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

JSON: TypeAlias = "dict[str, JSON] | list[JSON] | str | int | float | bool | None"
Record: TypeAlias = dict[str, JSON]

Outcome: TypeAlias = Literal["success", "failure", "cancelled", "unknown"]
PlanStatus: TypeAlias = Literal["pending", "in_progress", "completed"]
ProblemKind: TypeAlias = Literal["broken_line", "unknown_record"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedFact:
    """What all facts share: their identity inside the session and when they happened (aware, UTC).

    `at` is the time of the record, or of the last record that had one; None only before the first.
    """

    key: str
    at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStarted(RecordedFact):
    """The first fact of every transcript.

    `source` is what the harness says about how it began: startup, resume, compact (Claude Code), exec,
    cli, vscode (Codex), or subagent. `parent_harness_session_id` is set for a subagent's own transcript.
    """

    harness: str
    harness_session_id: str | None
    cwd: str | None
    git_branch: str | None
    git_head: str | None
    version: str | None
    model: str | None
    source: str | None
    parent_harness_session_id: str | None
    pid: int | None = None
    host: str | None = None
    transcript_path: str | None = None
    permission_mode: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionChanged(RecordedFact):
    """Something about the running session is different; a field that is None did not change."""

    cwd: str | None = None
    git_branch: str | None = None
    model: str | None = None
    version: str | None = None
    permission_mode: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSubmitted(RecordedFact):
    """A person's words.

    `source` is "user", "slash_command" (the text is then "/name arguments"), "queued" (typed while the
    agent worked) or "agent" (the task of a Codex subagent's own rollout, written by its parent).
    """

    text: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCalled(RecordedFact):
    """The intent: a tool is about to run. `subagent` names who asked, None for the main thread."""

    tool_call_id: str
    tool: str
    action: str
    parameters: Record
    subagent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFinished(RecordedFact):
    """The outcome of a call. `result` keeps the harness's own shape; `duration_ms` may be measured by us.

    `call` is the call told again, as the hooks do; a transcript told it before. The outcome is unknown where the
    harness does not tell it (a shell command in Codex's hooks); its transcript completes it. When the call
    fetched the output of an earlier background command (Claude Code TaskOutput, Codex write_stdin),
    `result["command"]` is that command.
    """

    tool_call_id: str
    result: JSON
    error: str | None
    outcome: Outcome
    duration_ms: int | None
    call: ToolCalled | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanItem:
    """One step of the agent's plan."""

    text: str
    status: PlanStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanUpdated(RecordedFact):
    """The whole plan after a change; `text` is an approved plan in words (Claude Code plan mode)."""

    items: tuple[PlanItem, ...]
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextCompacted(RecordedFact):
    """The harness replaced the conversation by a summary. `trigger` is manual or auto where it is told."""

    trigger: str | None
    tokens_before: int | None
    tokens_after: int | None
    summary: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextMeasured(RecordedFact):
    """How full the main thread's context window is; told only when the percent changes."""

    used_tokens: int
    window_tokens: int
    percent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionStarted(RecordedFact):
    """The harness is about to replace the conversation by a summary."""

    trigger: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PermissionDenied(RecordedFact):
    """The user or a rule refused a tool; nothing was run."""

    tool_call_id: str | None
    tool: str
    parameters: Record
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notified(RecordedFact):
    """The harness told the user something, such as that it waits for a permission."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnEnded(RecordedFact):
    """The agent stopped and waits for the user; `error` tells when it stopped because it failed."""

    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmapped(RecordedFact):
    """An event of the harness that nothing here understands, as it came."""

    event: str
    payload: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class SubagentStarted(RecordedFact):
    """A subagent was sent off.

    `subagent_id` is the agent's own id where it is known at that moment (Codex), else the id of the call.
    """

    subagent_id: str
    agent_type: str | None
    description: str | None
    tool_call_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubagentEnded(RecordedFact):
    """The subagent of that `subagent_id` came back; `agent_id` is its own id (names its transcript)."""

    subagent_id: str
    agent_type: str | None
    description: str | None
    tool_call_id: str | None
    agent_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AssistantSaid(RecordedFact):
    """A text of the main thread to the user; the last one before the next prompt closes a turn."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnded(RecordedFact):
    """The user left the session; a session that was killed never tells."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted(RecordedFact):
    """The user stopped the agent, during that tool call where it is known."""

    tool_call_id: str | None


Fact: TypeAlias = (
    SessionStarted
    | SessionChanged
    | PromptSubmitted
    | ToolCalled
    | ToolFinished
    | PlanUpdated
    | ContextCompacted
    | ContextMeasured
    | CompactionStarted
    | PermissionDenied
    | Notified
    | TurnEnded
    | Unmapped
    | SubagentStarted
    | SubagentEnded
    | AssistantSaid
    | SessionEnded
    | Interrupted
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HookFacts:
    """What one hook told: of which session, where its own recording lies, and the facts."""

    harness_session_id: str | None
    parent_harness_session_id: str | None
    cwd: str | None
    transcript_path: str | None
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A line that gave no fact though it should: `line` counts from 1. Never fatal; count and report it."""

    line: int
    kind: ProblemKind
    detail: str
