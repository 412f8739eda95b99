"""J1, S3: what is taken is read back equal; what is not is refused by a code, and nothing is half-written."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.client.records import contents, is_whole, new_session, note

from session_continuity import InvalidInput, NewCommand, NewEvent, SessionContinuity
from session_continuity.domain.payload import storable
from session_continuity.domain.work_state import canonical


def nested(levels: int, value: Any = 1) -> Any:
    for _ in range(levels):
        value = [value]
    return value


REFUSED = [
    ("NUL", {"a": "x\0"}, "payload_nul"),
    ("NUL in a key", {"\0": 1}, "payload_nul"),
    ("lone surrogate", {"a": "\ud800"}, "payload_lone_surrogate"),
    ("1e131072", {"a": float("1e131072")}, "payload_not_finite"),
    ("NaN", {"a": math.nan}, "payload_not_finite"),
    ("Infinity", {"a": [-math.inf]}, "payload_not_finite"),
    ("10**5000", {"a": 10**5_000}, "payload_number_out_of_range"),
    ("nested 201", {"a": nested(200)}, "payload_too_deep"),
    ("nested 2,000", {"a": nested(2_000)}, "payload_too_deep"),
    ("nested 100,000", {"a": nested(100_000)}, "payload_too_deep"),
    ("2 MiB", {"a": "x" * 2_097_152}, "payload_too_large"),
    ("no object", [1], "payload_not_object"),
    ("None", None, "payload_not_object"),
    ("a set", {"a": {1}}, "payload_not_json"),
    ("a Decimal", {"a": Decimal(1)}, "payload_not_json"),
    ("a number for a key", {1: "a"}, "payload_not_json"),
]
CALLS: dict[str, Callable[[SessionContinuity, str, Any], Any]] = {
    "append_event": lambda c, s, v: c.append_event(s, "note_recorded", v),
    "append_events": lambda c, s, v: c.append_events(
        s, [note("a"), NewEvent(event_type="note_recorded", event_data=v)]
    ),
    "metadata": lambda c, s, v: c.append_event(s, "note_recorded", {}, metadata=v),
    "register_session": lambda c, s, v: c.register_session("demo", metadata=v),
    "take_checkpoint": lambda c, s, v: c.take_checkpoint(s, metadata=v),
    "resume_session": lambda c, s, v: c.resume_session(s, metadata=v),
    "record_command": lambda c, s, v: c.record_command(
        s, NewCommand(command_type="tool", action="a", parameters=v)
    ),
    "record_outcome": lambda c, s, v: c.record_outcome(s, command_id=1, outcome="success", result=v),
}  # fmt: skip


@pytest.mark.parametrize(("value", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_hostile_payloads_are_refused_by_code_and_leave_nothing(
    client: SessionContinuity, database: str, value: Any, code: str
) -> None:
    session = new_session(client)
    client.record_command(session, NewCommand(command_type="tool", action="a"))
    before = contents(database)
    for name, call in CALLS.items():
        if code == "payload_not_object" and (value is None or name == "record_outcome"):
            continue  # there None stands for nothing given, and a result may be any value
        with pytest.raises(InvalidInput) as refused:
            call(client, session, value)
        assert refused.value.stable_code == code, name
    assert contents(database) == before
    client.append_event(session, "note_recorded", {"text": "goes on"})
    assert is_whole(client, session)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda c, s: c.append_event(s, "no_such_type"), "event_type_enum"),
        (lambda c, s: c.append_events(s, []), "append_size"),
        (lambda c, s: c.append_events(s, [note("x")] * 10_001), "append_size"),
        (lambda c, s: c.append_events(s, [note("x", operation="a"), note("y")]), "operation_mixed"),
        (lambda c, s: c.append_event("no id", "note_recorded"), "instance_id_format"),
        (lambda c, s: c.register_session(""), "text_empty"),
        (lambda c, s: c.register_session("a\0"), "text_nul"),
        (lambda c, s: c.register_session("\ud800"), "text_lone_surrogate"),
        (lambda c, s: c.register_session("x" * 201), "text_too_long"),
        (lambda c, s: c.register_session("demo", instance_type="XX"), "instance_type_enum"),
        (lambda c, s: c.register_session("demo", context_percent=101), "context_percent_range"),
        (lambda c, s: c.send_heartbeat(s, context_percent=-1), "context_percent_range"),
        (lambda c, s: c.send_heartbeat(s, current_epic="a\0"), "text_nul"),
        (lambda c, s: c.take_checkpoint(s, checkpoint_type="hourly"), "checkpoint_type_enum"),
        (lambda c, s: c.read_events(s, limit=0), "limit_range"),
        (lambda c, s: c.search_commands(text="\0"), "text_nul"),
        (lambda c, s: c.find_resumable("\0"), "text_nul"),
    ],
)
def test_everything_else_that_breaks_a_rule_is_refused_by_code(
    client: SessionContinuity, database: str, call: Any, code: str
) -> None:
    session = new_session(client)
    before = contents(database)
    with pytest.raises(InvalidInput) as refused:
        call(client, session)
    assert refused.value.stable_code == code
    assert contents(database) == before


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: jsonb gives 1e16 back as 10000000000000000, which Python reads as another type."""
    if isinstance(one, float) or isinstance(other, float):
        return not isinstance(one, bool | str | None) and float(one) == float(other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
json_values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=15
)
objects = st.dictionaries(texts, json_values, max_size=5)
calm = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@calm
@given(first=objects, second=objects)
def test_every_json_object_is_read_back_equal(
    client: SessionContinuity, first: dict[str, Any], second: dict[str, Any]
) -> None:
    session = new_session(client, metadata=first)
    one = client.append_event(session, "note_recorded", first, metadata=second, operation="op")
    client.append_events(session, [NewEvent(event_type="files_changed", event_data=second, metadata=first)])
    assert client.append_event(session, "note_recorded", first, metadata=second, operation="op") == one
    events = client.read_events(session, after=1)
    assert same([[e.event_data, e.metadata] for e in events], [[first, second], [second, first]])
    assert same(client.get_session(session).metadata, first)
    taken = client.take_checkpoint(session, metadata=second)
    assert same(client.get_checkpoint(taken.checkpoint_id).metadata, second)
    replayed = canonical(client.replay_events(session).work_state)
    assert canonical(client.recover_state(session).work_state) == replayed


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@calm
@given(value=st.dictionaries(st.text(st.characters(), max_size=5), anything, max_size=4), result=anything)
def test_what_is_not_refused_is_stored_whole_and_captured_values_never_fail(
    client: SessionContinuity, value: dict[str, Any], result: Any
) -> None:
    session = new_session(client)
    try:
        client.append_event(session, "note_recorded", value)
        stored = [value]
    except InvalidInput:
        stored = []
    client.append_event(session, "note_recorded", storable(value))
    stored.append(storable(value))
    assert same([event.event_data for event in client.read_events(session, after=1)], stored)
    made = storable(result)
    command = client.record_command(session, NewCommand(command_type="tool", action="a", result=made))
    assert same(client.search_commands(instance_id=session)[0].result, made)
    assert same(command.result, made)


