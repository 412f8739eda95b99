"""Derived events against hand labels of real recordings (figures: bench/derivation.py), told by hooks too."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from session_continuity import SessionContinuity
from session_continuity.capture.derivation.derivation import FinishedCommand, Rules, derive, load_rules
from session_continuity.capture.derivation.verdicts import finished
from session_continuity.capture.facts import facts
from session_continuity.capture.facts.actions import SHELL_TOOLS
from session_continuity.capture.recorder.transcript_import import import_transcript

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("CONTINUITY_RECORDINGS") or ROOT.parent / "shared" / "data")
RECORDINGS, HOOKS = DATA / "transcripts", DATA / "hooks"

_spec = importlib.util.spec_from_file_location("derivation_bench", ROOT / "bench" / "derivation.py")
assert _spec is not None
assert _spec.loader is not None
bench = sys.modules["derivation_bench"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bench)

LABELS = {labels.name: labels for labels in bench.read_labels()}
REAL_WORK = ("spotter-dov", "spotter-gqc", "viewer-orchestrator")
STORED = (*REAL_WORK, "captured-codex", "localpush-redacted")
CLAUDE = tuple(name for name, labels in LABELS.items() if labels.harness == "claude-code")

MISSED = {
    ("toolu_01L5pCg2PHTW3zpYoJ2Qksft", "epic_started"): "an issue tracker's command does not say what is an epic",
    ("toolu_018j54XTbhpdwtxW6z7iJZAG", "epic_completed"): "the same",
    ("toolu_01PyGGqXAVzt55xbFnRYqooY", "files_changed"): "an issue tracker's own file, outside of the project",
}
"""What the rules do not find, and why."""


@pytest.fixture
def recordings() -> Path:
    if not RECORDINGS.is_dir():
        pytest.skip(f"no recordings at {RECORDINGS}; set CONTINUITY_RECORDINGS to the folder above them")
    return RECORDINGS


@pytest.mark.parametrize("name", LABELS)
def test_every_command_of_a_recording_has_its_label(recordings: Path, name: str) -> None:
    labels = LABELS[name]
    calls = [fact for fact in bench.read_facts(labels, recordings) if isinstance(fact, facts.ToolCalled)]
    assert {call.tool_call_id for call in calls} == labels.calls
    assert not labels.nothing & {event.call for event in labels.events}


def test_nothing_false_is_derived_and_nothing_new_is_missed(recordings: Path) -> None:
    found = bench.together(bench.measure(recordings, LABELS.values()).values())
    assert found.false == ()
    assert {(event.call, event.event_type) for event in found.missed} == MISSED.keys()
    assert len(found.right) == 140


def test_the_measure_sees_a_rule_that_is_gone_and_one_that_says_too_much(recordings: Path, tmp_path: Path) -> None:
    """The controls: without its rule an event is missed, with a rule about `git status` events are false."""
    labels = [LABELS["spotter-gqc"]]
    less = Rules(rules=tuple(rule for rule in load_rules().rules if rule.name != "mix test"))
    scores = bench.measure(recordings, labels, less)["spotter-gqc"].scores()
    assert (scores["test_passed"].recall, scores["test_failed"].recall) == (0, 0)
    own = tmp_path / "rules.toml"
    own.write_text('[[rule]]\nname = "status"\nkind = "validation"\ncommands = ["git status"]\n', "utf-8")
    scores = bench.measure(recordings, labels, load_rules(own))["spotter-gqc"].scores()
    assert scores["validation_passed"].precision < 1


def test_an_event_that_says_something_else_than_its_label_is_false_and_its_label_missed() -> None:
    labelled = bench.Told("c1", "test_failed", {"failed": 1, "failing": ["a", "b"]})
    for data in ({"failed": 2, "failing": ["a", "b"]}, {"failed": 1, "failing": ["a"]}, {"failing": ["a", "b"]}):
        compared = bench.compare([labelled], [bench.Told("c1", "test_failed", data)])
        assert (compared.right, len(compared.false), len(compared.missed)) == ((), 1, 1)
    told = bench.Told("c1", "test_failed", {"failed": 1, "failing": ["b", "a"], "command": "pytest"})
    assert bench.compare([labelled], [told, told]).scores() == {"test_failed": bench.Score(1, 1, 0)}
    moved = bench.Told("c2", "test_failed", told.data)
    assert bench.compare([labelled], [moved]).scores() == {"test_failed": bench.Score(0, 1, 1)}
    file = bench.Told("c3", "files_changed", {"files": {"a.py": "created"}})
    for change, right in (("created", 1), ("modified", 0)):
        written = bench.Told("c3", "files_changed", {"files": [{"path": "a.py", "change": change}]})
        assert len(bench.compare([file], [written]).right) == right


@pytest.mark.parametrize("name", STORED)
def test_what_is_measured_is_what_an_import_stores(client: SessionContinuity, recordings: Path, name: str) -> None:
    labels = LABELS[name]
    measured = Counter(event.event_type for event in bench.derived(bench.read_facts(labels, recordings)))
    report = import_transcript(client, labels.harness, recordings / labels.recording)
    kinds = {event.event_type for each in LABELS.values() for event in each.events}
    stored = Counter(
        event.event_type
        for kind in kinds
        for event in client.read_events(report.instance_id, event_type=kind, limit=1_000)
    )
    assert stored == measured


def test_labels_hold_no_more_of_a_recording_than_short_names() -> None:
    for labels in LABELS.values():
        for event in labels.events:
            assert len(json.dumps(event.data)) < 800
            assert all(len(name) < 160 for name in (*event.data.get("failing", ()), *event.data.get("files", ())))


# --- The same commands, told by hooks -------------------------------------------------------------------


def hook_payloads(labels: Any) -> Iterator[dict[str, Any]]:
    """Each command of a Claude Code recording as its PostToolUse or PostToolUseFailure hook tells it."""
    calls: dict[str, dict[str, Any]] = {}
    cwd = None
    for line in (RECORDINGS / labels.recording).read_text("utf-8").splitlines():
        record = json.loads(line)
        cwd = record.get("cwd", cwd)
        content = record.get("message", {}).get("content")
        for part in content if isinstance(content, list) else ():
            if part.get("type") == "tool_use":
                calls[part["id"]] = {
                    "tool_name": part["name"],
                    "tool_input": part["input"],
                    "tool_use_id": part["id"],
                    "cwd": cwd,
                }
            elif part.get("type") == "tool_result" and (call := calls.pop(part["tool_use_id"], None)):
                if part.get("is_error"):
                    yield call | {"hook_event_name": "PostToolUseFailure", "error": part["content"]}
                else:
                    response = record.get("toolUseResult", part["content"])
                    yield call | {"hook_event_name": "PostToolUse", "tool_response": response}


def claude_hook_told(payload: dict[str, Any], background: dict[str, str]) -> FinishedCommand:
    """A command as Claude Code's hook tells it; `background` are the commands whose output is fetched later."""
    error, response = payload.get("error"), payload.get("tool_response")
    if isinstance(response, dict) and (task := response.get("backgroundTaskId")):
        background[task] = payload["tool_input"]["command"]
    if command := background.get(payload["tool_input"].get("task_id", "")):
        response = {**response, "command": command} if isinstance(response, dict) else response
    return FinishedCommand(
        tool=payload["tool_name"],
        parameters=payload["tool_input"],
        result=response,
        outcome="success" if error is None else "failure",
        error=error,
        cwd=payload["cwd"],
        tool_call_id=payload["tool_use_id"],
    )


