"""The fold: it never fails, stays bounded, and gives the same bytes however a state was reached."""

from __future__ import annotations

import copy
import random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.driving import calm, event

from session_continuity.domain.event_store import EVENT_TYPES, Event
from session_continuity.domain.fold import _FOLDS, KEPT, fold
from session_continuity.domain.work_state import SCHEMA_VERSION, canonical, empty_state, load_state, state_hash

# Every name that some event's fold looks at, so that generated data often hits one.
# fmt: off
NAMES = [
    "text", "prompt", "cwd", "git_branch", "branch", "git_head", "sha", "epic_id", "epic", "id",
    "epic_name", "name", "title", "current_epic", "items", "content", "step", "status", "command",
    "test_name", "suite", "validation", "tool", "summary", "message", "error", "failing", "commit",
    "hash", "number", "url", "target", "environment", "files", "path", "change", "note", "kind",
    "task_id", "subagent_id", "description", "task", "agent_type", "subagent_type", "feature",
    "percent", "context_percent", "used_tokens", "window_tokens", "trigger",
]
# fmt: on
LARGEST_STATE = 4 * 1_048_576

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
names = st.sampled_from(NAMES) | texts
json_values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=5), max_leaves=12
)
any_data = st.dictionaries(names, json_values, max_size=6) | json_values
streams = st.lists(st.tuples(st.sampled_from(EVENT_TYPES), any_data), max_size=25)


def numbered(stream: list[tuple[str, Any]]) -> list[Event]:
    return [event(number, kind, copy.deepcopy(data)) for number, (kind, data) in enumerate(stream, 1)]


def reordered(value: Any) -> Any:
    """The same document as jsonb gives it back: keys by length, then bytes."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in sorted(value, key=lambda key: (len(key), key.encode()))}
    return [reordered(item) for item in value] if isinstance(value, list) else value


@calm
@given(streams)
def test_folding_never_fails_whatever_a_plain_insert_stored(stream: list[tuple[str, Any]]) -> None:
    state = fold(empty_state(), numbered(stream))
    assert state["sequence_num"] == len(stream)
    assert state["schema_version"] == SCHEMA_VERSION


@calm
@given(streams, st.integers(0, 25))
def test_folding_in_two_parts_equals_folding_at_once(stream: list[tuple[str, Any]], cut: int) -> None:
    events = numbered(stream)
    whole = canonical(fold(empty_state(), events))
    assert canonical(fold(fold(empty_state(), events[:cut]), events[cut:])) == whole
    stored = orjson.loads(canonical(fold(empty_state(), events[:cut])))
    assert canonical(fold(reordered(stored), events[cut:])) == whole


@calm
@given(streams)
def test_a_state_has_the_same_bytes_after_storing_and_reading_it(stream: list[tuple[str, Any]]) -> None:
    encoded = canonical(fold(empty_state(), numbered(stream)))
    assert canonical(orjson.loads(encoded)) == encoded
    assert canonical(reordered(orjson.loads(encoded))) == encoded
    assert load_state(reordered(orjson.loads(encoded)), state_hash(encoded)) is not None


@calm
@given(streams)
def test_folding_leaves_the_events_as_they_are(stream: list[tuple[str, Any]]) -> None:
    events = numbered(stream)
    before = copy.deepcopy(events)
    fold(fold(empty_state(), events), [event(len(stream) + 1, "note_recorded", {"text": "more"})])
    assert events == before


@settings(calm, max_examples=3)
@given(st.integers(0, 2**32))
def test_a_state_stays_bounded_after_thousands_of_long_events(seed: int) -> None:
    dice = random.Random(seed)

    def long() -> Any:
        return dice.choice([f"{dice.random()}" + "x" * 5_000, dice.randrange(10**6), "ü" * 5_000])

    state = empty_state()
    for number in range(1, 3_001):
        data: dict[str, Any] = {name: long() for name in NAMES}
        data["items"] = [{"text": long(), "status": long()} for _ in range(150)] if number % 100 == 0 else []
        data["files"] = [{"path": long(), "change": long()} for _ in range(3)]
        data["failing"] = [long() for _ in range(30)]
        fold(state, [event(number, dice.choice(EVENT_TYPES), data)])
    for kind, most in KEPT.items():
        entries = state["plan"]["items"] if kind == "plan" and state["plan"] else state[kind]
        assert len(entries) <= most, kind
    assert len(canonical(state)) <= LARGEST_STATE


def test_every_fold_belongs_to_an_event_type_and_is_reached_by_its_own_data() -> None:
    assert set(_FOLDS) <= set(EVENT_TYPES)
    for kind in _FOLDS:
        data = dict.fromkeys(NAMES, "given") | {"files": ["a.py"], "items": [{"text": "step"}]}
        before = canonical(fold(empty_state(), [event(1, "instance_heartbeat", {})]))
        assert canonical(fold(empty_state(), [event(1, kind, data)])) != before, kind


def test_every_entry_cites_the_event_it_comes_from() -> None:
    state = fold(
        empty_state(),
        [
            event(1, "prompt_submitted", {"text": "build it"}),
            event(2, "epic_started", {"epic_id": "E1", "name": "First"}),
            event(3, "test_failed", {"command": "pytest", "failing": ["test_a"]}),
            event(4, "test_passed", {"command": "pytest"}),
            event(5, "epic_completed", {"epic_id": "E1"}),
        ],
    )
    assert state["objective"] == {"text": "build it", "cite": "demo-PS-aaaaaa#1"}
    assert state["epic"] == {
        "epic_id": "E1",
        "name": "First",
        "status": "completed",
        "cite": "demo-PS-aaaaaa#5",
    }
    assert [(check["outcome"], check["cite"]) for check in state["tests"]] == [("passed", "demo-PS-aaaaaa#4")]


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state | {"objective": {"text": "poisoned", "cite": "x#1"}},
        lambda state: state | {"schema_version": SCHEMA_VERSION + 1},
        lambda state: [state],
        lambda state: None,
    ],
)
def test_a_state_that_is_not_what_was_hashed_is_not_loaded(damage: Any) -> None:
    state = fold(empty_state(), [event(1, "prompt_submitted", {"text": "build it"})])
    encoded = canonical(state)
    assert load_state(damage(orjson.loads(encoded)), state_hash(encoded)) is None


def test_a_fold_that_forgets_one_event_is_noticed_by_the_bytes() -> None:
    """Control: the comparison above sees a single lost event."""
    events = numbered([("note_recorded", {"text": f"note {number}"}) for number in range(5)])
    assert canonical(fold(fold(empty_state(), events[:2]), events[3:])) != canonical(fold(empty_state(), events))
