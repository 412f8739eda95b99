"""Payloads: what is taken can be read back, what is not taken is refused by a stable code."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.domain.driving import calm

from session_continuity.domain.errors import InvalidInput
from session_continuity.domain.payload import (
    DEPTH_LIMIT,
    PAYLOAD_LIMIT,
    check_text,
    decode_payload,
    encode_object,
    encode_payload,
    storable,
    storable_text,
)

any_leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=10)
any_json = st.recursive(
    any_leaf,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=6), inner, max_size=4)
    ),
    max_leaves=15,
)


def nested(levels: int, value: Any = 1, by: str = "list") -> Any:
    for _ in range(levels):
        value = [value] if by == "list" else {"k": value}
    return value


REFUSED = [
    ("NUL in a value", {"a": "x\0y"}, "payload_nul"),
    ("NUL in a key", {"x\0": 1}, "payload_nul"),
    ("NUL far inside", nested(50, "\0"), "payload_nul"),
    ("a high surrogate alone", {"a": "\ud800"}, "payload_lone_surrogate"),
    ("a low surrogate alone", ["\udc00"], "payload_lone_surrogate"),
    ("a surrogate in a key", {"\ud800": 1}, "payload_lone_surrogate"),
    ("a surrogate pair in two halves", "\ud83d\ude00", "payload_lone_surrogate"),
    ("a number that jsonb can't store", float("1e131072"), "payload_not_finite"),
    ("NaN", {"a": [float("nan")]}, "payload_not_finite"),
    ("Infinity", float("inf"), "payload_not_finite"),
    ("minus Infinity beside null", [None, -float("inf")], "payload_not_finite"),
    ("an integer of 5,001 digits", 10**5_000, "payload_number_out_of_range"),
    ("an integer past 64 bits", 2**64, "payload_number_out_of_range"),
    ("201 lists", nested(201), "payload_too_deep"),
    ("201 objects", nested(201, by="dict"), "payload_too_deep"),
    ("2,000 lists", nested(2_000), "payload_too_deep"),
    ("100,000 lists", nested(100_000), "payload_too_deep"),
    ("100,000 objects", nested(100_000, by="dict"), "payload_too_deep"),
    ("2 MiB of text", {"a": "x" * 2_097_152}, "payload_too_large"),
    ("a byte too much", "x" * (PAYLOAD_LIMIT - 1), "payload_too_large"),
    ("bytes", {"a": b"x"}, "payload_not_json"),
    ("a set", {1, 2}, "payload_not_json"),
    ("a Decimal", Decimal("1.5"), "payload_not_json"),
    ("a complex number", 1j, "payload_not_json"),
    ("an object", object(), "payload_not_json"),
    ("a key that is a number", {1: "x"}, "payload_not_json"),
    ("a key that is None", {"a": {None: 1}}, "payload_not_json"),
]


@pytest.mark.parametrize(("value", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_can_not_be_stored_is_refused_by_code(value: Any, code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        encode_payload("event_data", value)
    assert refused.value.stable_code == code
    assert refused.value.details["field"] == "event_data"


@pytest.mark.parametrize(
    "value",
    [
        nested(DEPTH_LIMIT),
        nested(DEPTH_LIMIT, by="dict"),
        "x" * (PAYLOAD_LIMIT - 2),
        2**64 - 1,
        -(2**63),
        5e-324,
        1.7976931348623157e308,
        ["[" * 500, '"{' * 500],
        "\\u0000",
        {"a": "null"},
        [None],
        "\x01\x7f\u2028\ufffe\uffff",
        [[]] * 300,
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_lies_just_within_the_limits_is_taken(value: Any) -> None:
    assert orjson.loads(encode_payload("event_data", value)) == value


@pytest.mark.parametrize("value", [None, 1, "text", [], ["a"], True])
def test_an_object_is_demanded_where_the_column_holds_one(value: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        encode_object("event_data", value)
    assert refused.value.stable_code == "payload_not_object"


@calm
@given(any_json)
def test_what_is_taken_reads_back_equal_and_all_else_has_a_code(value: Any) -> None:
    encoded = code = None
    try:
        encoded = encode_payload("event_data", value)
    except InvalidInput as refused:
        code = refused.stable_code
    if encoded is None:
        assert str(code).startswith("payload_")
    else:
        assert orjson.loads(encoded) == value
        assert json.loads(encoded) == value


@calm
@given(any_json)
def test_captured_values_can_always_be_stored(value: Any) -> None:
    made = storable(value)
    assert orjson.loads(encode_payload("event_data", made)) == made


@pytest.mark.parametrize(
    "value",
    [nested(5_000), nested(5_000, by="dict"), 10**5_000, float("nan")],
    ids=["lists", "objects", "digits", "nan"],
)
def test_captured_monsters_can_be_stored(value: Any) -> None:
    encode_object("event_data", {"captured": storable(value)})


@calm
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_captured_text_that_can_be_stored_is_not_changed(text: str) -> None:
    assert storable_text(text) == text


@pytest.mark.parametrize(
    ("captured", "stored"),
    [("a\0b", "a\ufffdb"), ("a\ud800b", "a\ufffdb"), ("\udc00", "\ufffd"), ("ü\0\ud800", "ü\ufffd\ufffd")],
)
def test_captured_text_keeps_a_mark_where_something_could_not_be_stored(captured: str, stored: str) -> None:
    assert storable_text(captured) == stored


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("{", "payload_not_json"),
        ("", "payload_not_json"),
        ("[" * 100_000, "payload_too_deep"),
        ("nope", "payload_not_json"),
    ],
    ids=["open", "empty", "deep", "word"],
)
def test_typed_json_that_can_not_be_parsed_is_refused_by_code(typed: str, code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        decode_payload("data", typed)
    assert refused.value.stable_code == code


@pytest.mark.parametrize(
    "typed", ["NaN", "[Infinity]", "1e131072", "-1e400", '"\\u0000"', '"\\ud800"', "1" * 4_000]
)
def test_typed_json_that_only_python_understands_is_refused_before_it_is_sent(typed: str) -> None:
    with pytest.raises(InvalidInput):
        encode_payload("data", decode_payload("data", typed))


@pytest.mark.parametrize(
    ("text", "code"),
    [("", "text_empty"), ("\0", "text_nul"), ("\udfff", "text_lone_surrogate"), ("xx", "text_too_long")],
)
def test_texts_are_refused_by_code(text: str, code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_text("reason", text, 1)
    assert refused.value.stable_code == code
