"""Edits inside JSON with comments: what they are not about keeps its bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_continuity import InvalidInput
from session_continuity.capture.harnesses import json_text

COMMENTED = """\
// the team's settings
{
    "model": "large", // do not change
    /* lists */
    "allow": [
        "a", // first
        "b"  // last
    ],
    "empty": {},
    "inline": {"x": 1, "y": [1,2]}
}
"""


def root(text: str) -> json_text.Node:
    found = json_text.parse_object(text)
    assert found is not None
    return found


def member(text: str, key: str) -> json_text.Node:
    found = root(text).member(key)
    assert found is not None
    return found


def test_comments_and_trailing_commas_are_read() -> None:
    text = '/* a */ {"a": [1, 2,], // b\n "c": {"d": null,},}\n// end'
    assert root(text).value == {"a": [1, 2], "c": {"d": None}}
    assert json_text.parse(" // nothing\n") is None


def test_an_item_is_put_after_the_comment_of_the_last_one() -> None:
    text = json_text.append_item(COMMENTED, member(COMMENTED, "allow"), "c")
    assert text == COMMENTED.replace('"b"  // last\n', '"b",  // last\n        "c"\n')


def test_a_member_is_written_as_this_file_indents() -> None:
    text = json_text.append_member(COMMENTED, root(COMMENTED), "new", {"k": [1]})
    end = '    "inline": {"x": 1, "y": [1,2]},\n    "new": {\n        "k": [\n            1\n        ]\n    }\n}\n'
    assert text.endswith(end)
    assert text.startswith(COMMENTED[: COMMENTED.index('"inline"')])


def test_what_stands_on_one_line_stays_on_one_line() -> None:
    text = json_text.append_member(COMMENTED, member(COMMENTED, "inline"), "z", {"k": 1})
    assert '"inline": {"x": 1, "y": [1,2], "z": {"k": 1}}\n' in text
    assert json_text.append_member('{"a":1}', root('{"a":1}'), "b", 2) == '{"a":1, "b": 2}'


def test_an_empty_object_is_opened() -> None:
    text = json_text.append_member(COMMENTED, member(COMMENTED, "empty"), "k", 1)
    assert '    "empty": {\n        "k": 1\n    },\n' in text
    commented = "{\n\t// soon\n}"
    assert json_text.append_member(commented, root(commented), "k", 1) == '{\n\t// soon\n\t"k": 1\n}'


def test_trailing_commas_stay() -> None:
    text = '{\n  "a": [\n    1, // one\n  ],\n}\n'
    assert json_text.append_item(text, member(text, "a"), 2) == '{\n  "a": [\n    1, // one\n    2,\n  ],\n}\n'


def test_line_ends_of_the_file_are_used() -> None:
    text = '{\r\n  "a": {}\r\n}\r\n'
    edited = json_text.append_member(text, member(text, "a"), "b", {"c": 1})
    assert edited == '{\r\n  "a": {\r\n    "b": {\r\n      "c": 1\r\n    }\r\n  }\r\n}\r\n'


@pytest.mark.parametrize(
    ("text", "key", "left"),
    [
        ('{"a": 1, "b": 2}', "a", '{"b": 2}'),
        ('{"a": 1, "b": 2}', "b", '{"a": 1}'),
        ('{ "a": 1 }', "a", "{}"),
        ('{\n  "a": 1, // one\n  "b": 2\n}', "b", '{\n  "a": 1 // one\n}'),
        ('{\n  // of a\n  "a": 1,\n  "b": 2\n}', "a", '{\n  // of a\n  "b": 2\n}'),
        ('{\r\n  "a": 1,\r\n  "b": 2,\r\n}', "b", '{\r\n  "a": 1,\r\n}'),
    ],
)
def test_removal_takes_the_comma_and_keeps_comments(text: str, key: str, left: str) -> None:
    assert json_text.remove(text, root(text), member(text, key)) == left


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"a": }', "line 1, column 7"),
        ('{"a": 1\n "b": 2}', "line 2, column 2"),
        ('{"a": 1} x', "line 1, column 10"),
        ("{'a': 1}", "line 1, column 2"),
        ('{"a": "b\n"}', "line 1, column 7"),
        ('{"a": "\\q"}', "line 1, column 8"),
        ("[1, 2]", "line 1, column 1"),
        ('{"a": 1', "line 1, column 8"),
        ('{"a": 1 /* open }', "line 1, column 9"),
        ('{"a": 01}', "line 1, column 8"),
        ('{"a": 1,\n "a": 2}', "line 2, column 2: the key 'a' stands twice"),
        ("{" * 5, "line 1, column 2"),
        ('{"a":' + "[" * 5_000, "line 1, column"),
    ],
)
def test_what_is_not_json_is_refused_with_its_place(text: str, place: str) -> None:
    with pytest.raises(InvalidInput, match=place):
        json_text.parse_object(text)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(st.text(max_size=5), values, max_size=5)


@given(objects, st.sampled_from([None, 1, 2, "\t"]), st.text(max_size=5), values, st.sampled_from(["\n", "\r\n"]))
def test_adding_and_removing_gives_the_same_bytes(
    content: dict[str, Any], indent: int | str | None, key: str, value: Any, newline: str
) -> None:
    content.pop(key, None)
    text = json.dumps(content, indent=indent, ensure_ascii=False).replace("\n", newline)
    longer = json_text.append_member(text, root(text), key, value)
    assert root(longer).value == {**content, key: value}
    assert json.loads(longer) == {**content, key: value}
    assert json_text.remove(longer, root(longer), member(longer, key)) == text


@given(objects, st.sampled_from([None, 2, "\t"]), st.data())
def test_a_replaced_value_is_the_only_change(content: dict[str, Any], indent: Any, data: st.DataObject) -> None:
    text = json.dumps({"k": 0, **content}, indent=indent)
    key = data.draw(st.sampled_from(sorted({"k": 0, **content})))
    value = data.draw(values)
    node = member(text, key)
    changed = json_text.replace(text, node, value)
    assert root(changed).value == {"k": 0, **content, key: value}
    assert changed.startswith(text[: node.start])
    assert changed.endswith(text[node.end :])
