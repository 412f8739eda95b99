"""OpenCode's database read into facts: one of our own, rows of any content, files that are none."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from session_continuity import InvalidInput
from session_continuity.capture.facts import facts
from session_continuity.capture.facts.facts import Fact, Problem
from session_continuity.capture.facts.transcripts import Line, detect
from session_continuity.capture.harnesses.hooks import ADAPTERS
from session_continuity.capture.harnesses.opencode import open_rows, read_transcript, session_ids

from .opencode_database import MAIN, make
from .payloads import call

T = TypeVar("T")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return make(tmp_path / "opencode.db")


def facts_of(path: Path, session: str = "ses_1") -> list[Fact | Problem]:
    return list(read_transcript(open_rows(path, session)))


def of_type(kind: type[T], found: list[Fact | Problem]) -> list[T]:
    return [fact for fact in found if isinstance(fact, kind)]


def test_a_database_is_recognised_and_lists_parents_first(database: Path) -> None:
    assert detect(database) == "opencode"
    assert session_ids(database) == ["ses_1", "ses_2"]


def test_a_session_starts_with_its_row(database: Path) -> None:
    first = facts_of(database)[0]
    assert isinstance(first, facts.SessionStarted)
    assert (first.harness, first.harness_session_id, first.version) == ("opencode", "ses_1", "1.18.33")
    assert (first.cwd, first.at) == ("/home/ana/shop", datetime(2026, 5, 4, 10, 0, 0, tzinfo=UTC))
    child = facts_of(database, "ses_2")
    started = child[0]
    assert isinstance(started, facts.SessionStarted)
    assert (started.parent_harness_session_id, started.source) == ("ses_1", "subagent")
    assert [fact.source for fact in of_type(facts.PromptSubmitted, child)] == ["agent"]
    assert [fact.subagent for fact in of_type(facts.ToolCalled, child)] == ["ses_2"]


def test_prompts_answers_compaction_and_interruption(database: Path) -> None:
    found = facts_of(database)
    assert [fact.text for fact in of_type(facts.PromptSubmitted, found)] == ["Fix the basket total"]
    assert [fact.text for fact in of_type(facts.AssistantSaid, found)] == ["I found it."]
    (compacted,) = of_type(facts.ContextCompacted, found)
    assert (compacted.key, compacted.trigger, compacted.summary) == (
        "msg_ses_1_3:compacted", "auto", "So far the basket.",
    )  # fmt: skip
    assert len(of_type(facts.Interrupted, found)) == 1
    assert [fact.model for fact in of_type(facts.SessionChanged, found)] == ["m-1"]
    assert of_type(Problem, found) == []


def test_calls_have_their_outcome_and_the_one_in_flight_has_none(database: Path) -> None:
    found = facts_of(database)
    assert [fact.tool_call_id for fact in of_type(facts.ToolCalled, found)] == [
        "c1",
        "c2",
        "c3",
        "c4",
        "c5",
        "c6",
        "c8",
    ]
    ended = {fact.tool_call_id: fact for fact in of_type(facts.ToolFinished, found)}
    assert {name: fact.outcome for name, fact in ended.items()} == {
        "c1": "failure", "c2": "success", "c3": "success", "c4": "success", "c5": "failure", "c6": "cancelled",
    }  # fmt: skip
    assert (ended["c1"].error, ended["c1"].duration_ms) == ("Exit code 1\n1 failed", 2000)
    assert ended["c1"].result == {"output": "1 failed", "title": "npm test", "truncated": False, "exit_code": 1}
    assert [fact.tool_call_id for fact in of_type(facts.PermissionDenied, found)] == ["c6"]
    (plan,) = of_type(facts.PlanUpdated, found)
    assert (plan.key, len(plan.items)) == ("plan:c3", 2)
    (back,) = of_type(facts.SubagentEnded, found)
    assert (back.subagent_id, back.agent_id, back.agent_type) == ("c4", "ses_2", "explore")


def test_the_plugins_events_tell_the_same_facts_as_the_rows(database: Path) -> None:
    """But for times, which are the hook's own."""
    found = {fact.key: fact for fact in facts_of(database) if not isinstance(fact, Problem)}
    told: dict[str, Fact] = {}
    for number, (_, parts) in enumerate(MAIN[:2]):
        for place, part in enumerate(parts):
            full = {"id": f"prt_ses_1_{number}_{place:02}", "messageID": f"msg_ses_1_{number}", **part}
            payload = {"properties": {"sessionID": "ses_1", "part": full}, "directory": "/home/ana/shop"}
            read = ADAPTERS["opencode"].read_hook("event.message.part.updated", payload, call())
            told |= {fact.key: fact for fact in read.facts}
    assert {"result:c1", "plan:c3", "denied:c6", "subagent-ended:c4", "prt_ses_1_1_08:said"} <= told.keys()
    for key, fact in told.items():
        same = found[key]
        assert type(fact) is type(same)
        for name in ("outcome", "result", "error", "duration_ms", "items", "text", "reason", "agent_id"):
            assert getattr(fact, name, None) == getattr(same, name, None), (key, name)


