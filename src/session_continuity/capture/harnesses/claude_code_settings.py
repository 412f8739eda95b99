"""Claude Code: hooks and the status line in `settings.json` of the user.

For one project the entries go into `.claude/settings.local.json`: they hold paths of this machine, and that file
is the one that is not committed.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from session_continuity.capture.harnesses import hook_entries, json_text
from session_continuity.capture.harnesses.harness_settings import HookLine, Obstacle, Place, Wanted
from session_continuity.capture.harnesses.hook_entries import Handler
from session_continuity.capture.harnesses.json_text import Node
from session_continuity.domain.errors import InvalidInput

HARNESS: str = "claude-code"
TITLE: str = "Claude Code"
PROGRAM: str = "claude"
OLDEST: str | None = "2.1.101"
"""Older ones ignore their whole settings file, the user's own settings with it, when it names an event that they
do not know (seen with 2.1.39; the changelog names 2.1.101 as the first that skips the event alone)."""
PACKAGES: tuple[str, ...] = ("plugins/cache/*/session-continuity/*/hooks/hooks.json",)

MANAGED = Path("/etc/claude-code/managed-settings.json")
_STATUS_LINE = " statusline claude-code"
_WRAP = "--wrap"


def settings_folder(place: Place) -> Path:
    """The user's folder."""
    return place.folder("CLAUDE_CONFIG_DIR", ".claude")


def settings_file(place: Place) -> Path:
    """settings.json of the user, settings.local.json of the project."""
    return settings_folder(place) / "settings.json" if place.scope == "user" else _local_file(place)


def install(text: str, wanted: Wanted, place: Place) -> str:
    """Our hooks, timeouts in seconds, and the status line, which goes on showing the user's own."""
    text = hook_entries.put_hooks(text, handlers(wanted.hooks))
    root = json_text.parse_object(text)
    status_line = _status_line(root)
    found = _command(status_line)
    ours = shlex.join(wanted.status_line)
    if status_line is None or found is None:
        return _put_status_line(text, root, status_line, _wrap(ours, _inherited(place)))
    wanted_command = _wrap(ours, _wrapped(found.value) if is_our_status_line(found.value) else found.value)
    return text if found.value == wanted_command else json_text.replace(text, found, wanted_command)


def handlers(hooks: Mapping[str, HookLine]) -> dict[str, Handler]:
    """Our hooks, timeouts in seconds."""
    return {
        event: {"type": "command", "command": hook.line, "timeout": hook.seconds} for event, hook in hooks.items()
    }


def uninstall(text: str) -> str:
    """Without our hooks, and with the status line that we wrapped."""
    text = hook_entries.remove_hooks(text)
    root = json_text.parse_object(text)
    status_line = _status_line(root)
    found = _command(status_line)
    if root is None or status_line is None or found is None or not is_our_status_line(found.value):
        return text
    wrapped = _wrapped(found.value)
    return (
        json_text.remove(text, root, status_line) if wrapped is None else json_text.replace(text, found, wrapped)
    )


def installed_commands(text: str) -> dict[str, str]:
    """Our commands by event, the status line's as `Status`."""
    commands = {event: handlers[0]["command"] for event, handlers in hook_entries.our_hooks(text).items()}
    found = _command(_status_line(json_text.parse_object(text)))
    if found is not None and is_our_status_line(found.value):
        commands["Status"] = found.value
    return commands


def find_obstacles(place: Place) -> list[Obstacle]:
    """Settings, of whatever scope, that switch hooks off."""
    files = (
        settings_folder(place) / "settings.json",
        place.project / ".claude" / "settings.json",
        _local_file(place),
        MANAGED,
    )
    found: list[Obstacle] = []
    for file in dict.fromkeys(files):
        settings = _read(file)
        if settings.get("disableAllHooks") is True:
            found.append(Obstacle(f"{file} sets disableAllHooks", "remove it, or no hook runs"))
    if _read(MANAGED).get("allowManagedHooksOnly") is True:
        found.append(Obstacle(f"{MANAGED} allows managed hooks only", "ask your administrator to add ours there"))
    return found


def is_our_status_line(command: str) -> bool:
    """Whether a status line command is this product's."""
    return "session_continuity" in command and _STATUS_LINE in command


def _local_file(place: Place) -> Path:
    return place.project / ".claude" / "settings.local.json"


def _status_line(root: Node | None) -> Node | None:
    return root.member("statusLine") if root else None


def _command(status_line: Node | None) -> Node | None:
    command = status_line.member("command") if status_line else None
    return command if command is not None and isinstance(command.value, str) else None


def _put_status_line(text: str, root: Node | None, status_line: Node | None, command: str) -> str:
    value = {"type": "command", "command": command}
    if root is None:
        return json_text.start_object(text, {"statusLine": value})
    if status_line is None:
        return json_text.append_member(text, root, "statusLine", value)
    raise InvalidInput("statusLine is not an object with a command; mend it first", code="settings_not_json")


def _wrap(ours: str, theirs: str | None) -> str:
    return ours if theirs is None else f"{ours} {_WRAP} {shlex.quote(theirs)}"


def _wrapped(command: str) -> str | None:
    """The user's own command inside ours."""
    words = shlex.split(command)
    return words[words.index(_WRAP) + 1] if _WRAP in words[:-1] else None


def _inherited(place: Place) -> str | None:
    """The status line that a file of the project would hide: the project's own, else the user's."""
    if place.scope == "user":
        return None
    for file in (place.project / ".claude" / "settings.json", settings_folder(place) / "settings.json"):
        status_line = _read(file).get("statusLine")
        command = cast("dict[str, Any]", status_line).get("command") if isinstance(status_line, dict) else None
        if isinstance(command, str):
            return _wrapped(command) if is_our_status_line(command) else command
    return None


def _read(file: Path) -> dict[str, Any]:
    try:
        root = json_text.parse_object(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, InvalidInput):
        return {}
    return root.value if root else {}
