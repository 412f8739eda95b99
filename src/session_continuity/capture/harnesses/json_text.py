"""JSON with comments, edited in place: everything that an edit is not about keeps its bytes.

A settings file belongs to its user: comments, key order, indentation and line ends stay. So a file is never
written anew from its value; a scan finds where each value stands, and an edit inserts, replaces or removes text
there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from session_continuity.domain.errors import InvalidInput

_TRIVIA = re.compile(r"(?:[\s\ufeff]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_REST_OF_LINE = re.compile(r"[ \t]*(?:/\*[^\n]*?\*/[ \t]*)*(?://[^\r\n]*)?")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_SCALAR = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null")
_INDENT = re.compile(r"\n([ \t]+)\S")
_DEEPEST = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A value and where it stands: `text[start:end]`. `children` are an array's items or an object's members in
    order; a member's `key_start` is where its key begins, and `key` is None for an item."""

    start: int
    end: int
    value: Any
    children: tuple[Node, ...] = ()
    key: str | None = None
    key_start: int = -1

    @property
    def first(self) -> int:
        """Where the child begins, its key included."""
        return self.start if self.key is None else self.key_start

    def member(self, key: str) -> Node | None:
        """The member of that key."""
        return next((child for child in self.children if child.key == key), None)


def parse(text: str) -> Node | None:
    """The value of the text, or None when there is nothing but white space and comments. Trailing commas are
    read; a key that stands twice in one object is not, since an edit of the one would bring the other to life.
    Raises InvalidInput naming line and column."""
    start = _skip(text, 0)
    if start == len(text):
        return None
    node = _value(text, start, 0)
    end = _skip(text, node.end)
    if end != len(text):
        raise _broken(text, end, "the end of the file was expected")
    return node


def parse_object(text: str) -> Node | None:
    """As `parse`, for a file that holds one object. Raises InvalidInput when it is something else."""
    root = parse(text)
    if root is not None and not isinstance(root.value, dict):
        raise _broken(text, root.start, "an object was expected")
    return root


def start_object(text: str, value: dict[str, Any]) -> str:
    """A text of nothing but white space and comments, with an object after them."""
    newline = _newline(text)
    kept = text.rstrip()
    encoded = json.dumps(value, ensure_ascii=False, indent=2).replace("\n", newline)
    return kept + (newline if kept.strip("\ufeff") else "") + encoded + newline


def append_item(text: str, array: Node, value: Any) -> str:
    """The text with one more item at the end of an array."""
    return _append(text, array, "", value)


def append_member(text: str, container: Node, key: str, value: Any) -> str:
    """The text with one more member at the end of an object."""
    return _append(text, container, json.dumps(key, ensure_ascii=False) + ": ", value)


def replace(text: str, node: Node, value: Any) -> str:
    """The text with another value in the place of this one."""
    indent = _line_indent(text, node.start)
    return (
        text[: node.start] + _encode(text, value, indent, "\n" in text[node.start : node.end]) + text[node.end :]
    )


def remove(text: str, container: Node, child: Node) -> str:
    """The text without this item or member, and without its comma and the white space before it."""
    place = container.children.index(child)
    start = len(text[: child.first].rstrip(" \t"))
    if text[start - 1] == "\n":
        start -= 2 if text[start - 2] == "\r" else 1
    comma = _skip(text, child.end)
    if text[comma] == ",":
        after = comma + 1
        if not place and text[start] not in "\r\n":
            after += len(text[after:]) - len(text[after:].lstrip(" \t"))
        text = text[:comma] + text[after:]
    elif place:
        before = _skip(text, container.children[place - 1].end)
        return _closed(text[:before] + text[before + 1 : start] + text[child.end :], container.start)
    return _closed(text[:start] + text[child.end :], container.start)


def _closed(text: str, start: int) -> str:
    """An object or array that has become empty is closed where it was opened."""
    inside = len(text) - len(text[start + 1 :].lstrip())
    return text[: start + 1] + text[inside:] if text[inside] in "}]" else text


