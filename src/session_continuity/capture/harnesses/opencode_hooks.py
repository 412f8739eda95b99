"""OpenCode's hooks as facts (1.18.33). OpenCode has no hook commands: our plugin sends the events.

The plugin hands each event to the hook command as one JSON object, which is what OpenCode gave it:

- a bus event (`event`) goes by the name `event.<type>`, whole: `{"id", "type", "properties"}`;
- a hook of two arguments goes by its own name: `{"input", "output"}`, the output as it is when the hook is called;
- events that only the plugin knows of: `session.resumed` `{"sessionID"}`, before the first `chat.message` of a
  session that this process did not create, and `dispose` `{"sessionID"}`, from its own `dispose` hook, once for
  each session that took part in this process.

To each it adds, beside those names:

- `directory`: the folder that the plugin was given;
- `parentID`: of a subagent's session, the session that sent it off (`info.parentID` of its `session.created`);
- `sessionID`: with `event.vcs.branch.updated`, which names none, the session that was active last;
- `contextWindow`: with `event.message.updated`, `model.limit.context` of the model `info.modelID`, as the last
  `chat.params` with that `model.id` told it;
- `summary: true`: with an `event.message.part.updated` of a message whose `message.updated` said `summary: true`;
- `trigger`: beside it, `auto` or `manual` by the `auto` of the session's last part of type `compaction`.

So that little is sent, of `event.message.part.updated` only parts that are done: type `tool` with state
`completed` or `error`, and type `text` with `time.end`; of `event.message.updated` only messages of the assistant
with `time.completed`; of `event.session.status` only the type `retry`. What is sent beyond that does no harm.
`tool.execute.before` (the intent) and `experimental.session.compacting` (the checkpoint) return when it was sent.
The session's id is `properties.sessionID`, `properties.info.id`, `input.sessionID` or `sessionID`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from session_continuity.capture.facts import facts
from session_continuity.capture.facts.facts import JSON, Fact, HookFacts, Record
from session_continuity.capture.facts.prompts import written_by_person
from session_continuity.capture.facts.transcripts import elements, fields, names, text, whole
from session_continuity.capture.harnesses.hook_events import (
    Hook,
    HookCall,
    HookEvent,
    HookSession,
    HookTable,
    refusals,
)
from session_continuity.capture.harnesses.opencode_parts import ABORTED, called, outcome, sent_off, used_tokens

HARNESS: str = "opencode"

_COMMON = names("id type sessionID parentID directory metadata location durable")


def read_hook(event: str, payload: Record, call: HookCall) -> HookFacts:
    """The facts of one payload; see `hooks.HookAdapter`. A bus event's properties are read as its own fields."""
    properties = payload.get("properties")
    if isinstance(properties, dict):
        payload = {**properties, **{name: value for name, value in payload.items() if name != "properties"}}
    return _TABLE.read(event, payload, call)


def _session_of(hook: Hook) -> HookSession:
    info, given = hook.fields("info"), hook.fields("input")
    session = hook.text("sessionID") or text(info.get("sessionID")) or text(info.get("id"))
    place = text(info.get("directory")) or text(fields(info.get("path")).get("cwd")) or hook.text("directory")
    # The parent of a message is a message.
    parent = hook.text("parentID") or (text(info.get("parentID")) if "role" not in info else None)
    return HookSession(session_id=session or text(given.get("sessionID")), parent_id=parent, cwd=place)


def _subagent(hook: Hook) -> str | None:
    session = _session_of(hook)
    return session.session_id if session.parent_id else None


# The session


def _session_created(hook: Hook) -> Iterator[Fact]:
    session, info = _session_of(hook), hook.fields("info")
    source = "subagent" if session.parent_id else "startup"
    model, version = text(fields(info.get("model")).get("id")), text(info.get("version"))
    yield hook.session_started(HARNESS, session, source=source, model=model, version=version)


def _session_resumed(hook: Hook) -> Iterator[Fact]:
    yield hook.session_started(HARNESS, _session_of(hook), source="resume", model=None)


def _session_left(hook: Hook) -> Iterator[Fact]:
    yield hook.session_ended("exit")


def _session_deleted(hook: Hook) -> Iterator[Fact]:
    yield hook.session_ended("deleted")


def _branch_changed(hook: Hook) -> Iterator[Fact]:
    yield from hook.changed(git_branch=hook.text("branch"))


# Turns


def _prompt(hook: Hook) -> Iterator[Fact]:
    output = hook.fields("output")
    yield from hook.changed(model=text(fields(fields(output.get("message")).get("model")).get("modelID")))
    for number, part in enumerate(fields(each) for each in elements(output.get("parts"))):
        words = written_by_person(text(part.get("text")) or "") if _is_written(part) else None
        if words:
            key = f"{text(part.get('id')) or hook.key(str(number))}:prompt"
            yield hook.prompt(words, "agent" if _subagent(hook) else "user", key=key)


