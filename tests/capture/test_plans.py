"""The plan kept from the tools that write it."""

from __future__ import annotations

import pytest

from session_continuity.capture.facts.facts import Record
from session_continuity.capture.facts.plans import Plan


@pytest.mark.parametrize(
    ("tool", "unreadable"),
    [("TodoWrite", {"todos": "[cut]"}), ("update_plan", {"raw": "[cut]"}), ("TaskList", {})],
)
def test_a_plan_that_can_not_be_read_leaves_the_plan_as_it_is(tool: str, unreadable: Record) -> None:
    plan = Plan()
    assert plan.apply("TodoWrite", {"todos": [{"content": "tax", "status": "completed"}]}, None)
    assert not plan.apply(tool, unreadable, None)
    assert [item.text for item in plan.items] == ["tax"]


@pytest.mark.parametrize(("tool", "name"), [("TodoWrite", "todos"), ("update_plan", "plan")])
def test_an_empty_plan_takes_the_plan_away(tool: str, name: str) -> None:
    plan = Plan()
    plan.apply("TodoWrite", {"todos": [{"content": "tax", "status": "completed"}]}, None)
    assert plan.apply(tool, {name: []}, None)
    assert plan.items == ()
