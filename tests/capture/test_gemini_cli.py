"""Gemini CLI's transcripts read into facts: our own small recordings of both forms, real ones, any bytes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from session_continuity.capture.facts import facts
from session_continuity.capture.facts.facts import Fact, Problem
from session_continuity.capture.facts.transcripts import detect, open_lines
from session_continuity.capture.harnesses.gemini_cli import context_window_for, read_transcript

from .payloads import FIXTURES, RECORDINGS

T = TypeVar("T")
LINES, OBJECT = FIXTURES / "gemini_0_61.jsonl", FIXTURES / "gemini_one_object.json"


def facts_of(path: Path) -> list[Fact | Problem]:
    return list(read_transcript(open_lines(path)))


def of_type(kind: type[T], found: list[Fact | Problem]) -> list[T]:
    return [fact for fact in found if isinstance(fact, kind)]


def ends() -> dict[str, facts.ToolFinished]:
    return {fact.tool_call_id: fact for fact in of_type(facts.ToolFinished, facts_of(LINES))}


def recordings() -> list[Path]:
    found = [*(RECORDINGS / "transcripts").rglob("*.jsonl"), *(RECORDINGS / "transcripts").rglob("*.json")]
    return [path for path in sorted(found) if detect(path) == "gemini-cli"]


def test_both_forms_are_recognised() -> None:
    assert (detect(LINES), detect(OBJECT)) == ("gemini-cli", "gemini-cli")


def test_a_session_starts_with_its_head_and_the_folder_that_its_first_message_names() -> None:
    first = facts_of(LINES)[0]
    assert isinstance(first, facts.SessionStarted)
    assert (first.harness, first.harness_session_id, first.cwd) == ("gemini-cli", "g-new", "/home/ana/shop")
    assert first.at == datetime(2026, 5, 4, 10, 0, 0, tzinfo=UTC)
    assert len(of_type(facts.SessionStarted, facts_of(LINES))) == 1


def test_a_message_that_is_written_again_tells_only_what_is_new() -> None:
    found = facts_of(LINES)
    assert [fact.text for fact in of_type(facts.PromptSubmitted, found)] == [
        "Fix the basket total", "Also the tax", "Round it up",
    ]  # fmt: skip
    assert [fact.text for fact in of_type(facts.AssistantSaid, found)] == ["I look.", "It is done."]
    calls = [fact.tool_call_id for fact in of_type(facts.ToolCalled, found)]
    assert calls == ["run_1", "todo_1", "edit_1", "sub_1", "bad_1", "no_1"]
    assert [fact.percent for fact in of_type(facts.ContextMeasured, found)] == [10, 20]


def test_outcomes_come_from_the_exit_code_the_error_and_the_status() -> None:
    finished = ends()
    assert (finished["run_1"].outcome, finished["run_1"].result) == (
        "failure", {"output": "Tests: 1 failed, 5 passed, 6 total", "exit_code": 1},
    )  # fmt: skip
    assert (finished["bad_1"].outcome, finished["bad_1"].error) == ("failure", "File not found: /gone")
    assert finished["no_1"].outcome == "cancelled"
    assert finished["edit_1"].outcome == "success"


def test_the_plan_and_subagents_are_told() -> None:
    found = facts_of(LINES)
    (plan,) = of_type(facts.PlanUpdated, found)
    assert (plan.key, [(item.text, item.status) for item in plan.items]) == (
        "plan:todo_1", [("Find the bug", "completed"), ("Fix it", "in_progress")],
    )  # fmt: skip
    (started,) = of_type(facts.SubagentStarted, found)
    assert (started.agent_type, started.description) == ("codebase_investigator", "Find callers.")
    assert len(of_type(facts.SubagentEnded, found)) == 1


def test_a_compression_a_way_back_and_a_notice_are_told() -> None:
    found = facts_of(LINES)
    (compacted,) = of_type(facts.ContextCompacted, found)
    assert (compacted.key, compacted.summary, compacted.tokens_before) == (
        "s1:compacted", "So far the basket.", 209715,
    )  # fmt: skip
    assert [(fact.kind, fact.message) for fact in of_type(facts.Notified, found)] == [
        ("rewind", "the conversation went back to before message m5"),
        ("info", "Request cancelled."),
    ]
    assert [(problem.kind, problem.detail) for problem in of_type(Problem, found)] == [
        ("unknown_record", "a_type_of_tomorrow")
    ]


def test_the_older_form_is_read_as_one_object() -> None:
    found = facts_of(OBJECT)
    (started,) = of_type(facts.SessionStarted, found)
    assert (started.harness_session_id, started.at) == ("g-old", datetime(2026, 5, 4, 10, 0, 0, tzinfo=UTC))
    assert [fact.text for fact in of_type(facts.PromptSubmitted, found)] == ["Read the basket"]
    assert [fact.tool_call_id for fact in of_type(facts.ToolCalled, found)] == ["a1:0", "a1:1"]
    assert [fact.tool_call_id for fact in of_type(facts.ToolFinished, found)] == ["a1:0"]
    compact = json.dumps(json.loads(OBJECT.read_text("utf-8"))).encode()
    assert [fact for fact in read_transcript([compact]) if not isinstance(fact, Problem)] == found


def test_an_older_file_that_was_cut_is_a_problem_and_no_error() -> None:
    lines = list(open_lines(OBJECT))[:-3]
    (problem,) = read_transcript(lines)
    assert isinstance(problem, Problem)
    assert problem.kind == "broken_line"


def test_the_window_is_the_clients_own_constant() -> None:
    assert (context_window_for("gemini-2.5-pro"), context_window_for("gemma-3-27b")) == (1_048_576, 256_000)


def test_a_prefix_of_a_recording_gives_a_prefix_of_its_facts() -> None:
    for path in (LINES, *(path for path in recordings() if path.suffix == ".jsonl")):
        lines = list(open_lines(path))
        whole = list(read_transcript(lines))
        for length in range(len(lines)):
            beginning = list(read_transcript(lines[:length]))
            assert beginning == whole[: len(beginning)]
        keys = [fact.key for fact in whole if not isinstance(fact, Problem)]
        assert len(keys) == len(set(keys))


def test_real_recordings_have_the_tool_calls_that_were_counted_in_them() -> None:
    if not recordings():
        pytest.skip(f"no Gemini CLI recordings below {RECORDINGS}; set CONTINUITY_RECORDINGS")
    rows = [row.split("|") for row in (RECORDINGS / "README.md").read_text("utf-8").splitlines()]
    for path in recordings():
        (counted,) = [int(row[5]) for row in rows if len(row) > 5 and row[1].strip().endswith(path.name)]
        found = facts_of(path)
        assert of_type(Problem, found) == []
        assert len(of_type(facts.ToolCalled, found)) == counted


NAMES = """id type timestamp content text sessionId projectHash startTime kind directories messages tokens input
model toolCalls name args result status functionResponse response output error $set $rewindTo
agentId resultDisplay"""
KINDS = """user gemini info warning error main subagent success cancelled executing run_shell_command write_todos
invoke_agent <session_context> <state_snapshot>"""
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
words = st.sampled_from(KINDS.split())
shaped = st.recursive(
    scalars | words,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES.split()), inner | words, max_size=6)
    ),
    max_leaves=25,
)
records = st.dictionaries(st.sampled_from(NAMES.split()), shaped, max_size=8)


@given(lines=st.lists(st.binary(max_size=200) | st.just(b"{"), max_size=8))
def test_any_bytes_are_read_without_an_error(lines: list[bytes]) -> None:
    assert list(read_transcript(lines)) == list(read_transcript(lines))


@settings(max_examples=150, deadline=None)
@given(found=st.lists(records, max_size=6))
def test_any_json_records_are_read_without_an_error(found: list[dict[str, object]]) -> None:
    lines = [json.dumps(record).encode() for record in found]
    whole = list(read_transcript(lines))
    beginning = list(read_transcript(lines[:-1]))
    assert beginning == whole[: len(beginning)]
