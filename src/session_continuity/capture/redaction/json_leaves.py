"""A JSON value taken apart into its strings, and put together again in the same shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from session_continuity.capture.facts.facts import JSON


@dataclass(frozen=True, slots=True)
class Leaf:
    """A string of a value, at `holder[place]`; `name` is the key that it stands under, also through lists. Of a
    key that `is_key`, the holder is the object that has it."""

    text: str
    name: str
    holder: Any
    place: Any
    is_key: bool = False


def take_apart(value: JSON) -> tuple[list[JSON], list[Leaf], list[Leaf]]:
    """A copy of the value, alone in a list, and its strings in their order: values, then keys. Any depth."""
    root: list[JSON] = [value]
    values: list[Leaf] = []
    keys: list[Leaf] = []
    pending: list[tuple[Any, Any, str]] = [(root, 0, "")]
    while pending:
        holder, place, name = pending.pop()
        item: Any = holder[place]
        if isinstance(item, str):
            values.append(Leaf(item, name, holder, place))
        elif isinstance(item, dict):
            copy: Any = dict(item)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            holder[place] = copy
            keys += [Leaf(key, "", copy, key, is_key=True) for key in copy]
            pending += [(copy, key, key) for key in reversed(copy)]
        elif isinstance(item, list):
            holder[place] = copy = list(item)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            pending += [(copy, at, name) for at in range(len(copy) - 1, -1, -1)]
    return root, values, keys


def put_together(changes: Sequence[tuple[Leaf, str]]) -> None:
    """Give the leaves of a copy their new texts; an object keeps as many keys as it had, in their order."""
    renamed: dict[int, tuple[dict[str, JSON], dict[str, str]]] = {}
    for leaf, text in changes:
        if leaf.is_key:
            renamed.setdefault(id(leaf.holder), (leaf.holder, {}))[1][leaf.place] = text
        else:
            leaf.holder[leaf.place] = text
    for holder, names in renamed.values():
        items = list(holder.items())
        taken = {name for name, _ in items if name not in names}
        holder.clear()
        for name, item in items:
            new = names.get(name, name)
            while new in taken and name in names:
                new += "'"
            taken.add(new)
            holder[new] = item