def _append(text: str, container: Node, key: str, value: Any) -> str:
    if not container.children:
        indent = _line_indent(text, container.start)
        inner = indent + _unit(text)
        body = text[container.start + 1 : container.end - 1].rstrip()
        newline = _newline(text)
        inside = body + newline + inner + key + _encode(text, value, inner, True) + newline + indent
        return text[: container.start + 1] + inside + text[container.end - 1 :]
    last = container.children[-1]
    tail = _skip(text, last.end)
    trailing = text[tail] == ","
    head = text[: tail + 1] if trailing else text[: last.end] + ","
    rest = text[tail + 1 if trailing else last.end :]
    lines = "\n" in text[container.start : last.first]
    if lines:
        match = _REST_OF_LINE.match(rest)
        kept = match.group() if match and rest[match.end() :].lstrip(" \t")[:1] in ("\r", "\n") else ""
        indent = _line_indent(text, last.first)
        space = kept + _newline(text) + indent
        rest = rest[len(kept) :]
    else:
        indent, space = _line_indent(text, container.start), " "
    return head + space + key + _encode(text, value, indent, lines) + ("," if trailing else "") + rest


def _encode(text: str, value: Any, indent: str, lines: bool) -> str:
    """The value as this file writes its own: on lines of its own, or all on one."""
    if not lines:
        return json.dumps(value, ensure_ascii=False)
    encoded = json.dumps(value, ensure_ascii=False, indent=_unit(text))
    return encoded.replace("\n", _newline(text) + indent)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text[: text.find("\n") + 1] else "\n"


def _unit(text: str) -> str:
    """What this file indents by; two spaces where nothing shows it."""
    found = _INDENT.search(text)
    return found.group(1) if found else "  "


def _line_indent(text: str, place: int) -> str:
    line = text[text.rfind("\n", 0, place) + 1 : place]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _skip(text: str, place: int) -> int:
    match = _TRIVIA.match(text, place)
    return match.end() if match else place


def _value(text: str, start: int, depth: int) -> Node:
    if depth > _DEEPEST:
        raise _broken(text, start, f"it is nested deeper than {_DEEPEST} levels")
    opening = text[start : start + 1]
    if opening == '"':
        value, end = _string(text, start)
        return Node(start=start, end=end, value=value)
    if opening in ("{", "["):
        return _container(text, start, depth, closing="}" if opening == "{" else "]")
    match = _SCALAR.match(text, start)
    if match is None:
        raise _broken(text, start, "a value was expected")
    return Node(start=start, end=match.end(), value=json.loads(match.group()))


def _container(text: str, start: int, depth: int, *, closing: str) -> Node:
    children: list[Node] = []
    keys: set[str] = set()
    place = _skip(text, start + 1)
    while text[place : place + 1] != closing:
        child = _member(text, place, depth) if closing == "}" else _value(text, place, depth + 1)
        if child.key is not None and child.key in keys:
            raise _broken(text, place, f"the key {child.key!r} stands twice in one object; remove one")
        keys.add(child.key or "")
        children.append(child)
        place = _skip(text, child.end)
        if text[place : place + 1] == ",":
            place = _skip(text, place + 1)
        elif text[place : place + 1] != closing:
            raise _broken(text, place, f"',' or '{closing}' was expected")
    return Node(start=start, end=place + 1, value=_content(children, closing), children=tuple(children))


def _content(children: Sequence[Node], closing: str) -> Any:
    if closing == "]":
        return [child.value for child in children]
    return {cast("str", child.key): child.value for child in children}


def _member(text: str, start: int, depth: int) -> Node:
    if text[start : start + 1] != '"':
        raise _broken(text, start, "a key in double quotes was expected")
    key, end = _string(text, start)
    colon = _skip(text, end)
    if text[colon : colon + 1] != ":":
        raise _broken(text, colon, "':' was expected")
    node = _value(text, _skip(text, colon + 1), depth + 1)
    return Node(start=node.start, end=node.end, value=node.value, children=node.children, key=key, key_start=start)


def _string(text: str, start: int) -> tuple[str, int]:
    match = _STRING.match(text, start)
    if match is None:
        raise _broken(text, start, "a text that is closed on its line was expected")
    try:
        return json.loads(match.group()), match.end()
    except json.JSONDecodeError as error:
        raise _broken(text, start + error.pos, error.msg) from None


def _broken(text: str, place: int, problem: str) -> InvalidInput:
    line = text.count("\n", 0, place) + 1
    column = place - text.rfind("\n", 0, place)
    return InvalidInput(f"line {line}, column {column}: {problem}", code="settings_not_json")