def told_of_shell_and_files(events: Any) -> list[Any]:
    """What rules derive; plans and subagents have hooks and facts of their own."""
    return [event for event in events if event.event_type not in ("plan_updated", "task_spawned")]


@pytest.mark.parametrize("name", CLAUDE)
def test_hooks_of_claude_code_derive_the_same_events_as_its_transcript(recordings: Path, name: str) -> None:
    labels, background = LABELS[name], {}
    live = [
        bench.Told(payload["tool_use_id"], event.event_type, event.data)
        for payload in hook_payloads(labels)
        for event in derive(claude_hook_told(payload, background))
    ]
    recorded = bench.derived(bench.read_facts(labels, recordings))
    assert told_of_shell_and_files(live) == told_of_shell_and_files(recorded)


def test_a_captured_hook_tells_a_result_as_the_transcript_of_its_session_does(recordings: Path) -> None:
    """What the payloads above are made of is what the client really sends."""
    hooks = {}
    for path in sorted((HOOKS / "claude").glob("*-PostToolUse*.json")):
        payload = json.loads(path.read_text("utf-8"))
        hooks[payload["tool_use_id"]] = payload
    told = {payload["tool_use_id"]: payload for payload in hook_payloads(LABELS["captured-claude"])}
    same = [call for call in told if call in hooks and told[call]["tool_name"] != "Agent"]
    assert len(same) >= 3
    for call in same:
        for part in ("tool_name", "tool_input", "tool_response", "error"):
            assert told[call].get(part) == hooks[call].get(part), (call, part)