def _is_written(part: Record) -> bool:
    return part.get("type") == "text" and part.get("synthetic") is not True and part.get("ignored") is not True


def _message_done(hook: Hook) -> Iterator[Fact]:
    info = hook.fields("info")
    if info.get("role") != "assistant" or not whole(fields(info.get("time")).get("completed")):
        return
    yield from hook.changed(model=text(info.get("modelID")))
    used, window = used_tokens(info), whole(hook.payload.get("contextWindow"))
    identity = text(info.get("id")) or hook.key()
    if used and window:
        yield hook.measured(used, window, key=f"{identity}:context")
    if fields(info.get("error")).get("name") == ABORTED:
        yield facts.Interrupted(key=f"{identity}:interrupted", at=hook.at, tool_call_id=None)


def _part_done(hook: Hook) -> Iterator[Fact]:
    part = hook.fields("part")
    time = fields(part.get("time")) or fields(fields(part.get("state")).get("time"))
    if part.get("type") == "text" and _is_written(part) and time.get("end") is not None:
        yield from _text_done(hook, part)
    elif part.get("type") == "tool" and time.get("compacted") is None:
        call = called(part, subagent=_subagent(hook), at=hook.at)
        if call is not None:
            yield from outcome(part, call, at=hook.at)


def _text_done(hook: Hook, part: Record) -> Iterator[Fact]:
    words, message = text(part.get("text")), text(part.get("messageID")) or hook.key()
    if words and hook.payload.get("summary") is True:
        yield facts.ContextCompacted(
            key=f"{message}:compacted",
            at=hook.at,
            trigger=hook.text("trigger"),
            tokens_before=None,
            tokens_after=None,
            summary=words,
        )
    elif words:
        yield facts.AssistantSaid(key=f"{text(part.get('id')) or hook.key()}:said", at=hook.at, text=words)


def _status(hook: Hook) -> Iterator[Fact]:
    status = hook.fields("status")
    if status.get("type") == "retry":
        yield hook.notified("retry", text(status.get("message")) or "")


def _idle(hook: Hook) -> Iterator[Fact]:
    yield hook.turn_ended()


def _error(hook: Hook) -> Iterator[Fact]:
    """An interruption is told by its message."""
    error = hook.fields("error")
    if error.get("name") == ABORTED:
        return
    told = (text(error.get("name")), text(fields(error.get("data")).get("message")))
    yield hook.turn_ended(": ".join(words for words in told if words) or "unknown")


# Tools


def _tool_called(hook: Hook) -> Iterator[Fact]:
    given = hook.fields("input")
    call = hook.tool_called(
        text(given.get("callID")) or hook.key(),
        text(given.get("tool")) or "unknown",
        fields(hook.fields("output").get("args")),
        subagent=_subagent(hook),
    )
    yield call
    if (task := sent_off(call)) is not None:
        yield task


def _permission_asked(hook: Hook) -> Iterator[Fact]:
    wanted: list[JSON] = elements(hook.payload.get("patterns"))
    patterns = ", ".join(pattern for pattern in wanted if isinstance(pattern, str))
    yield hook.notified("permission_request", f"{hook.text('permission') or 'unknown'}: {patterns}")


def _question_asked(hook: Hook) -> Iterator[Fact]:
    told = [text(fields(each).get("question")) for each in elements(hook.payload.get("questions"))]
    yield hook.notified("question", "\n".join(words for words in told if words))


def _compaction_started(hook: Hook) -> Iterator[Fact]:
    yield facts.CompactionStarted(key=hook.key(), at=hook.at, trigger=None)


_INPUT_OUTPUT = names("input output")


def _bus(several: str) -> str:
    return " ".join(f"event.{name}" for name in several.split())


_TRANSFORMS = """chat.params chat.headers tool.definition config tool auth provider
experimental.chat.messages.transform experimental.chat.system.transform experimental.text.complete
experimental.compaction.autocontinue experimental.provider.small_model"""

_NEXT_ENGINE = """session.next.agent.switched session.next.model.switched session.next.moved
session.next.prompted session.next.prompt.admitted session.next.context.updated session.next.synthetic
session.next.shell.started session.next.shell.ended session.next.step.started session.next.step.ended
session.next.step.failed session.next.text.started session.next.text.delta session.next.text.ended
session.next.reasoning.started session.next.reasoning.delta session.next.reasoning.ended
session.next.tool.input.started session.next.tool.input.delta session.next.tool.input.ended
session.next.tool.called session.next.tool.progress session.next.tool.success session.next.tool.failed
session.next.retried session.next.compaction.started session.next.compaction.delta session.next.compaction.ended
session.next.revert.staged session.next.revert.cleared session.next.revert.committed permission.v2.asked
permission.v2.replied question.v2.asked question.v2.replied question.v2.rejected"""

