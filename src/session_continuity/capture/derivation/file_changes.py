"""Which files a command made, changed or took away: editing tools, patches and plain shell commands."""

from __future__ import annotations

import posixpath
from typing import Literal, TypeAlias

from session_continuity.capture.derivation.derivation_rules import Rule
from session_continuity.capture.facts.facts import JSON, Record
from session_continuity.capture.facts.shell_commands import arguments_of
from session_continuity.capture.facts.shell_scanner import Segment
from session_continuity.capture.facts.transcripts import fields, parts_text, text

Change: TypeAlias = Literal["created", "modified", "deleted"]
Changes: TypeAlias = dict[str, JSON]

_MAX_FILES = 200
_PATCH_MARKS: tuple[tuple[str, Change], ...] = (
    ("*** Add File: ", "created"),
    ("*** Update File: ", "modified"),
    ("*** Delete File: ", "deleted"),
)
_CREATED = ("created successfully", "created and wrote to new file", "Created new file")
_MOVE_MARK = "*** Move to: "


def by_tool(rule: Rule, parameters: Record, result: JSON) -> Changes:
    """An editing tool's file; of a new one tells Claude Code by `type: create` or in words, OpenCode by `exists`,
    Gemini CLI in words."""
    named = (text(parameters.get(name)) for _, several in rule.parameters for name in several)
    path = next((path for path in named if path), None)
    if path is None:
        return {}
    kind = fields(result).get("type")
    fresh = kind == "create" or parameters.get("old_string") == ""
    fresh = fresh or parameters.get("oldString") == "" or fields(result).get("exists") is False
    told = parts_text(result) or parts_text(fields(result).get("output"))
    fresh = fresh or any(words in told[:200] for words in _CREATED)
    return {path: "created" if fresh else rule.change}


def by_patch(patch: str) -> Changes:
    """The files of an apply_patch text (Codex); a moved file goes from one place and comes to another."""
    changes: Changes = {}
    current = ""
    for line in patch.splitlines():
        for mark, change in _PATCH_MARKS:
            if line.startswith(mark):
                current = line[len(mark) :].strip()
                changes[current] = change
        if line.startswith(_MOVE_MARK) and current:
            changes[current] = "deleted"
            changes[line[len(_MOVE_MARK) :].strip()] = "created"
    return changes


def patch_text(parameters: Record) -> str:
    """The patch among an apply_patch call's parameters: Codex 0.104 `input`, older `patch`, broken ones `raw`, in
    its hooks `command`; OpenCode `patchText`."""
    told = (text(parameters.get(name)) for name in ("input", "patch", "patchText", "command", "raw", "arguments"))
    return next((patch for patch in told if patch), "")


def by_shell(rule: Rule, segment: Segment, rest: tuple[str, ...]) -> Changes:
    """The literal file names that a plain command changes; names to be expanded are left out."""
    if rule.take == "redirect":
        return {path: rule.change for path in segment.writes if _literal(path)}
    scripts = sum(word in ("-e", "--expression") for word in rest)
    paths = arguments_of(rest)[max(rule.skip, scripts) if rule.skip else 0 :]
    if rule.take == "move":
        return _departed(paths) | _arrived(paths)
    chosen = paths[-1:] if rule.take == "last" and len(paths) > 1 else paths
    return {path: rule.change for path in chosen if _literal(path)}


def by_output(rule: Rule, lines: tuple[str, ...]) -> Changes:
    """The files that a program says it made, changed or took away."""
    changes: Changes = {}
    for line in lines:
        match = next((match for pattern in rule.capture if (match := pattern.search(line))), None)
        if match:
            changes |= {path: change for change, path in match.groupdict().items() if path}
    return changes


def placed(changes: Changes, cwd: str | None, folder: str | None = None) -> list[JSON]:
    """The changes as event data, paths relative to the session's folder where they lie inside it."""
    files: list[JSON] = []
    for path, change in list(changes.items())[:_MAX_FILES]:
        file: Record = {"path": _place(path, cwd, folder), "change": change}
        files.append(file)
    return files


def _departed(paths: tuple[str, ...]) -> Changes:
    return {path: "deleted" for path in paths[:-1] if _literal(path)}


def _arrived(paths: tuple[str, ...]) -> Changes:
    if len(paths) < 2 or not _literal(paths[-1]):
        return {}
    target = paths[-1]
    if len(paths) == 2 and not target.endswith("/"):
        return {target: "created"}
    return {posixpath.join(target, posixpath.basename(path)): "created" for path in paths[:-1] if _literal(path)}


def _literal(path: str) -> bool:
    return bool(path) and not path.startswith("/dev/") and not any(mark in path for mark in "$`*?{\n")


def _place(path: str, cwd: str | None, folder: str | None) -> str:
    if folder and not path.startswith(("/", "~")):
        path = posixpath.join(folder, path)
    path = posixpath.normpath(path)
    home = (cwd or "").rstrip("/") + "/"
    return path[len(home) :] if cwd and path.startswith(home) else path
