"""What a command changed in files, as lines: edits of the tools of agents, and patches as they were given."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

MOST_LINES = 400
"""Lines that are shown of one edit; the parameters hold the rest."""

LineKind = Literal["same", "added", "removed", "place"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A change of one file. `left_out` lines follow those shown."""

    path: str
    lines: list[tuple[LineKind, str]]
    left_out: int


def edits_of(parameters: Mapping[str, Any]) -> list[Edit]:
    """The edits that a command's parameters tell; none for a command that edits nothing."""
    path = _text(parameters, "file_path") or _text(parameters, "filePath") or _text(parameters, "path")
    edits = [_edit(path, list(_difference(old, new))) for old, new in _replacements(parameters)]
    if not edits and isinstance(parameters.get("content"), str) and path:
        edits = [_edit(path, [("added", line) for line in cast("str", parameters["content"]).splitlines()])]
    return edits + [
        _edit("", [_patch_line(line) for line in text.splitlines()])
        for text in parameters.values()
        if isinstance(text, str) and ("*** Begin Patch" in text or text.startswith(("--- ", "diff --git ")))
    ]


def _replacements(parameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    several = parameters.get("edits")
    for one in cast("list[Any]", several) if isinstance(several, list) else [parameters]:
        if isinstance(one, Mapping):
            change = cast("Mapping[str, Any]", one)
            for old, new in (("old_string", "new_string"), ("oldString", "newString")):
                if isinstance(change.get(old), str) and isinstance(change.get(new), str):
                    yield change[old], change[new]


def _difference(old: str, new: str) -> Iterator[tuple[LineKind, str]]:
    before, after = old.splitlines()[: 4 * MOST_LINES], new.splitlines()[: 4 * MOST_LINES]
    for line in difflib.unified_diff(before, after, lineterm="", n=3):
        if not line.startswith(("---", "+++")):
            yield _patch_line(line)


def _patch_line(line: str) -> tuple[LineKind, str]:
    if line.startswith(("@@", "***", "diff --git", "index ", "--- ", "+++ ")):
        return "place", line
    kinds: dict[str, LineKind] = {"+": "added", "-": "removed"}
    kind = kinds.get(line[:1], "same")
    return kind, line[1:] if kind != "same" or line.startswith(" ") else line


def _edit(path: str, lines: list[tuple[LineKind, str]]) -> Edit:
    return Edit(path=path, lines=lines[:MOST_LINES], left_out=max(0, len(lines) - MOST_LINES))


def _text(parameters: Mapping[str, Any], name: str) -> str:
    value = parameters.get(name)
    return value if isinstance(value, str) else ""
