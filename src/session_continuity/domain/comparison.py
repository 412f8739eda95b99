"""Comparison: what differs between the work states of two checkpoints, by structure and not by position.

Entries of a list are matched by what names them (a file by its path, a test by its command), so an entry that
moved is no difference. Citations are left out: every event that repeats a fact changes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, cast
from uuid import UUID

from session_continuity.domain.checkpoints import Checkpoint, checkpoint_from_row, checkpoint_not_found
from session_continuity.domain.operation import Operation, Statement, Steps

Path: TypeAlias = tuple[str | int, ...]

_NAMED_BY = {
    "epics": "epic_id",
    "items": "text",
    "tests": "command",
    "validations": "command",
    "commits": "sha",
    "pull_requests": "url",
    "deployments": "target",
    "files": "path",
    "subagents": "task_id",
    "prompts": "text",
    "notes": "text",
    "features": "text",
}
_PASSED_OVER = frozenset({"cite", "schema_version", "instance_id", "sequence_num"})


class Difference(NamedTuple):
    """One difference. `path` leads to it: names of an object's members, the name of a list's entry or its
    position. `before` is None for what was added, `after` for what was removed."""

    path: Path
    change: Literal["added", "removed", "changed"]
    before: Any
    after: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two checkpoints and what differs between their work states, in the order of the state's sections."""

    before: Checkpoint
    after: Checkpoint
    differences: list[Difference]


def compare_checkpoints(before_id: UUID, after_id: UUID) -> Operation[Comparison]:
    """What changed in the work state from one checkpoint to another, of the same session or of two. Raises
    NotFound."""

    def steps() -> Steps[Comparison]:
        found: list[Checkpoint] = []
        for checkpoint_id in (before_id, after_id):
            rows = yield Statement("get_checkpoint", {"checkpoint_id": checkpoint_id})
            if not rows:
                raise checkpoint_not_found(checkpoint_id)
            found.append(checkpoint_from_row(rows[0]))
        before, after = found
        return Comparison(
            before=before, after=after, differences=compare_states(before.work_state, after.work_state)
        )

    return Operation("compare_checkpoints", steps)


def compare_states(before: Any, after: Any) -> list[Difference]:
    """The differences between two work states, or between any two JSON values: those of plain SQL hold what they
    like."""
    return list(_compare((), before, after))


def _compare(path: Path, before: Any, after: Any) -> Iterator[Difference]:
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _compare_members(path, cast("dict[str, Any]", before), cast("dict[str, Any]", after))
    elif isinstance(before, list) and isinstance(after, list):
        named_by = _NAMED_BY.get(str(path[-1])) if path else None
        old, new = cast("list[Any]", before), cast("list[Any]", after)
        yield from _compare_members(path, _named(old, named_by), _named(new, named_by))
    elif before != after or isinstance(before, bool) != isinstance(after, bool):
        yield Difference(path, "changed", before, after)


def _compare_members(path: Path, before: dict[Any, Any], after: dict[Any, Any]) -> Iterator[Difference]:
    for name in dict.fromkeys((*before, *after)):
        if name in _PASSED_OVER:
            continue
        at: Path = (*path, *cast("Path", name)) if isinstance(name, tuple) else (*path, name)
        if name not in after or (after[name] is None and before.get(name) is not None):
            yield Difference(at, "removed", before[name], None)
        elif name not in before or (before[name] is None and after[name] is not None):
            yield Difference(at, "added", None, after[name])
        else:
            yield from _compare(at, before[name], after[name])


def _named(entries: list[Any], named_by: str | None) -> dict[Path, Any]:
    """The entries of a list by name; a second one of the same name gets a number, one without a name its
    position."""
    seen: Counter[str] = Counter()
    named: dict[Path, Any] = {}
    for position, entry in enumerate(entries):
        name = cast("dict[str, Any]", entry).get(named_by) if named_by and isinstance(entry, dict) else None
        if isinstance(name, str) and name:
            named[(name, seen[name]) if seen[name] else (name,)] = entry
            seen[name] += 1
        else:
            named[(position,)] = entry
    return named
