"""What holds for every hook adapter: nothing is lost, nothing raises, and what is private is not kept."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from session_continuity.capture.facts import facts
from session_continuity.capture.facts.facts import HookFacts
from session_continuity.capture.harnesses.hooks import ADAPTERS

from .payloads import AT, CAPTURED, PAYLOADS, RECORDINGS, call, captured, of_type, one, told

EVENTS = [(harness, event) for harness, adapter in ADAPTERS.items() for event in adapter.EVENTS]
REFUSED = [(harness, event) for harness, adapter in ADAPTERS.items() for event in adapter.REFUSED]
SECRET = "5ecret-value"


@pytest.mark.parametrize(("harness", "event"), EVENTS)
def test_every_event_that_is_subscribed_to_tells_something_and_is_understood_whole(
    harness: str, event: str
) -> None:
    found = told(harness, event)
    assert found.facts
    assert of_type(facts.Unmapped, found) == []
    assert found.harness_session_id
    assert len({fact.key for fact in found.facts}) == len(found.facts)
    assert all(fact.at is not None and fact.at.tzinfo is not None for fact in found.facts)


@pytest.mark.parametrize(("harness", "event"), EVENTS)
def test_a_field_of_tomorrow_is_kept_as_it_came_beside_what_is_understood(harness: str, event: str) -> None:
    found = told(harness, event, field_of_tomorrow={"a": [1, "b"]})
    unmapped = one(facts.Unmapped, found)
    assert (unmapped.event, unmapped.payload) == (event, {"field_of_tomorrow": {"a": [1, "b"]}})
    assert [fact for fact in found.facts if fact is not unmapped] == list(told(harness, event).facts)


@pytest.mark.parametrize(("harness", "event"), REFUSED)
def test_a_refused_event_that_arrives_all_the_same_tells_nothing(harness: str, event: str) -> None:
    assert ADAPTERS[harness].read_hook(event, {"session_id": "s", "news": 1}, call()).facts == ()


@pytest.mark.parametrize("harness", ADAPTERS)
def test_an_event_of_tomorrow_is_kept_whole(harness: str) -> None:
    payload: dict[str, Any] = {"session_id": "s-1", "sessionID": "s-1", "news": {"deep": ["x"]}}
    found = ADAPTERS[harness].read_hook("EventOfTomorrow", payload, call())
    assert found.facts == (facts.Unmapped(key="record", at=AT, event="EventOfTomorrow", payload=payload),)
    assert found.harness_session_id == "s-1"


@pytest.mark.parametrize(("harness", "event"), [*EVENTS, *((harness, "EventOfTomorrow") for harness in ADAPTERS)])
def test_neither_the_environment_nor_the_users_address_is_kept(harness: str, event: str) -> None:
    private: dict[str, Any] = {
        "user_email": SECRET,
        "env": {"KEY": SECRET},
        "environment": [SECRET],
        "news": {"user_email": SECRET, "inner": [{"environ": SECRET}]},
    }
    payload = {**PAYLOADS[harness].get(event, {}), **private}
    found = ADAPTERS[harness].read_hook(event, payload, call())
    assert SECRET not in repr(asdict(found))
    assert one(facts.Unmapped, found).payload["news"] == {"inner": [{}]}


@pytest.mark.parametrize("folder", CAPTURED)
def test_every_captured_payload_is_understood(folder: str) -> None:
    payloads = captured(folder)
    if not payloads:
        pytest.skip(f"no captured payloads in {RECORDINGS / 'hooks' / folder}; set CONTINUITY_RECORDINGS")
    adapter = ADAPTERS[CAPTURED[folder]]
    for name, event, payload in payloads:
        found = adapter.read_hook(event, payload, call(name))
        assert event in adapter.EVENTS or event in adapter.REFUSED, name
        assert of_type(facts.Unmapped, found) == [], name
        assert found.facts or event in adapter.REFUSED or folder in ("opencode", "claude"), name


@pytest.mark.parametrize("harness", ["claude-code", "codex", "gemini-cli"])
def test_the_last_answer_is_told_where_the_recording_lies_on_another_machine(harness: str) -> None:
    event = "AfterAgent" if harness == "gemini-cli" else "Stop"
    assert of_type(facts.AssistantSaid, told(harness, event)) == []
    assert one(facts.AssistantSaid, told(harness, event, host="elsewhere")).key == "record:said"


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def shaped(draw: st.DrawFn) -> tuple[str, str, dict[str, Any]]:
    """An event of a harness with its own payload, in which any values stand in the place of some."""

    def mangled(value: Any) -> Any:
        if draw(st.integers(0, 5)) == 0:
            return draw(values)
        if isinstance(value, dict):
            return {name: mangled(item) for name, item in value.items()}
        return [mangled(item) for item in value] if isinstance(value, list) else value

    harness = draw(st.sampled_from(sorted(ADAPTERS)))
    event = draw(st.sampled_from(sorted({*PAYLOADS[harness], *ADAPTERS[harness].REFUSED, "EventOfTomorrow"})))
    payload = mangled(PAYLOADS[harness].get(event, {}))
    return harness, event, payload if isinstance(payload, dict) else {"payload": payload}


@settings(max_examples=300, deadline=None)
@given(shaped())
def test_a_payload_of_any_values_gives_facts_and_never_an_error(sample: tuple[str, str, dict[str, Any]]) -> None:
    harness, event, payload = sample
    found = ADAPTERS[harness].read_hook(event, payload, call())
    assert isinstance(found, HookFacts)
    assert found == ADAPTERS[harness].read_hook(event, payload, call()) or "nan" in repr(found)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(EVENTS), st.dictionaries(st.text(max_size=12), values, max_size=6))
def test_any_json_object_gives_facts_and_never_an_error(where: tuple[str, str], payload: dict[str, Any]) -> None:
    harness, event = where
    assert isinstance(ADAPTERS[harness].read_hook(event, payload, call()), HookFacts)


@pytest.mark.parametrize(("harness", "event"), EVENTS)
def test_a_payload_nested_a_thousand_deep_does_no_harm(harness: str, event: str) -> None:
    deep: Any = "x"
    for _ in range(1000):
        deep = {"action": deep}
    names = ("tool_input", "tool_response", "input", "output", "info", "part", "error", "news", "questions")
    payload = {**PAYLOADS[harness][event], **dict.fromkeys(names, deep)}
    assert isinstance(ADAPTERS[harness].read_hook(event, payload, call()), HookFacts)
