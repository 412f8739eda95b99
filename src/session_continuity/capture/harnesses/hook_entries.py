"""Our entries in the `hooks` object that Claude Code, Codex and Gemini CLI share: event -> groups -> handlers.

An entry that is there already is replaced where it stands: Codex knows the hooks that its user has trusted by
their place, so one that moves would have to be trusted again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from session_continuity.capture.harnesses import json_text
from session_continuity.capture.harnesses.json_text import Node
from session_continuity.domain.errors import InvalidInput

Handler: TypeAlias = dict[str, Any]
"""One hook as the harness's settings hold it: type, command, timeout in the harness's own unit."""

_OURS = re.compile(
    r"session_continuity[/\\]capture[/\\](?:hook[/\\])?hook\.sh|session_continuity\.capture\.hook\b"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A handler of ours and all that it stands in."""

    root: Node
    hooks: Node
    event: Node
    group: Node
    handlers: Node
    handler: Node


def is_our_handler(handler: Node) -> bool:
    """Whether a handler runs a hook of this product, of whatever version and place."""
    command = handler.member("command")
    return command is not None and isinstance(command.value, str) and _OURS.search(command.value) is not None


def put_hooks(text: str, wanted: Mapping[str, Handler]) -> str:
    """The text with exactly these hooks of ours, one for each event. Raises InvalidInput when it is not JSON, or
    its `hooks` have another shape than the harness reads."""
    text = _remove(text, lambda event, place: event not in wanted or place > 0)
    for event, handler in wanted.items():
        text = _put(text, event, handler)
    return text


def remove_hooks(text: str) -> str:
    """The text without our hooks, and without the groups and events that held nothing else. Raises
    InvalidInput."""
    return _remove(text, lambda _event, _place: True)


def our_hooks(text: str) -> dict[str, list[Handler]]:
    """Our hooks in the text, by event. Raises InvalidInput."""
    found: dict[str, list[Handler]] = {}
    for entry in our_entries(text):
        found.setdefault(entry.event.key or "", []).append(entry.handler.value)
    return found


def our_entries(text: str) -> Iterator[Entry]:
    """Our hooks and where they stand, in the order of the text. Raises InvalidInput."""
    root = json_text.parse_object(text)
    hooks = _expect(dict, "hooks", root.member("hooks")) if root else None
    if root is None or hooks is None:
        return
    for event in hooks.children:
        for group in event.children:
            handlers = group.member("hooks")
            if handlers is not None:
                for handler in handlers.children:
                    if is_our_handler(handler):
                        yield Entry(root, hooks, event, group, handlers, handler)


def _put(text: str, event: str, handler: Handler) -> str:
    for entry in our_entries(text):
        if entry.event.key == event:
            same = entry.handler.value == handler
            return text if same else json_text.replace(text, entry.handler, handler)
    root = json_text.parse_object(text)
    group: dict[str, Any] = {"hooks": [handler]}
    if root is None:
        return json_text.start_object(text, {"hooks": {event: [group]}})
    hooks = _expect(dict, "hooks", root.member("hooks"))
    if hooks is None:
        return json_text.append_member(text, root, "hooks", {event: [group]})
    groups = _expect(list, f"hooks.{event}", hooks.member(event))
    if groups is None:
        return json_text.append_member(text, hooks, event, [group])
    return json_text.append_item(text, groups, group)


def _remove(text: str, unwanted: Callable[[str, int], bool]) -> str:
    """Remove one after the other: every removal moves what follows it."""
    while True:
        places: dict[str, int] = {}
        for entry in our_entries(text):
            event = entry.event.key or ""
            places[event] = places.get(event, -1) + 1
            if unwanted(event, places[event]):
                text = _remove_entry(text, entry)
                break
        else:
            return text


def _remove_entry(text: str, entry: Entry) -> str:
    """Remove the handler with all above it that holds nothing else."""
    if len(entry.handlers.children) > 1:
        return json_text.remove(text, entry.handlers, entry.handler)
    if len(entry.event.children) > 1:
        return json_text.remove(text, entry.event, entry.group)
    if len(entry.hooks.children) > 1:
        return json_text.remove(text, entry.hooks, entry.event)
    return json_text.remove(text, entry.root, entry.hooks)


def _expect(kind: type, name: str, node: Node | None) -> Node | None:
    if node is not None and not isinstance(node.value, kind):
        raise InvalidInput(
            f"{name} is not {'an object' if kind is dict else 'an array'}; mend it first", code="settings_not_json"
        )
    return node
