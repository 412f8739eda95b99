"""Comparison of work states by structure; applied to the first, the differences give the second."""

from __future__ import annotations

import copy
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_continuity.domain.comparison import compare_checkpoints, compare_states
from session_continuity.domain.errors import NotFound
from session_continuity.domain.work_state import empty_state

from .driving import calm, drive

FIRST, SECOND = UUID(int=1), UUID(int=2)


def state(**sections: Any) -> dict[str, Any]:
    return {**empty_state(), **sections}


def found(before: Any, after: Any) -> list[tuple[str, tuple[Any, ...]]]:
    return [(difference.change, difference.path) for difference in compare_states(before, after)]


def file(path: str, change: str = "modified", cite: str = "a#1") -> dict[str, str]:
    return {"path": path, "change": change, "cite": cite}


def test_equal_states_do_not_differ() -> None:
    assert compare_states(state(files=[file("a")]), state(files=[file("a")])) == []


def test_an_entry_that_moved_or_is_cited_anew_is_no_difference() -> None:
    before = state(files=[file("a"), file("b")])
    after = state(files=[file("b", cite="a#9"), file("a")], sequence_num=9, instance_id="x")
    assert compare_states(before, after) == []


def test_entries_are_matched_by_what_names_them() -> None:
    before = state(files=[file("a"), file("b")], tests=[{"command": "pytest", "outcome": "failed"}])
    after = state(files=[file("a", "deleted"), file("c")], tests=[{"command": "pytest", "outcome": "passed"}])
    assert found(before, after) == [
        ("changed", ("tests", "pytest", "outcome")),
        ("changed", ("files", "a", "change")),
        ("removed", ("files", "b")),
        ("added", ("files", "c")),
    ]


def test_a_name_that_occurs_twice_is_numbered() -> None:
    twice = [{"text": "again", "status": "pending"}, {"text": "again", "status": "pending"}]
    before = state(plan={"cite": "a#1", "items": twice})
    after = state(plan={"cite": "a#2", "items": [twice[0], {"text": "again", "status": "completed"}]})
    assert found(before, after) == [("changed", ("plan", "items", "again", 1, "status"))]


def test_what_was_nothing_is_added_and_what_is_nothing_now_is_removed() -> None:
    objective = {"text": "go", "cite": "a#1"}
    assert found(state(), state(objective=objective)) == [("added", ("objective",))]
    assert found(state(objective=objective), state()) == [("removed", ("objective",))]


def test_a_state_of_plain_sql_may_hold_anything() -> None:
    assert found({"x": [1, 2]}, {"x": [1, 3], "files": 7}) == [("changed", ("x", 1)), ("added", ("files",))]
    assert found([], {}) == [("changed", ())]
    assert found({"x": 1}, {"x": True}) == [("changed", ("x",))]


names = st.text(max_size=3)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)


def applied(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The first document with every difference to the second put into it."""
    whole: Any = {"": copy.deepcopy(before)}
    for path, change, _, value in compare_states(before, after):
        place = whole[""] if path else whole
        for step in path[:-1]:
            place = place[step]
        last = path[-1] if path else ""
        if change == "removed" and isinstance(place, dict):
            place[last] = None
        elif isinstance(place, list) and last == len(place):
            place.append(value)
        elif isinstance(place, list) and change == "removed":
            place[last] = ...
        else:
            place[last] = value
    return without_nothing(whole[""])


def without_nothing(value: Any) -> Any:
    """A member that is null counts as one that is not there; a removed entry of a list is left out."""
    if isinstance(value, dict):
        return {name: without_nothing(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [without_nothing(inner) for inner in value if inner is not ... and inner is not None]
    return value


@calm
@given(before=st.dictionaries(names, values, max_size=4), after=st.dictionaries(names, values, max_size=4))
def test_the_differences_lead_from_one_to_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert without_nothing(applied(before, after)) == without_nothing(after)


def test_a_checkpoint_that_is_not_there_is_named() -> None:
    with pytest.raises(NotFound, match=str(FIRST)):
        drive(compare_checkpoints(FIRST, SECOND), [])