PLAIN = {
    "a number beyond every double": "1" + "0" * 400,
    "2,000 lists": "[" * 2_000 + "]" * 2_000,
    "a huge integer": "9" * 60,
    "a scalar": '"text"',
    "null": "null",
    "a list": "[1, 2]",
}


@pytest.mark.parametrize("document", PLAIN)
def test_what_a_plain_insert_stored_never_stops_reading_or_recovery(
    client: SessionContinuity, database: str, document: str
) -> None:
    session = new_session(client)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO event_store (instance_id, event_type, event_data)"
            " VALUES (%s, 'note_recorded', %s::jsonb)",
            (session, PLAIN[document]),
        )
    client.append_event(session, "note_recorded", {"text": "after"})
    assert [event.sequence_num for event in client.read_events(session)] == [1, 2, 3]
    assert client.replay_events(session).work_state["notes"][-1]["text"] == "after"
    assert len(client.get_timeline(session)) == 3
    taken = client.take_checkpoint(session)
    assert canonical(client.recover_state(session).work_state) == canonical(taken.work_state)


def test_plain_jsonb_refuses_or_spoils_what_the_library_guards_against(database: str) -> None:
    """Control: without the checks these reach the server."""
    with psycopg.connect(database, autocommit=True) as connection:
        for text in ('"\\u0000"', '"\\ud800"', "1e131073", "NaN"):
            with pytest.raises(psycopg.DataError):
                connection.execute("SELECT %s::jsonb", (text,))
        with pytest.raises(RecursionError):
            connection.execute("SELECT %s::jsonb", ("[" * 3_000 + "]" * 3_000,)).fetchone()