def test_a_prefix_of_the_rows_gives_a_prefix_of_the_facts(database: Path) -> None:
    lines = list(open_rows(database, "ses_1"))
    whole = list(read_transcript(lines))
    for length in range(len(lines)):
        beginning = list(read_transcript(lines[:length]))
        assert beginning == whole[: len(beginning)]
    keys = [fact.key for fact in whole if not isinstance(fact, Problem)]
    assert len(keys) == len(set(keys))


def test_reading_changes_nothing_and_sees_what_is_not_checkpointed_yet(database: Path) -> None:
    with closing(sqlite3.connect(database)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("UPDATE session SET version = '1.19.0' WHERE id = 'ses_1'")
        writer.commit()
        before = database.read_bytes()
        started = facts_of(database)[0]
        assert isinstance(started, facts.SessionStarted)
        assert started.version == "1.19.0"
        assert database.read_bytes() == before


def test_what_is_no_database_of_opencode_is_refused_with_a_reason(tmp_path: Path) -> None:
    empty, other, missing = tmp_path / "empty.db", tmp_path / "other.db", tmp_path / "gone?.db"
    empty.write_bytes(b"SQLite format 3\x00" + os.urandom(4096))
    with closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE session (id text)")
    for path in (empty, other, missing):
        with pytest.raises(InvalidInput, match="can't be read as OpenCode's database"):
            session_ids(path)
        with pytest.raises(InvalidInput):
            list(open_rows(path, "ses_1"))
    assert not missing.exists()


NAMES = """id parent_id message_id directory version time_created data role path cwd modelID model error name
summary type text synthetic tool callID state status input output metadata exit time start end auto"""
KINDS = "user assistant text tool compaction completed error running bash task todowrite MessageAbortedError"
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
words = st.sampled_from(KINDS.split())
shaped = st.recursive(
    scalars | words,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES.split()), inner | words, max_size=6)
    ),
    max_leaves=20,
)
contents = st.dictionaries(st.sampled_from(NAMES.split()), shaped, max_size=8)
rows = st.builds(
    lambda table, row, data: {**row, "type": table, "data": data if isinstance(data, str) else json.dumps(data)},
    st.sampled_from(["session", "message", "part"]),
    st.dictionaries(st.sampled_from(["id", "message_id", "parent_id", "time_created"]), scalars, max_size=4),
    contents | st.text(max_size=20),
)


@settings(max_examples=150, deadline=None)
@given(found=st.lists(rows, max_size=8))
def test_rows_of_any_content_are_read_without_an_error(found: list[dict[str, object]]) -> None:
    lines = [json.dumps(row).encode() for row in found]
    whole = list(read_transcript(lines))
    assert list(read_transcript(lines[:-1])) == whole[: len(list(read_transcript(lines[:-1])))]


@settings(max_examples=30, deadline=None)
@given(data=st.binary(max_size=200))
def test_a_database_with_any_bytes_in_it_is_read_without_an_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = make(tmp_path_factory.mktemp("any") / "opencode.db")
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("UPDATE part SET data = CAST(? AS text)", (data,))
        writer.execute("UPDATE message SET data = ? WHERE id LIKE '%1'", (data,))
        writer.commit()
    lines = list(open_rows(path, "ses_1"))
    assert all(isinstance(line, Line) for line in lines)
    assert isinstance(next(iter(read_transcript(lines))), facts.SessionStarted)