_NO_SESSION = """models-dev.refreshed integration.updated integration.connection.updated catalog.updated
installation.updated installation.update-available reference.updated plugin.added project.updated
project.directories.updated pty.created pty.updated pty.exited pty.deleted lsp.updated lsp.client.diagnostics
tui.prompt.append tui.command.execute tui.toast.show tui.session.select mcp.tools.changed
mcp.browser.open.failed workspace.ready workspace.failed workspace.status worktree.ready worktree.failed
server.connected server.instance.disposed global.disposed"""

_TABLE = HookTable(
    common=_COMMON,
    session_of=_session_of,
    events={
        "event.session.created": HookEvent(
            recorded="The session: folder, version, model, process; of a subagent's also who sent it off.",
            read=_session_created,
            fields=names("info"),
        ),
        "session.resumed": HookEvent(
            recorded="That a session of an earlier process goes on in this one (told by our plugin).",
            read=_session_resumed,
        ),
        "chat.message": HookEvent(
            recorded="The prompt, without what the client adds, and the model.", read=_prompt, fields=_INPUT_OUTPUT
        ),
        "tool.execute.before": HookEvent(
            recorded="The intent: tool and parameters, before it runs; of the task tool also the task sent off.",
            read=_tool_called,
            fields=_INPUT_OUTPUT,
        ),
        "event.message.part.updated": HookEvent(
            recorded="Of a tool that is done: outcome, exit code, error, duration, refusal, the todo list, the "
            "subagent's return. Of a text that is done: the answer, or the summary of a compaction.",
            read=_part_done,
            fields=names("part time delta summary trigger"),
        ),
        "event.message.updated": HookEvent(
            recorded="When an answer is done: the context percentage, the model, whether the user stopped it.",
            read=_message_done,
            fields=names("info contextWindow"),
        ),
        "event.permission.asked": HookEvent(
            recorded="A notification that the user is asked about a tool.",
            read=_permission_asked,
            fields=names("permission patterns always tool"),
        ),
        "event.question.asked": HookEvent(
            recorded="A notification of the questions that the user is asked.",
            read=_question_asked,
            fields=names("questions tool"),
        ),
        "experimental.session.compacting": HookEvent(
            recorded="A checkpoint before compaction.", read=_compaction_started, fields=_INPUT_OUTPUT
        ),
        "event.session.status": HookEvent(
            recorded="A notification that a request is tried again; busy and idle are not recorded.",
            read=_status,
            fields=names("status"),
        ),
        "event.session.idle": HookEvent(recorded="The end of a turn: the agent waits.", read=_idle),
        "event.session.error": HookEvent(
            recorded="The end of a turn by an error.",
            read=_error,
            fields=names("error"),
        ),
        "event.vcs.branch.updated": HookEvent(
            recorded="The git branch that the session works on now.", read=_branch_changed, fields=names("branch")
        ),
        "event.session.deleted": HookEvent(
            recorded="The end of the session: the user deleted it.", read=_session_deleted, fields=names("info")
        ),
        "dispose": HookEvent(
            recorded="The end of the session: the client was left (told by our plugin).", read=_session_left
        ),
    },
    refused=refusals(
        {
            "no session is known yet when the plugin is loaded": "plugin-init",
            "the finished part tells the same, failures and durations too": "tool.execute.after",
            "its title and counts say nothing that the messages do not": _bus("session.updated"),
            "the todowrite call tells the same list": _bus("todo.updated"),
            "the part of the summary tells it": _bus("session.compacted"),
            "the call's own end tells whether it was refused": f"permission.ask {_bus('permission.replied')}",
            "the question tool's result tells the answer": _bus("question.replied question.rejected"),
            "chat.message tells the message that the command becomes": (
                f"command.execute.before {_bus('command.executed')}"
            ),
            "files are told by the calls that change them": _bus("session.diff file.edited file.watcher.updated"),
            "what was told stays told; the next messages say how it went on": (
                _bus("message.removed message.part.removed")
            ),
            "it fires for every piece of what is told when it is done": _bus("message.part.delta"),
            "it holds the environment, which is never kept": "shell.env",
            "it lets a plugin change what is sent to the model and tells nothing new": _TRANSFORMS,
            "an engine of OpenCode's that does not run its sessions yet": _bus(_NEXT_ENGINE),
            "it concerns the program, its screen, servers or projects, and no session": _bus(_NO_SESSION),
        }
    ),
)

EVENTS: Mapping[str, str] = _TABLE.recorded
REFUSED: Mapping[str, str] = _TABLE.refused
