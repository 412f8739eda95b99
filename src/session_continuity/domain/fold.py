"""How each event changes the state of work (design section 6). Folding never fails: what fits is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple, cast

from session_continuity.domain.event_store import Event
from session_continuity.domain.work_state import (
    Check,
    Commit,
    Compactions,
    Context,
    Deployment,
    Epic,
    Note,
    Plan,
    PlanItem,
    PullRequest,
    Subagent,
    Text,
    TouchedFile,
    Workspace,
    WorkState,
)

KEPT = {
    "prompts": 5,
    "epics": 20,
    "tests": 20,
    "validations": 20,
    "commits": 20,
    "pull_requests": 10,
    "deployments": 10,
    "files": 100,
    "notes": 60,
    "subagents": 20,
    "features": 20,
    "plan": 100,
}
"""How many entries of each kind a state holds; older ones stay in the events."""

HARNESS_NOTES = frozenset({"notification", "unmapped", "turn_error", "subagent_ended", "compaction"})
"""Kinds of notes that tell of the harness, not of the work: they stay in the events and crowd no decision out."""

_SHORT, _LONG = 300, 2_000


class FoldedEvent(NamedTuple):
    """What the fold looks at of an event: recovery reads no more of it."""

    instance_id: str
    event_type: str
    sequence_num: int
    event_data: dict[str, Any]


def fold(state: WorkState, events: Iterable[Event | FoldedEvent]) -> WorkState:
    """Fold events, in order, into the state, which is changed in place and returned."""
    for event in events:
        apply = _FOLDS.get(event.event_type)
        if apply is not None:
            # A plain INSERT may store any JSON value.
            data = event.event_data if isinstance(event.event_data, dict) else {}  # pyright: ignore[reportUnnecessaryIsInstance]
            apply(state, data, f"{event.instance_id}#{event.sequence_num}")
        state["instance_id"] = event.instance_id
        state["sequence_num"] = event.sequence_num
    return state


Data = dict[str, Any]


def _text(data: Data, *names: str, limit: int = _SHORT) -> str:
    """The first of the names that holds something, as text."""
    for name in names:
        value = data.get(name)
        if isinstance(value, str) and value:
            return value if len(value) <= limit else value[: limit - 1] + "…"
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return ""


def _number(data: Data, name: str) -> int | None:
    value = data.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) >= 2**53:
        return None
    return int(value)


def _objects(value: Any) -> list[Data]:
    if not isinstance(value, list):
        return []
    return [cast("Data", item) for item in cast("list[Any]", value) if isinstance(item, dict)]


def _keep(entries: list[Any], kind: str, entry: Any) -> None:
    entries.append(entry)
    del entries[: -KEPT[kind]]


def _replace(entries: list[Any], kind: str, name: str, entry: Data) -> None:
    """Add the entry as the newest, in place of one of the same name."""
    entries[:] = [other for other in entries if other[name] != entry[name]]
    _keep(entries, kind, entry)


def _registered(state: WorkState, data: Data, cite: str) -> None:
    _workspace(state, data, cite)
    epic = _text(data, "current_epic")
    if epic and state["epic"] is None:
        state["epic"] = Epic(epic_id=epic, name="", status="started", cite=cite)


def _workspace(state: WorkState, data: Data, cite: str) -> None:
    _moved(
        state,
        _text(data, "cwd", limit=4_096),
        _text(data, "git_branch", "branch"),
        _text(data, "git_head", "sha"),
        cite,
    )


def _moved(state: WorkState, cwd: str, branch: str, head: str, cite: str) -> None:
    """The workspace after news of it; what is empty was not told."""
    before = state["workspace"]
    if before is not None:
        cwd, branch = cwd or before["cwd"], branch or before["branch"]
        head = head or (before["head"] if before["branch"] == branch else "")
    if (cwd or branch or head) and (
        before is None or (cwd, branch, head) != (before["cwd"], before["branch"], before["head"])
    ):
        state["workspace"] = Workspace(cwd=cwd, branch=branch, head=head, cite=cite)


def _prompt(state: WorkState, data: Data, cite: str) -> None:
    text = _text(data, "text", "prompt", limit=_LONG)
    if not text:
        return
    entry = Text(text=text, cite=cite)
    state["prompt_count"] += 1
    if state["objective"] is None:
        state["objective"] = entry
    _keep(state["prompts"], "prompts", entry)


def _epic(status: str) -> Callable[[WorkState, Data, str], None]:
    def apply(state: WorkState, data: Data, cite: str) -> None:
        epic_id = _text(data, "epic_id", "epic", "id")
        if not epic_id:
            return
        known = next((epic["name"] for epic in state["epics"] if epic["epic_id"] == epic_id), "")
        epic = Epic(
            epic_id=epic_id, name=_text(data, "epic_name", "name", "title") or known, status=status, cite=cite
        )
        current = state["epic"]
        if status == "started" or (current is not None and current["epic_id"] == epic_id):
            state["epic"] = epic
        _replace(state["epics"], "epics", "epic_id", cast("Data", epic))

    return apply


def _plan(state: WorkState, data: Data, cite: str) -> None:
    items = [
        PlanItem(text=_text(item, "text", "content", "step"), status=_text(item, "status") or "pending")
        for item in _objects(data.get("items"))
    ]
    state["plan"] = Plan(items=items[: KEPT["plan"]], cite=cite)


def _check(kind: Literal["tests", "validations"], outcome: str) -> Callable[[WorkState, Data, str], None]:
    def apply(state: WorkState, data: Data, cite: str) -> None:
        failing = data.get("failing")
        names = (
            [n[:_SHORT] for n in cast("list[Any]", failing) if isinstance(n, str)]
            if isinstance(failing, list)
            else []
        )
        command = _text(data, "command", "test_name", "name", "suite", "validation", "tool")
        if outcome == "started":
            names = next((known["failing"] for known in state[kind] if known["command"] == command), names)
        check = Check(
            command=command,
            outcome=outcome,
            summary=_text(data, "summary", "message", "error"),
            failing=names[:10],
            cite=cite,
        )
        _replace(cast("list[Any]", state[kind]), kind, "command", cast("Data", check))

    return apply


def _commit(state: WorkState, data: Data, cite: str) -> None:
    commit = Commit(
        sha=_text(data, "sha", "commit", "hash"),
        message=_text(data, "message"),
        branch=_text(data, "branch"),
        cite=cite,
    )
    if commit["sha"] or commit["message"]:
        _keep(state["commits"], "commits", commit)
        _moved(state, "", commit["branch"], commit["sha"], cite)


def _pull_request(status: str) -> Callable[[WorkState, Data, str], None]:
    def apply(state: WorkState, data: Data, cite: str) -> None:
        number, url, title = _number(data, "number"), _text(data, "url"), _text(data, "title")
        for known in state["pull_requests"]:
            if (number is not None and known["number"] == number) or (url and known["url"] == url):
                number, url, title = number or known["number"], url or known["url"], title or known["title"]
                state["pull_requests"].remove(known)
                break
        request = PullRequest(number=number, url=url, title=title, status=status, cite=cite)
        _keep(state["pull_requests"], "pull_requests", request)

    return apply


def _deployment(outcome: str) -> Callable[[WorkState, Data, str], None]:
    def apply(state: WorkState, data: Data, cite: str) -> None:
        deployment = Deployment(target=_text(data, "target", "environment", "name"), outcome=outcome, cite=cite)
        _replace(state["deployments"], "deployments", "target", cast("Data", deployment))

    return apply


def _files(state: WorkState, data: Data, cite: str) -> None:
    listed = data.get("files")
    if not isinstance(listed, list):
        return
    for item in cast("list[Any]", listed):
        entry = cast("Data", item) if isinstance(item, dict) else {"path": item}
        path = _text(entry, "path", limit=4_096)
        if path:
            touched = TouchedFile(path=path, change=_text(entry, "change") or "modified", cite=cite)
            _replace(state["files"], "files", "path", cast("Data", touched))


def _note(state: WorkState, data: Data, cite: str) -> None:
    text, kind = _text(data, "text", "note", limit=_LONG), data.get("kind")
    if text and kind == "answer":
        state["last_answer"] = Text(text=text, cite=cite)
    elif text and kind == "compaction":
        state["compactions"] = state["compactions"] or Compactions(count=0, trigger="", summary="", cite=cite)
        state["compactions"]["summary"] = text
    elif text and kind not in HARNESS_NOTES:
        _keep(state["notes"], "notes", Note(kind=_text(data, "kind") or "note", text=text, cite=cite))


def _subagent(state: WorkState, data: Data, cite: str) -> None:
    subagent = Subagent(
        task_id=_text(data, "task_id", "subagent_id") or cite,
        description=_text(data, "description", "task", "prompt"),
        agent_type=_text(data, "agent_type", "subagent_type"),
        cite=cite,
    )
    _replace(state["subagents"], "subagents", "task_id", cast("Data", subagent))


def _feature(state: WorkState, data: Data, cite: str) -> None:
    text = _text(data, "text", "feature", "title", "description", limit=_LONG)
    if text:
        _keep(state["features"], "features", Text(text=text, cite=cite))


def _context(state: WorkState, data: Data, cite: str) -> None:
    percent = _number(data, "percent")
    if percent is None:
        percent = _number(data, "context_percent")
    state["context"] = Context(
        percent=percent,
        used_tokens=_number(data, "used_tokens"),
        window_tokens=_number(data, "window_tokens"),
        cite=cite,
    )


def _compacted(state: WorkState, data: Data, cite: str) -> None:
    before = state["compactions"]
    state["compactions"] = Compactions(
        count=(before["count"] if before else 0) + 1,
        trigger=_text(data, "trigger"),
        # A recording that tells the summary by a note may do so just before.
        summary=_text(data, "summary", limit=_LONG) or (before["summary"] if before else ""),
        cite=cite,
    )


_FOLDS: dict[str, Callable[[WorkState, Data, str], None]] = {
    "instance_registered": _registered,
    "instance_resumed": _workspace,
    "instance_heartbeat": _workspace,
    "prompt_submitted": _prompt,
    "feature_requested": _feature,
    "epic_planned": _epic("planned"),
    "epic_started": _epic("started"),
    "epic_completed": _epic("completed"),
    "epic_failed": _epic("failed"),
    "plan_updated": _plan,
    "test_started": _check("tests", "started"),
    "test_passed": _check("tests", "passed"),
    "test_failed": _check("tests", "failed"),
    "validation_passed": _check("validations", "passed"),
    "validation_failed": _check("validations", "failed"),
    "commit_created": _commit,
    "pr_created": _pull_request("open"),
    "pr_merged": _pull_request("merged"),
    "deployment_started": _deployment("started"),
    "deployment_completed": _deployment("completed"),
    "deployment_failed": _deployment("failed"),
    "files_changed": _files,
    "note_recorded": _note,
    "task_spawned": _subagent,
    "context_window_updated": _context,
    "context_compacted": _compacted,
}
