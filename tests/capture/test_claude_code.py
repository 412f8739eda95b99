"""Claude Code's transcripts read into facts: our own small recordings, real ones where present, any bytes."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from session_continuity.capture.facts import facts
from session_continuity.capture.facts.facts import Fact, Problem
from session_continuity.capture.facts.transcripts import detect, open_lines
from session_continuity.capture.harnesses import claude_code
from session_continuity.capture.harnesses.claude_code import context_window_for, read_transcript

T = TypeVar("T")
FIXTURES = Path(__file__).parent / "fixtures"
RECORDINGS = Path(os.environ.get("CONTINUITY_RECORDINGS") or Path(__file__).parents[3] / "shared" / "data")


def facts_of(name: str) -> list[Fact | Problem]:
    return list(read_transcript(open_lines(FIXTURES / name)))


def of_type(kind: type[T], found: list[Fact | Problem]) -> list[T]:
    return [fact for fact in found if isinstance(fact, kind)]


def recordings() -> list[Path]:
    found = sorted((RECORDINGS / "transcripts").rglob("*.jsonl"))
    return [path for path in found if detect(path) == "claude-code"]


def tool_calls_by_the_table(path: Path) -> int:
    for row in (RECORDINGS / "README.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in row.split("|")]
        if len(cells) > 5 and path.as_posix().endswith(cells[1]) and cells[1]:
            return int(cells[5])
    raise AssertionError(f"{path} is not in the table")


@pytest.fixture(params=recordings() or [None], ids=lambda path: path.name[:40] if path else "none")
def recording(request: pytest.FixtureRequest) -> Path:
    if request.param is None:
        pytest.skip(f"no Claude Code recordings below {RECORDINGS}; set CONTINUITY_RECORDINGS")
    return request.param


def test_a_session_starts_with_what_its_first_record_tells() -> None:
    first = facts_of("claude_2_1.jsonl")[0]
    assert first == facts.SessionStarted(
        key="session",
        at=datetime(2026, 5, 4, 10, 0, 1, tzinfo=UTC),
        harness="claude-code",
        harness_session_id="s-main",
        cwd="/home/ana/shop",
        git_branch="main",
        git_head=None,
        version="2.1.200",
        model=None,
        source="startup",
        parent_harness_session_id=None,
    )


def test_only_words_that_a_person_wrote_are_prompts() -> None:
    prompts = of_type(facts.PromptSubmitted, facts_of("claude_2_1.jsonl"))
    assert [(prompt.text, prompt.source) for prompt in prompts] == [
        ("Fix the basket total", "user"),
        ("/review basket.py", "slash_command"),
        ("Also the tax, please", "user"),
        ("and round it up", "queued"),
    ]


def test_a_shell_failure_keeps_its_exit_code_and_output() -> None:
    finished = {fact.tool_call_id: fact for fact in of_type(facts.ToolFinished, facts_of("claude_2_1.jsonl"))}
    failed = finished["t5"]
    assert failed.outcome == "failure"
    assert failed.result == {"exit_code": 2, "output": "make: *** [lint] Error 1"}
    assert failed.error is not None
    assert failed.error.startswith("Exit code 2")
    assert failed.duration_ms == 1000


def test_a_rejected_tool_is_cancelled_and_the_interruption_names_it() -> None:
    found = facts_of("claude_2_1.jsonl")
    assert [fact.tool_call_id for fact in of_type(facts.Interrupted, found)] == ["t6"]
    assert [fact.tool_call_id for fact in of_type(facts.ToolFinished, found) if fact.outcome == "cancelled"] == [
        "t6"
    ]


def test_a_result_keeps_its_own_shape_without_the_file_from_before_the_edit() -> None:
    finished = {fact.tool_call_id: fact for fact in of_type(facts.ToolFinished, facts_of("claude_2_1.jsonl"))}
    assert finished["t4"].result == {"filePath": "/home/ana/shop/basket.py", "structuredPatch": []}


def test_the_plan_is_followed_through_all_tools_that_change_it() -> None:
    plans = of_type(facts.PlanUpdated, facts_of("claude_2_1.jsonl"))
    assert [[(item.text, item.status) for item in plan.items] for plan in plans[:3]] == [
        [("Find the bug", "in_progress"), ("Fix it", "pending")],
        [("Find the bug", "in_progress"), ("Fix it", "pending"), ("Add the tax", "pending")],
        [("Find the bug", "in_progress"), ("Fix it", "pending"), ("Add the tax", "completed")],
    ]
    assert plans[3].text == "1. tax\n2. rounding"


def test_the_result_of_a_background_command_names_the_command() -> None:
    finished = {fact.tool_call_id: fact for fact in of_type(facts.ToolFinished, facts_of("claude_2_1.jsonl"))}
    assert isinstance(finished["t10"].result, dict)
    assert finished["t10"].result["command"] == "pytest -q"


def test_a_background_agent_ends_with_its_notice_and_only_once() -> None:
    found = facts_of("claude_2_1.jsonl")
    started = of_type(facts.SubagentStarted, found)
    ended = of_type(facts.SubagentEnded, found)
    assert [(fact.subagent_id, fact.agent_type) for fact in started] == [("t11", "Explore")]
    assert [(fact.subagent_id, fact.agent_id) for fact in ended] == [("t11", "a77")]
    assert found.index(ended[0]) > found.index(of_type(facts.ToolFinished, found)[-3])


def test_a_compaction_is_one_fact_of_its_boundary_and_its_summary() -> None:
    (compaction,) = of_type(facts.ContextCompacted, facts_of("claude_2_1.jsonl"))
    assert (compaction.trigger, compaction.tokens_before, compaction.tokens_after) == ("auto", 167000, 2700)
    assert compaction.summary is not None
    assert "The basket was fixed" in compaction.summary


def test_the_context_is_told_when_its_percent_changes() -> None:
    measured = of_type(facts.ContextMeasured, facts_of("claude_2_1.jsonl"))
    assert [(fact.percent, fact.window_tokens) for fact in measured] == [
        (10, 200_000),
        (45, 200_000),
        (15, 200_000),
    ]


def test_records_and_calls_written_again_are_told_once() -> None:
    found = facts_of("claude_2_1.jsonl")
    texts = [fact.text for fact in of_type(facts.AssistantSaid, found)]
    assert texts == ["I look at the tests first.", "Done: the total and the tax are right."]
    calls = [fact.tool_call_id for fact in of_type(facts.ToolCalled, found)]
    assert len(calls) == len(set(calls)) == 12


def test_what_can_not_be_understood_is_reported_and_does_not_stop_the_reading() -> None:
    found = facts_of("claude_2_1.jsonl")
    problems = of_type(Problem, found)
    assert [problem.kind for problem in problems] == ["unknown_record", "broken_line", "broken_line"]
    assert problems[0].detail == "a-type-of-tomorrow"
    assert of_type(facts.SessionEnded, found)[0].reason == "prompt_input_exit"
    orphan = of_type(facts.ToolFinished, found)[-1]
    assert (orphan.tool_call_id, orphan.duration_ms) == ("t99", None)


def test_inline_sidechains_belong_to_the_task_that_sent_them() -> None:
    found = facts_of("claude_1_0_sidechains.jsonl")
    calls = {fact.tool_call_id: fact.subagent for fact in of_type(facts.ToolCalled, found)}
    assert calls == {"k1": None, "k2": None, "k3": "k1"}
    assert [fact.text for fact in of_type(facts.PromptSubmitted, found)] == ["/init"]
    assert [fact.text for fact in of_type(facts.AssistantSaid, found)] == ["There is nothing to know."]
    assert [fact.used_tokens for fact in of_type(facts.ContextMeasured, found)] == [18000, 19000]
    assert [fact.subagent_id for fact in of_type(facts.SubagentStarted, found)] == ["k1"]  # k2 was refused
    assert [fact.subagent_id for fact in of_type(facts.SubagentEnded, found)] == ["k1"]
    finished = {fact.tool_call_id: fact for fact in of_type(facts.ToolFinished, found)}
    assert finished["k1"].duration_ms == 4200


def test_a_subagents_own_file_is_a_session_with_a_parent() -> None:
    found = facts_of("claude_subagent.jsonl")
    assert isinstance(found[0], facts.SessionStarted)
    assert (found[0].harness_session_id, found[0].parent_harness_session_id) == ("a77", "s-main")
    assert found[0].source == "subagent"
    assert not of_type(facts.PromptSubmitted, found)
    assert [fact.subagent for fact in of_type(facts.ToolCalled, found)] == ["a77"]


@pytest.mark.parametrize("name", sorted(path.name for path in FIXTURES.glob("claude*.jsonl")))
def test_a_prefix_of_our_recordings_gives_a_prefix_of_its_facts(name: str) -> None:
    lines = list(open_lines(FIXTURES / name))
    whole = list(read_transcript(lines))
    for length in range(len(lines)):
        beginning = list(read_transcript(lines[:length]))
        assert beginning == whole[: len(beginning)]


def test_keys_name_a_fact_of_a_session_once() -> None:
    keys = [fact.key for fact in facts_of("claude_2_1.jsonl") if not isinstance(fact, Problem)]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    ("model", "used", "window"),
    [
        (None, 0, 200_000),
        ("claude-opus-5", 199_999, 200_000),
        ("claude-opus-5", 200_001, 1_000_000),
        ("claude-opus-5[1m]", 5, 1_000_000),
        ("claude-sonnet-5-5", 43_000, 1_000_000),
    ],
)
def test_the_context_window_follows_model_and_use(model: str | None, used: int, window: int) -> None:
    assert context_window_for(model, used) == window


def test_a_line_over_the_limit_is_reported_and_the_next_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / "big.jsonl"
    record = {"type": "user", "sessionId": "s", "uuid": "u", "message": {"role": "user", "content": "hello"}}
    path.write_bytes(b'{"type":"user","x":"' + b"y" * 5000 + b'"}\n' + orjson.dumps(record) + b"\n")
    lines = list(open_lines(path, max_line_bytes=1000))
    assert [(line.number, line.offset, line.too_long) for line in lines] == [(1, 0, True), (2, 5023, False)]
    found = list(read_transcript(lines))
    assert isinstance(found[0], Problem)
    assert found[-1] == facts.PromptSubmitted(key="u:prompt", at=None, text="hello", source="user")


def test_a_cut_emoji_does_not_hide_its_record() -> None:
    line = b'{"type":"user","sessionId":"s","uuid":"u","message":{"role":"user","content":"ok \\ud83d"}}'
    prompt = list(read_transcript([line]))[-1]
    assert isinstance(prompt, facts.PromptSubmitted)
    assert prompt.text == "ok ?"


def test_a_last_line_without_its_end_is_reported_as_such(tmp_path: Path) -> None:
    path = tmp_path / "torn.jsonl"
    path.write_bytes(b'{"type":"user","sess')
    (problem,) = read_transcript(open_lines(path))
    assert isinstance(problem, Problem)
    assert "no end yet" in problem.detail


def test_files_of_nobody_are_not_recognised(tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text('{"role":"user"}\nnot json\n{"id":"1","timestamp":"2026-01-01T00:00:00Z","type":"user"}\n')
    assert detect(path) is None
    assert detect(FIXTURES / "claude_2_1.jsonl") == "claude-code"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = """
type uuid parentUuid isSidechain agentId timestamp sessionId cwd version message content role model usage
input_tokens id name input tool_use_id is_error toolUseResult subtype compactMetadata attachment prompt
operation permissionMode isMeta isCompactSummary todos status taskId task stdout interrupted text
"""
names = st.sampled_from(FIELDS.split())
kinds = st.sampled_from(
    ["user", "assistant", "system", "attachment", "queue-operation", "tool_use", "tool_result", "text"]
)
shaped = st.recursive(
    json_values | kinds,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner | kinds, max_size=6),
    max_leaves=25,
)
records = st.builds(lambda kind, rest: {**rest, "type": kind}, kinds, st.dictionaries(names, shaped, max_size=8))


@given(lines=st.lists(st.binary(max_size=200), max_size=8))
def test_any_bytes_are_read_without_an_error(lines: list[bytes]) -> None:
    assert list(read_transcript(lines)) == list(read_transcript(lines))


@settings(max_examples=300, deadline=None)
@given(found=st.lists(records, max_size=6))
def test_any_json_records_are_read_without_an_error(found: list[dict[str, object]]) -> None:
    lines = [json.dumps(record).encode() for record in found]
    whole = list(read_transcript(lines))
    beginning = list(read_transcript(lines[:-1]))
    assert beginning == whole[: len(beginning)]


def test_a_real_recording_read_twice_gives_the_same_facts(recording: Path) -> None:
    assert list(read_transcript(open_lines(recording))) == list(read_transcript(open_lines(recording)))


def test_a_prefix_of_a_recording_gives_a_prefix_of_its_facts(recording: Path) -> None:
    lines = list(open_lines(recording))
    whole = list(read_transcript(lines))
    step = max(1, len(lines) // 25)
    for length in range(0, len(lines), step):
        beginning = list(read_transcript(lines[:length]))
        assert beginning == whole[: len(beginning)]


def test_a_real_recording_has_the_tool_calls_that_were_counted_in_it(recording: Path) -> None:
    found = list(read_transcript(open_lines(recording)))
    assert len(of_type(facts.ToolCalled, found)) == tool_calls_by_the_table(recording)


def test_real_recordings_of_known_versions_have_no_problem_and_unique_keys(recording: Path) -> None:
    found = list(read_transcript(open_lines(recording)))
    assert of_type(Problem, found) == []
    keys = [fact.key for fact in found if not isinstance(fact, Problem)]
    assert len(keys) == len(set(keys))
    assert isinstance(found[0], facts.SessionStarted)


def test_no_ignored_record_type_has_a_handler() -> None:
    handled = {"user", "assistant", "system", "attachment", "queue-operation", "permission-mode"}
    assert not handled & claude_code.KNOWN_AND_IGNORED
    assert all(re.fullmatch(r"[a-z_-]+", name) for name in claude_code.KNOWN_AND_IGNORED)
