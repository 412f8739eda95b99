"""Gemini CLI's transcripts as facts: `~/.gemini/tmp/<project>/chats/session-<time>-<id>.jsonl`, formerly `.json`.

Seen: 0.61, whose lines are a head, messages written again under the same id as they grow, `{"$set": ...}` (also
with all messages anew, after a resume or a compression) and `{"$rewindTo": id}`; and the older form, one JSON
object with `messages`. Tool calls are told when they are over: one that was in flight is not in the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from session_continuity.capture.facts import facts
from session_continuity.capture.facts.actions import SUBAGENT_TOOLS, action_of
from session_continuity.capture.facts.facts import JSON, Fact, Problem, Record
from session_continuity.capture.facts.plans import WHOLE_PLAN_TOOLS
from session_continuity.capture.facts.prompts import between, written_by_person
from session_continuity.capture.facts.transcripts import (
    MAX_LINE_BYTES,
    Line,
    elements,
    fields,
    moment,
    parts_text,
    text,
    whole,
)
from session_continuity.capture.harnesses.gemini_results import finished_call
from session_continuity.capture.harnesses.transcript_reader import TranscriptReader

HARNESS = "gemini-cli"

_WINDOW, _GEMMA_WINDOW = 1_048_576, 256_000
_WORKSPACE = "- **Workspace Directories:**"
_SNAPSHOT = ("<state_snapshot>", "</state_snapshot>")
_ACKNOWLEDGED = "Got it. Thanks for the additional context!"
"""What the client itself writes as the model's answer to a summary."""

_NOTICES = ("info", "warning", "error")


def context_window_for(model: str | None) -> int:
    """The size of a model's context window in tokens, a constant of the client (its `tokenLimits.ts`)."""
    return _GEMMA_WINDOW if (model or "").startswith("gemma") else _WINDOW


def read_transcript(lines: Iterable[bytes | Line]) -> Iterator[Fact | Problem]:
    """Yield the facts of a transcript in its order, and a problem for each line that can't be understood.

    Lines come from the start of the file. A message that is written again tells only what it did not tell yet.
    Memory is bounded: the last 65,536 ids; a file of the older form is held whole, up to the limit for one line.
    """
    return transcript_reader().read(lines)


def transcript_reader() -> TranscriptReader:
    """A reader for one transcript, to read it on as it grows."""
    return _Reader()


