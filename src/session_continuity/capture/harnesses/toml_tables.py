"""TOML, one table of it edited in place: everything that an edit is not about keeps its bytes.

There is no writer that keeps comments among the libraries that we have, so a table is found by its header's line,
and every edit is checked by reading the result: it must hold what was there with nothing changed but that table.
What a header's line does not show (an inline table, dotted keys) is refused.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from session_continuity.domain.errors import InvalidInput

Span: TypeAlias = tuple[int, int]

_ANY_HEADER = re.compile(r"^[ \t]*\[", re.MULTILINE)
_NO_STATEMENT = re.compile(r"[ \t]*(?:#.*)?")


def find_table(text: str, path: Sequence[str]) -> Mapping[str, Any] | None:
    """The table at that path, None when there is none. Raises InvalidInput when the text is not TOML."""
    return _at(_parse(text), path)


def put_table(text: str, path: Sequence[str], members: Mapping[str, Any], *, own: Sequence[str]) -> str:
    """The text with these members in the table, without its others named in `own`, and with all else as it was. A
    new table stands at the end. Raises InvalidInput."""
    before = _parse(text)
    found = _at(before, path)
    kept = {key: value for key, value in (found or {}).items() if key not in own and key not in members}
    span = _block(text, path)
    newline = "\r\n" if "\r\n" in text else "\n"
    if found is None:
        lines = [f"[{'.'.join(map(_key, path))}]", *_statements(members)]
        gap = "" if not text or text.endswith("\n") else newline
        gap += newline if text.strip() else ""
        edited = text + gap + newline.join(lines) + newline
    elif span is None:
        raise _refused(path)
    else:
        start, end = span
        block = text[start:end]
        for key in dict.fromkeys((*own, *members)):
            block = _with_member(block, key, members.get(key), newline)
        edited = text[:start] + block + text[end:]
    return _checked(edited, before, path, {**kept, **members})


def remove_table(text: str, path: Sequence[str]) -> str:
    """The text without the table and the tables below it. Raises InvalidInput."""
    before = _parse(text)
    if _at(before, path) is None:
        return text
    edited = text
    while span := _block(edited, path, below=True):
        start, end = span
        head, rest = edited[:start], edited[end:]
        for newline in ("\r\n", "\n"):  # the empty line that set it apart
            if head.endswith(newline * 2) and (not rest or rest.startswith(newline)):
                head = head[: -len(newline)]
                break
        edited = head + rest
    return _checked(edited, before, path, None)


def _checked(edited: str, before: dict[str, Any], path: Sequence[str], wanted: Mapping[str, Any] | None) -> str:
    """The edited text, if it says what it should."""
    try:
        after = tomllib.loads(edited)
    except tomllib.TOMLDecodeError:
        raise _refused(path) from None
    if _without(after, path) != _without(before, path) or _at(after, path) != wanted:
        raise _refused(path)
    return edited


def _refused(path: Sequence[str]) -> InvalidInput:
    name = ".".join(map(_key, path))
    return InvalidInput(
        f"{name} is not a table with a header [{name}]; write it so, or remove it", code="settings_toml_form"
    )


def _parse(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"it is not TOML: {error}", code="settings_not_toml") from None


def _at(value: Any, path: Sequence[str]) -> dict[str, Any] | None:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return value if isinstance(value, dict) else None  # pyright: ignore[reportUnknownVariableType]


def _without(value: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    """All but what stands at the path, and what is empty without it."""
    key, *deeper = path
    kept = {name: item for name, item in value.items() if name != key}
    inner = value.get(key)
    if deeper and isinstance(inner, dict):
        rest = _without(inner, deeper)  # pyright: ignore[reportUnknownArgumentType]
        if rest:
            kept[key] = rest
    elif deeper and inner is not None:
        kept[key] = inner
    return kept


def _block(text: str, path: Sequence[str], *, below: bool = False) -> Span | None:
    """Where the table stands, from its header to the end of its last statement; with `below`, or the first one
    under it."""
    keys = [re.escape(key) for key in path]
    names = r"[ \t]*\.[ \t]*".join(rf"(?:{key}|\"{key}\"|'{key}')" for key in keys)
    deeper = r"(?:[ \t]*\.[^\]\r\n]*)?" if below else ""
    header = re.compile(rf"^[ \t]*\[\[?[ \t]*{names}{deeper}[ \t]*\]\]?[ \t]*(?:#[^\r\n]*)?\r?$", re.MULTILINE)
    match = header.search(text)
    if match is None:
        return None
    following = _ANY_HEADER.search(text, match.end())
    lines = text[match.start() : following.start() if following else len(text)].splitlines(keepends=True)
    while len(lines) > 1 and _NO_STATEMENT.fullmatch(lines[-1].rstrip("\r\n")):
        lines.pop()
    return match.start(), match.start() + sum(map(len, lines))


def _with_member(block: str, key: str, value: Any, newline: str) -> str:
    """The table's text with this value for the key, or without the key."""
    span = _statement(block, key)
    if value is None:
        return block if span is None else block[: span[0]] + block[span[1] :]
    wanted = _statements({key: value})[0] + newline
    if span is None:
        if not block.endswith("\n"):
            block += newline
        return block + wanted
    start, end = span
    same = tomllib.loads(block[start:end]) == {key: value}
    return block if same else block[:start] + wanted + block[end:]


def _statement(block: str, key: str) -> Span | None:
    """Where a key's line stands, with the lines that its value goes on over."""
    match = re.search(rf"^[ \t]*(?:{re.escape(key)}|\"{re.escape(key)}\")[ \t]*=", block, re.MULTILINE)
    if match is None:
        return None
    end = match.start()
    for line in block[match.start() :].splitlines(keepends=True):
        end += len(line)
        try:
            tomllib.loads(block[match.start() : end])
        except tomllib.TOMLDecodeError:
            continue
        return match.start(), end
    return None


def _statements(members: Mapping[str, Any]) -> list[str]:
    """Texts and lists of texts, which JSON writes as TOML does."""
    return [f"{_key(key)} = {json.dumps(value, ensure_ascii=False)}" for key, value in members.items()]


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)
