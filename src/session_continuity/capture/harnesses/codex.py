"""Codex's rollouts as facts: `~/.codex/sessions/YYYY/MM/DD/rollout-<time>-<id>.jsonl`.

Seen: 0.104 (events user_message, agent_message; results as text), 0.169 (event item_completed with exit
codes), and small recordings without a version whose messages are response items only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from session_continuity.capture.facts import facts
from session_continuity.capture.facts.actions import SHELL_TOOLS, SUBAGENT_TOOLS, action_of
from session_continuity.capture.facts.facts import JSON, Fact, Problem, Record
from session_continuity.capture.facts.plans import PLAN_TOOLS
from session_continuity.capture.facts.prompts import between, written_by_person
from session_continuity.capture.facts.shell_commands import command_text
from session_continuity.capture.facts.transcripts import (
    Line,
    fields,
    parse_object,
    parts_text,
    remember,
    text,
    whole,
)
from session_continuity.capture.harnesses.codex_results import (
    ReadOutput,
    Told,
    finished_call,
    read_output,
    told_by_event,
)
from session_continuity.capture.harnesses.transcript_reader import KEPT, Handler, TranscriptReader

HARNESS = "codex"

KNOWN_AND_IGNORED = frozenset({"world_state", "token_usage_record", "inter_agent_communication"})
"""Record types without a fact for us: snapshots of settings and second copies of token counts."""


def read_transcript(lines: Iterable[bytes | Line]) -> Iterator[Fact | Problem]:
    """Yield the facts of a rollout in its order, and a problem for each line that can't be understood.

    Lines come from the start of the file: messages have no id before 0.169, so their keys are line numbers.
    Memory is bounded: open calls, running processes and agents, the plan, the last 65,536 call ids.
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
    told: Told


