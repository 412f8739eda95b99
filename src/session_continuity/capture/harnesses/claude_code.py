"""Claude Code's transcripts as facts: `~/.claude/projects/<folder>/<session>.jsonl` and `subagents/*.jsonl`.

Seen: 1.0.0 to 1.0.108 (subagents inline as sidechains), 2.1.39, 2.1.330. The format is declared internal,
so every record type and every field is optional here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from session_continuity.capture.facts import facts
from session_continuity.capture.facts.actions import SHELL_TOOLS, SUBAGENT_TOOLS, action_of
from session_continuity.capture.facts.facts import JSON, Fact, Problem, Record
from session_continuity.capture.facts.plans import PLAN_TOOLS, plan_text
from session_continuity.capture.facts.prompts import (
    CONTINUATION,
    INTERRUPTION,
    PromptQueue,
    between,
    slash_command,
    written_by_person,
)
from session_continuity.capture.facts.shell_commands import command_text
from session_continuity.capture.facts.transcripts import (
    Line,
    elements,
    fields,
    names,
    parts_text,
    remember,
    text,
    whole,
)
from session_continuity.capture.harnesses.claude_results import finished_call
from session_continuity.capture.harnesses.transcript_reader import KEPT, TranscriptReader

HARNESS = "claude-code"

KNOWN_AND_IGNORED = names(
    """api-request api-request-blob api-request-shape atis-latch cost-state file-history-snapshot last-prompt
    mode progress summary tools-used
    agent-color agent-name agent-setting ai-title attribution-snapshot content-replacement custom-title
    pr-link saved_hook_context speculation-accept tag worktree-state"""
)
"""Record types without a fact for us: copies of requests, costs, snapshots, screen state; those from agent-color
on (names and links given by the user or the client) are known by name only, no recording holds them."""

_WINDOWS = {"claude-sonnet-5-5": 1_000_000}
_DEFAULT_WINDOW, _LARGE_WINDOW = 200_000, 1_000_000
_BACKGROUND_TOOLS = frozenset({"TaskOutput", "BashOutput", "AgentOutputTool"})


def context_window_for(model: str | None, used: int) -> int:
    """The size of a model's context window; transcripts do not hold it.

    The status line of 2.1.330 told 1,000,000 for claude-sonnet-5-5. Others have 200,000 tokens unless the
    model's name ends in "[1m]" or more than that is in use.
    """
    if used > _DEFAULT_WINDOW or (model or "").endswith("[1m]"):
        return _LARGE_WINDOW
    return _WINDOWS.get(model or "", _DEFAULT_WINDOW)


def read_transcript(lines: Iterable[bytes | Line]) -> Iterator[Fact | Problem]:
    """Yield the facts of a transcript in its order, and a problem for each line that can't be understood.

    Lines come from the start of the file. Memory is bounded: open calls, the plan, the last 65,536 record
    ids (a record repeated within that distance is told once, further back twice with the same key).
    """
    return transcript_reader().read(lines)


def transcript_reader() -> TranscriptReader:
    """A reader for one transcript, to read it on as it grows."""
    return _Reader()


@dataclass(slots=True, kw_only=True)
class _Call:
    tool: str
    at: datetime | None
    parameters: Record
    subagent: str | None


class _Reader(TranscriptReader):
    ignored = KNOWN_AND_IGNORED

    def __init__(self) -> None:
        super().__init__()
        self._subagent_file: str | None = None
        self._calls: dict[str, _Call] = {}
        self._background: dict[str, str] = {}
        self._sidechains: dict[str, str] = {}
        self._queue = PromptQueue()
        self._window, self._window_model = 0, ""
        self._boundary: tuple[str, datetime | None, Record] | None = None
        self._stopped_call: str | None = None
        self.handlers = {
            "user": self._user,
            "assistant": self._assistant,
            "system": self._system,
            "attachment": self._attachment,
            "queue-operation": self._queue_operation,
            "permission-mode": self._permission_mode,
        }

    # What the session is

    def before(self, kind: str, record: Record) -> Iterator[Fact]:
        if kind not in ("user", "assistant", "system", "attachment"):
            return
        agent = text(record.get("agentId")) if record.get("isSidechain") is True else None
        if not self.started:
            self._subagent_file = agent
        elif self._is_sidechain(record):
            return
        branch = text(record.get("gitBranch"))
        news = {
            "cwd": text(record.get("cwd")),
            # Outside a repository and on a detached head alike, the branch is told as "HEAD".
            "git_branch": None if branch == "HEAD" else branch,
            "version": text(record.get("version")),
            "model": _model(record),
            "permission_mode": text(record.get("permissionMode")),
        }
        if self.started:
            yield from self.change(news)
        else:
            self.note(news)
            yield from self._start(text(record.get("sessionId")), agent, _start_source(record))

    def _start(self, session: str | None, agent: str | None, source: str | None) -> Iterator[Fact]:
        self.started = True
        yield facts.SessionStarted(
            key="session",
            at=self.at,
            harness=HARNESS,
            harness_session_id=agent or session,
            cwd=self.now("cwd"),
            git_branch=self.now("git_branch"),
            git_head=None,
            version=self.now("version"),
            model=self.now("model"),
            source="subagent" if agent else source,
            parent_harness_session_id=session if agent else None,
        )
        if mode := self.now("permission_mode"):
            yield facts.SessionChanged(key="session:permission_mode", at=self.at, permission_mode=mode)

    def _permission_mode(self, record: Record) -> Iterator[Fact]:
        yield from self.change({"permission_mode": text(record.get("permissionMode"))})

    def _is_sidechain(self, record: Record) -> bool:
        return record.get("isSidechain") is True and self._subagent_file is None

    def _subagent_of(self, record: Record) -> str | None:
        """Who speaks: None for the main thread. 1.0.x names no agent, so follow the parents to the task."""
        if record.get("isSidechain") is not True:
            return None
        if agent := text(record.get("agentId")):
            return agent
        parent = text(record.get("parentUuid"))
        agent = self._sidechains.get(parent or "")
        if agent is None:
            task = parts_text(fields(record.get("message")).get("content")).strip()
            agent = next(
                (
                    call_id
                    for call_id, call in self._calls.items()
                    if call.tool in SUBAGENT_TOOLS
                    and text(call.parameters.get("prompt"))
                    and str(call.parameters["prompt"]).strip() == task
                ),
                self.key,
            )
        remember(self._sidechains, self.key, agent, limit=KEPT)
        return agent

    # What the agent does

    def _assistant(self, record: Record) -> Iterator[Fact]:
        yield from self._compacted(None)
        message = fields(record.get("message"))
        subagent = self._subagent_of(record)
        for index, part in enumerate(elements(message.get("content"))):
            kind, words = fields(part).get("type"), text(fields(part).get("text"))
            if kind == "tool_use":
                yield from self._tool_use(fields(part), index, subagent)
            elif kind == "text" and words and not subagent:
                yield facts.AssistantSaid(key=f"{self.key}:{index}", at=self.at, text=words)
        words = text(message.get("content"))
        if words and not subagent:
            yield facts.AssistantSaid(key=f"{self.key}:0", at=self.at, text=words)
        if not subagent:
            yield from self._measure(message)

    def _tool_use(self, part: Record, index: int, subagent: str | None) -> Iterator[Fact]:
        call_id = text(part.get("id")) or f"{self.key}:{index}"
        if not self.seen.first_time(f"call {call_id}"):
            return
        tool, parameters = text(part.get("name")) or "unknown", fields(part.get("input"))
        call = _Call(tool=tool, at=self.at, parameters=parameters, subagent=subagent)
        remember(self._calls, call_id, call, limit=KEPT)
        yield facts.ToolCalled(
            key=f"call:{call_id}",
            at=self.at,
            tool_call_id=call_id,
            tool=tool,
            action=action_of(tool, parameters),
            parameters=parameters,
            subagent=subagent,
        )
        if tool in SUBAGENT_TOOLS and text(parameters.get("prompt")):  # one without a task is refused
            yield self.subagent_started(
                call_id,
                call_id,
                agent_type=text(parameters.get("subagent_type")),
                description=text(parameters.get("description")),
            )

    def _measure(self, message: Record) -> Iterator[Fact]:
        usage = fields(message.get("usage"))
        names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
        used = sum(whole(usage.get(name)) or 0 for name in names)
        if not used:
            return
        # A window once seen to be larger stays so when a compaction makes the use small again.
        model = _model({"message": message}) or ""
        known = self._window if model == self._window_model else 0
        self._window, self._window_model = max(known, context_window_for(model, used)), model
        yield from self.measured(used, self._window)

    # What comes back

    def _user(self, record: Record) -> Iterator[Fact]:
        content = fields(record.get("message")).get("content")
        parts = [fields(part) for part in elements(content)]
        results = [part for part in parts if part.get("type") == "tool_result"]
        structured = record.get("toolUseResult") if len(results) == 1 else None
        subagent = self._subagent_of(record)
        for part in results:
            yield from self._tool_result(part, structured, record)
        if record.get("isCompactSummary") is True or parts_text(content).startswith(CONTINUATION):
            yield from self._compacted(text(parts_text(content)))
            return
        yield from self._compacted(None)
        if subagent or record.get("isMeta") is True:
            return
        words = parts_text([part for part in parts if part.get("type") == "text"] if parts else content)
        yield from self._message(words, is_answer=bool(results))

    def _message(self, words: str, *, is_answer: bool) -> Iterator[Fact]:
        yield from self._subagent_notice(words)
        if words.lstrip().startswith(INTERRUPTION):
            during = self._stopped_call if "for tool use" in words[:80] else None
            yield facts.Interrupted(key=f"{self.key}:interrupted", at=self.at, tool_call_id=during)
            words = words.partition("]")[2]
        command = slash_command(words)
        if command:
            self._queue.sent(command.text)
            if command.name in ("exit", "quit"):
                yield facts.SessionEnded(key=f"{self.key}:end", at=self.at, reason="prompt_input_exit")
            elif command.is_about_work:
                yield self.prompt(command.text, "slash_command")
            return
        prompt = None if is_answer else written_by_person(words)
        if prompt:
            self._queue.sent(prompt)
            yield self.prompt(prompt, "user")

    def _tool_result(self, part: Record, structured: JSON, record: Record) -> Iterator[Fact]:
        call_id = text(part.get("tool_use_id"))
        if not call_id or not self.seen.first_time(f"result {call_id}"):
            return
        call = self._calls.pop(call_id, None)
        asked = call.at if call else None
        finished = finished_call(
            call_id, part, structured, denied=bool(record.get("toolDenialKind")), at=self.at, asked=asked
        )
        if call and call.tool in _BACKGROUND_TOOLS:
            finished = self._with_its_command(finished, call)
        yield finished
        if finished.outcome == "cancelled":
            self._stopped_call = call_id
        if call and call.tool in SUBAGENT_TOOLS:
            yield from self._subagent_result(call_id, fields(structured))
        if call and call.tool in SHELL_TOOLS and (task := _background_id(structured)):
            remember(self._background, task, command_text(call.parameters) or "", limit=KEPT)
        if call and call.tool in PLAN_TOOLS and not call.subagent and finished.outcome == "success":
            yield from self._plan_changed(call, finished)

    def _with_its_command(self, finished: facts.ToolFinished, call: _Call) -> facts.ToolFinished:
        task = text(call.parameters.get("task_id")) or text(call.parameters.get("bash_id"))
        command = self._background.get(task or "")
        if not command or not isinstance(finished.result, dict):
            return finished
        return replace(finished, result={**finished.result, "command": command})

    def _plan_changed(self, call: _Call, finished: facts.ToolFinished) -> Iterator[Fact]:
        words = plan_text(call.parameters, finished.result) if call.tool == "ExitPlanMode" else None
        if self.plan.apply(call.tool, call.parameters, finished.result) or words:
            key = f"plan:{finished.tool_call_id}"
            yield facts.PlanUpdated(key=key, at=self.at, items=self.plan.items, text=words)

    # Subagents that come back

    def _subagent_result(self, call_id: str, structured: Record) -> Iterator[Fact]:
        agent = text(structured.get("agentId"))
        if structured.get("status") == "async_launched" or structured.get("isAsync") is True:
            if agent:
                remember(self._background, agent, call_id, limit=KEPT)
            return
        yield from self.subagent_ended(call_id, agent)

    def _subagent_notice(self, words: str) -> Iterator[Fact]:
        """Background agents (2.1) report by a notice that repeats in queue, attachment and user records."""
        if "<task-notification>" not in words[:200]:
            return
        agent = between(words, "<task-id>", "</task-id>").strip()
        if between(words, "<status>", "</status>").strip() != "running":
            yield from self.subagent_ended(self._background.get(agent, ""), agent)

    # Compaction

    def _system(self, record: Record) -> Iterator[Fact]:
        if record.get("subtype") == "compact_boundary" and not self._is_sidechain(record):
            yield from self._compacted(None)
            self._boundary = (self.key, self.at, fields(record.get("compactMetadata")))

    def _compacted(self, summary: str | None) -> Iterator[Fact]:
        """The boundary record comes first, the summary in the next message: one fact of both."""
        if self._boundary is None and summary is None:
            return
        key, at, told = self._boundary or (self.key, self.at, {})
        self._boundary = None
        yield facts.ContextCompacted(
            key=f"{key}:compacted",
            at=at,
            trigger=text(told.get("trigger")),
            tokens_before=whole(told.get("preTokens")),
            tokens_after=whole(told.get("postTokens")),
            summary=summary,
        )

    # Words typed while the agent works

    def _queue_operation(self, record: Record) -> Iterator[Fact]:
        words = parts_text(record.get("content"))
        if record.get("operation") == "enqueue":
            yield from self._subagent_notice(words)
        prompt = self._queue.operate(text(record.get("operation")), written_by_person(words))
        if prompt and self.started:
            yield self.prompt(prompt, "queued")

    def _attachment(self, record: Record) -> Iterator[Fact]:
        attachment = fields(record.get("attachment"))
        if attachment.get("type") != "queued_command" or self._is_sidechain(record):
            return
        words = parts_text(attachment.get("prompt"))
        yield from self._subagent_notice(words)
        if attachment.get("commandMode", "prompt") == "prompt" and (prompt := written_by_person(words)):
            prompt = self._queue.delivered(prompt)
            if prompt:
                yield self.prompt(prompt, "queued")


def _model(record: Record) -> str | None:
    name = text(fields(record.get("message")).get("model"))
    if name == "<synthetic>":
        return None
    return name or text(fields(fields(record.get("attachment")).get("identity")).get("modelId"))


def _start_source(record: Record) -> str | None:
    """The hook record "SessionStart:startup" tells how the session began, when a hook is configured (2.1)."""
    name = text(fields(record.get("attachment")).get("hookName")) or ""
    event, _, source = name.partition(":")
    return source or None if event == "SessionStart" else None


def _background_id(structured: JSON) -> str | None:
    return text(fields(structured).get("backgroundTaskId"))