class _Reader(TranscriptReader):
    def __init__(self) -> None:
        super().__init__()
        self._head: Record = {}
        self._asked = 0
        self.handlers = {
            "head": self._head_line,
            "$set": self._set,
            "$rewindTo": self._rewound,
            "user": self._user,
            "gemini": self._gemini,
        } | dict.fromkeys(_NOTICES, self._notice)

    def read(self, lines: Iterable[bytes | Line]) -> Iterator[Fact | Problem]:
        return super().read(_joined(lines))

    def kind_of(self, record: Record) -> str:
        for name in ("$set", "$rewindTo"):
            if name in record:
                return name
        return "head" if "sessionId" in record and "type" not in record else super().kind_of(record)

    def before(self, kind: str, record: Record) -> Iterator[Fact]:
        if identity := text(record.get("id")):
            self.key = identity
        if kind in self.handlers and kind not in ("head", "$set", "$rewindTo"):
            yield from self._start(record)

    # What the session is

    def _head_line(self, head: Record) -> Iterator[Fact]:
        """A resumed session writes its head again; the older form holds all messages in it."""
        self._head = self._head or {name: value for name, value in head.items() if name != "messages"}
        self.at = moment(head.get("startTime")) or self.at
        yield from self._messages(head.get("messages"))

    def _start(self, message: Record) -> Iterator[Fact]:
        """The head says nothing of the folder; the first message of a newer session holds it."""
        if self.started:
            return
        self.started = True
        directories = elements(self._head.get("directories"))
        told = parts_text(message.get("content")).partition(_WORKSPACE)[2].lstrip("\n").partition("\n")[0]
        self.note({"cwd": text(told.strip().removeprefix("- ")) or text(directories[0] if directories else None)})
        yield facts.SessionStarted(
            key="session",
            at=moment(self._head.get("startTime")) or self.at,
            harness=HARNESS,
            harness_session_id=text(self._head.get("sessionId")),
            cwd=self.now("cwd"),
            git_branch=None,
            git_head=None,
            version=None,
            model=None,
            source="subagent" if self._head.get("kind") == "subagent" else None,
            parent_harness_session_id=None,
        )

    # Lines that change what was written

    def _set(self, record: Record) -> Iterator[Fact]:
        yield from self._messages(fields(record.get("$set")).get("messages"))

    def _messages(self, messages: JSON) -> Iterator[Fact]:
        line = self.key
        for number, message in enumerate(elements(messages)):
            kind = text(fields(message).get("type")) or ""
            if kind in ("user", "gemini", *_NOTICES):
                self.key = f"{line}:{number}"
                self.at = moment(fields(message).get("timestamp")) or self.at
                yield from self.before(kind, fields(message))
                yield from self.handlers[kind](fields(message))

    def _rewound(self, record: Record) -> Iterator[Fact]:
        if self.started:
            message = f"the conversation went back to before message {record['$rewindTo']}"[:200]
            yield facts.Notified(key=f"{self.key}:rewound", at=self.at, kind="rewind", message=message)

    # Messages

    def _user(self, message: Record) -> Iterator[Fact]:
        if not self.seen.first_time(f"message {self.key}"):
            return
        words = parts_text(message.get("content"))
        if _SNAPSHOT[0] in words[:200]:
            yield facts.ContextCompacted(
                key=f"{self.key}:compacted",
                at=self.at,
                trigger=None,
                tokens_before=self._asked or None,
                tokens_after=None,
                summary=between(words, *_SNAPSHOT).strip() or words,
            )
        elif prompt := written_by_person(words):
            yield self.prompt(prompt, "agent" if self._head.get("kind") == "subagent" else "user")

    def _gemini(self, message: Record) -> Iterator[Fact]:
        key = self.key
        if model := text(message.get("model")):
            yield from self.change({"model": model})
        words = text(parts_text(message.get("content")))
        if words and words != _ACKNOWLEDGED and self.seen.first_time(f"said {key}"):
            yield facts.AssistantSaid(key=f"{key}:said", at=self.at, text=words)
        used = whole(fields(message.get("tokens")).get("input"))
        if used and self.seen.first_time(f"tokens {key}"):
            self._asked = used
            yield from self.measured(used, context_window_for(self.now("model")))
        for number, call in enumerate(elements(message.get("toolCalls"))):
            yield from self._tool_call(fields(call), f"{key}:{number}")

    def _notice(self, message: Record) -> Iterator[Fact]:
        words = text(parts_text(message.get("content")))
        if words and self.seen.first_time(f"message {self.key}"):
            kind = str(message["type"])
            yield facts.Notified(key=f"{self.key}:notice", at=self.at, kind=kind, message=words)

    # Tools

    def _tool_call(self, told: Record, place: str) -> Iterator[Fact]:
        call_id, status = text(told.get("id")) or place, told.get("status")
        tool, parameters = text(told.get("name")) or "unknown", fields(told.get("args"))
        if self.seen.first_time(f"call {call_id}"):
            yield facts.ToolCalled(
                key=f"call:{call_id}",
                at=self.at,
                tool_call_id=call_id,
                tool=tool,
                action=action_of(tool, parameters),
                parameters=parameters,
                subagent=text(told.get("agentId")),
            )
            if tool in SUBAGENT_TOOLS:
                description = (text(parameters.get("prompt")) or "")[:200] or None
                agent = text(parameters.get("agent_name"))
                yield self.subagent_started(call_id, call_id, agent_type=agent, description=description)
        if status not in ("success", "error", "cancelled") or not self.seen.first_time(f"result {call_id}"):
            return
        output, error = _answer(told)
        finished = finished_call(
            f"result:{call_id}",
            call_id,
            tool,
            output,
            error=(error or "no message") if status == "error" else error,
            cancelled=status == "cancelled",
            at=moment(told.get("timestamp")) or self.at,
        )
        yield finished
        if tool in SUBAGENT_TOOLS:
            yield from self.subagent_ended(call_id, text(told.get("agentId")))
        if finished.outcome == "success" and tool in WHOLE_PLAN_TOOLS and self.plan.apply(tool, parameters, None):
            yield facts.PlanUpdated(key=f"plan:{call_id}", at=finished.at, items=self.plan.items)


def _answer(told: Record) -> tuple[str, str | None]:
    """What the model was answered: the output, and the error where the tool failed."""
    responses = [
        fields(fields(fields(part).get("functionResponse")).get("response"))
        for part in elements(told.get("result"))
    ]
    outputs = [output for response in responses if (output := text(response.get("output")))]
    errors = [error for response in responses if (error := text(response.get("error")))]
    return "\n".join(outputs) or text(told.get("resultDisplay")) or "", "\n".join(errors) or None


def _joined(lines: Iterable[bytes | Line]) -> Iterator[bytes | Line]:
    """The older form is one object over many lines: when the first line only opens it, all are one."""
    lines = iter(lines)
    first = next(lines, None)
    if first is None:
        return
    if (first if isinstance(first, bytes) else first.data).strip() != b"{":
        yield first
        yield from lines
        return
    parts, size = [b"{"], 1
    for line in lines:
        data = line if isinstance(line, bytes) else line.data
        size += len(data) + 1
        if size > MAX_LINE_BYTES:
            yield Line(number=1, offset=0, data=b"", too_long=True)
            return
        parts.append(data)
    yield Line(number=1, offset=0, data=b"\n".join(parts))