class _Reader(TranscriptReader):
    ignored = KNOWN_AND_IGNORED

    def __init__(self) -> None:
        super().__init__()
        self._subagent: str | None = None
        self._tells_by_events = False
        self._calls: dict[str, _Call] = {}
        self._processes: dict[str, str] = {}
        self._used: int | None = None
        self.handlers = {
            "session_meta": _of_payload(self._session_meta),
            "turn_context": _of_payload(self._turn_context),
            "response_item": _of_payload(self._response_item),
            "event_msg": _of_payload(self._event),
            "compacted": _of_payload(self._compacted),
        }

    def before(self, kind: str, record: Record) -> Iterator[Fact]:
        if not self.started:
            self.started = True
            yield self._session_started(fields(record.get("payload")) if kind == "session_meta" else {})

    # What the session is

    def _session_started(self, meta: Record) -> Fact:
        source = meta.get("source")
        spawned = fields(fields(fields(source).get("subagent")).get("thread_spawn"))
        parent = text(meta.get("parent_thread_id")) or text(spawned.get("parent_thread_id"))
        session = text(meta.get("id"))
        self._subagent = session if parent else None
        git = fields(meta.get("git"))
        self.note(
            {
                "cwd": text(meta.get("cwd")),
                "git_branch": text(git.get("branch")),
                "version": text(meta.get("cli_version")),
            }
        )
        self._tells_by_events = self.now("version") is not None
        return facts.SessionStarted(
            key="session",
            at=self.at,
            harness=HARNESS,
            harness_session_id=session,
            cwd=self.now("cwd"),
            git_branch=self.now("git_branch"),
            git_head=text(git.get("commit_hash")),
            version=self.now("version"),
            model=None,
            source="subagent" if parent else text(source),
            parent_harness_session_id=parent,
        )

    def _session_meta(self, meta: Record) -> Iterator[Fact]:
        """A fork or a resume copies older heads; only a change of version tells something."""
        yield from self.change({"version": text(meta.get("cli_version"))})

    def _turn_context(self, turn: Record) -> Iterator[Fact]:
        yield from self.change(
            {
                "cwd": text(turn.get("cwd")),
                "model": text(turn.get("model")),
                "permission_mode": text(turn.get("approval_policy")),
            }
        )

    # What the agent does

    def _response_item(self, item: Record) -> Iterator[Fact]:
        kind = text(item.get("type")) or ("message" if "role" in item else "")
        if kind == "message":
            yield from self._message(item)
        elif kind in ("function_call", "custom_tool_call", "local_shell_call"):
            yield from self._called(kind, item)
        elif kind in ("function_call_output", "custom_tool_call_output"):
            yield from self._finished(item)
        elif kind == "web_search_call":
            yield from self._searched(item)

    def _message(self, item: Record) -> Iterator[Fact]:
        words = parts_text(item.get("content"))
        if item.get("role") == "user":
            yield from self._subagent_notice(words)
        if self._tells_by_events or not words:
            return
        if item.get("role") == "user":
            yield from self._prompt(words)
        elif item.get("role") == "assistant":
            yield from self._said(words)

    def _prompt(self, words: str) -> Iterator[Fact]:
        if prompt := written_by_person(words):
            yield self.prompt(prompt, "agent" if self._subagent else "user")

    def _said(self, words: str) -> Iterator[Fact]:
        if words.strip():
            yield facts.AssistantSaid(key=f"{self.key}:said", at=self.at, text=words)

    def _called(self, kind: str, item: Record) -> Iterator[Fact]:
        call_id = text(item.get("call_id")) or text(item.get("id")) or self.key
        if not self.seen.first_time(f"call {call_id}"):
            return
        space, name = text(item.get("namespace")) or "", text(item.get("name"))
        tool = f"{space}__{name}" if space.startswith("mcp__") else name
        tool = tool or ("local_shell" if kind == "local_shell_call" else "unknown")
        parameters = _parameters(kind, item)
        call = _Call(tool=tool, at=self.at, parameters=parameters, told=Told())
        remember(self._calls, call_id, call, limit=KEPT)
        yield facts.ToolCalled(
            key=f"call:{call_id}",
            at=self.at,
            tool_call_id=call_id,
            tool=tool,
            action=action_of(tool, parameters),
            parameters=parameters,
            subagent=self._subagent,
        )

    def _searched(self, item: Record) -> Iterator[Fact]:
        """A web search is told once, when it is over, and has no call id in 0.104."""
        call_id = text(item.get("call_id")) or text(item.get("id")) or self.key
        yield from self._called("web_search_call", {"name": "web_search", "call_id": call_id, **item})
        if self._calls.pop(call_id, None):
            yield facts.ToolFinished(
                key=f"result:{call_id}",
                at=self.at,
                tool_call_id=call_id,
                result={"status": item.get("status")},
                error="the search failed" if item.get("status") == "failed" else None,
                outcome="failure" if item.get("status") == "failed" else "success",
                duration_ms=None,
            )

    # What comes back

    def _finished(self, item: Record) -> Iterator[Fact]:
        call_id = text(item.get("call_id"))
        if not call_id or not self.seen.first_time(f"result {call_id}"):
            return
        call = self._calls.pop(call_id, None)
        read = read_output(item.get("output"))
        finished = finished_call(
            call_id,
            read,
            call.told if call else Told(),
            command=self._polled(call, read) if call else None,
            at=self.at,
            asked=call.at if call else None,
        )
        if call is None or finished.outcome != "success":
            yield finished
            return
        if call.tool in SUBAGENT_TOOLS:
            yield from self._spawned(call_id, call, read.text)
        yield finished
        if call.tool in ("wait_agent", "wait", "close_agent"):
            yield from self._subagents_waited_for(read.text)
        elif call.tool in PLAN_TOOLS and self.plan.apply(call.tool, call.parameters, finished.result):
            yield facts.PlanUpdated(key=f"plan:{call_id}", at=self.at, items=self.plan.items)

    def _polled(self, call: _Call, read: ReadOutput) -> str | None:
        """exec_command hands a long command over to a process; write_stdin later fetches its output."""
        if call.tool in SHELL_TOOLS:
            if read.process_id:
                command = command_text(call.parameters) or ""
                remember(self._processes, read.process_id, command, limit=KEPT)
            return None
        if call.tool != "write_stdin":
            return None
        return self._processes.get(str(call.parameters.get("session_id")))

    # Subagents

    def _spawned(self, call_id: str, call: _Call, answer: str) -> Iterator[Fact]:
        told = parse_object(answer)
        message = text(call.parameters.get("message")) or text(call.parameters.get("task"))
        yield self.subagent_started(
            text(told.get("agent_id")) or call_id,
            call_id,
            agent_type=text(call.parameters.get("agent_type")),
            description=message[:200] if message else None,
        )

    def _subagents_waited_for(self, answer: str) -> Iterator[Fact]:
        for agent, status in fields(parse_object(answer).get("status")).items():
            yield from self._subagent_over(agent, status)

    def _subagent_notice(self, words: str) -> Iterator[Fact]:
        told = parse_object(between(words, "<subagent_notification>", "</subagent_notification>"))
        agent = text(told.get("agent_path")) or text(told.get("agent_id"))
        if agent:
            yield from self._subagent_over(agent, told.get("status"))

    def _subagent_over(self, agent: str, status: JSON) -> Iterator[Fact]:
        if status not in ("running", "pending_init", "not_found"):
            yield from self.subagent_ended(agent, agent)

    # Events

    def _event(self, event: Record) -> Iterator[Fact]:
        kind = text(event.get("type"))
        if kind == "token_count":
            yield from self._measure(fields(event.get("info")))
        elif kind == "user_message" and self._tells_by_events:
            yield from self._prompt(parts_text(event.get("message")))
        elif kind == "agent_message" and self._tells_by_events:
            yield from self._said(parts_text(event.get("message")))
        elif kind == "turn_aborted":
            yield facts.Interrupted(key=f"{self.key}:interrupted", at=self.at, tool_call_id=None)
        elif kind == "item_completed":
            yield from self._item(fields(event.get("item")))
        elif kind in ("exec_command_end", "mcp_tool_call_end", "patch_apply_end"):
            self._note(text(event.get("call_id")), event)

    def _item(self, item: Record) -> Iterator[Fact]:
        kind = text(item.get("type"))
        if kind == "UserMessage" and self._tells_by_events:
            yield from self._prompt(parts_text(item.get("content")))
        elif kind == "AgentMessage" and self._tells_by_events:
            yield from self._said(parts_text(item.get("content")))
        elif kind in ("CommandExecution", "McpToolCall", "FileChange"):
            self._note(text(item.get("id")), item)

    def _note(self, call_id: str | None, item: Record) -> None:
        if call := self._calls.get(call_id or ""):
            call.told = told_by_event(item)

    def _measure(self, info: Record) -> Iterator[Fact]:
        used = whole(fields(info.get("last_token_usage")).get("total_tokens"))
        window = whole(info.get("model_context_window"))
        if not used or not window:
            return
        self._used = used
        yield from self.measured(used, window)

    def _compacted(self, compaction: Record) -> Iterator[Fact]:
        """The size after it is told by the next token count; whether it was asked for is not told at all."""
        yield facts.ContextCompacted(
            key=f"{self.key}:compacted",
            at=self.at,
            trigger=None,
            tokens_before=self._used,
            tokens_after=None,
            summary=text(compaction.get("message")),
        )


def _of_payload(handler: Handler) -> Handler:
    return lambda record: handler(fields(record.get("payload")))


def _parameters(kind: str, item: Record) -> Record:
    """A function call's arguments are JSON in a text (an object in old recordings); kept raw when broken."""
    if kind == "custom_tool_call":
        return {"input": item.get("input")}
    if kind in ("local_shell_call", "web_search_call"):
        return fields(item.get("action"))
    arguments = item.get("arguments")
    if isinstance(arguments, str):
        return parse_object(arguments) or ({"raw": arguments} if arguments.strip() not in ("", "{}") else {})
    return fields(arguments)