def codex_hook_told(command: facts.ToolCalled, end: facts.ToolFinished, cwd: str | None) -> FinishedCommand:
    """A shell command as Codex's hook tells it: the bare output, no exit code, so no outcome."""
    return FinishedCommand(
        tool="Bash",
        parameters={"command": command.parameters["command"]},
        result=output_of(end),
        outcome="unknown",
        cwd=cwd,
        tool_call_id=command.tool_call_id,
    )


def output_of(end: facts.ToolFinished) -> str:
    result = end.result if isinstance(end.result, dict) else {"output": end.result}
    return str(result.get("output") or result.get("stdout") or "")


def shell_commands(labels: Any) -> Iterator[tuple[facts.ToolCalled, facts.ToolFinished]]:
    """The shell commands of a recording that ended."""
    calls: dict[str, facts.ToolCalled] = {}
    for fact in bench.read_facts(labels, RECORDINGS):
        if isinstance(fact, facts.ToolCalled) and fact.tool in SHELL_TOOLS:
            calls[fact.tool_call_id] = fact
        elif isinstance(fact, facts.ToolFinished) and fact.tool_call_id in calls:
            if finished(fact.result, fact.error, fact.outcome) is None:
                continue
            yield calls[fact.tool_call_id], fact


@pytest.mark.parametrize("name", REAL_WORK)
def test_hooks_of_codex_derive_nothing_false_and_the_rest_once_the_exit_code_is_known(
    recordings: Path, name: str
) -> None:
    silent = 0
    for call, end in shell_commands(LABELS[name]):
        whole = derive(bench.finished_command(call, end, None))
        bare = codex_hook_told(call, end, None)
        live = derive(bare)
        assert all(event in whole for event in live)
        silent += len(whole) - len(live)
        read = finished(end.result, end.error, end.outcome)
        assert read is not None
        completed = FinishedCommand(
            tool="exec_command",
            parameters={"cmd": call.parameters["command"]},
            result={"output": output_of(end), "exit_code": read.exit_code},
            outcome="success" if read.exit_code == 0 else "failure",
            error=None if read.exit_code == 0 else f"Exit code {read.exit_code}\n{output_of(end)}",
        )
        assert derive(completed) == whole
    assert silent == {"spotter-dov": 4, "spotter-gqc": 7}.get(name, 0)


def test_captured_hooks_of_codex_derive_nothing(recordings: Path) -> None:
    """Echoes are no work, and a failing one fails no test."""
    payloads = [
        json.loads(path.read_text("utf-8")) for path in sorted((HOOKS / "codex").glob("*-PostToolUse.json"))
    ]
    assert len(payloads) >= 10
    for payload in payloads:
        told = FinishedCommand(
            tool=payload["tool_name"],
            parameters=payload["tool_input"],
            result=payload["tool_response"],
            outcome="unknown",
        )
        assert derive(told) == []
