"""OpenCode: a plugin file of our own, in the plugin folder of the user or the project.

OpenCode has no hook commands; a plugin is a JavaScript module that it loads. Ours hands each event to the same
hook command that the other harnesses run.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import cast

from session_continuity.capture.harnesses.harness_settings import HookLine, Obstacle, Place, Wanted
from session_continuity.domain.errors import InvalidInput, Refused

HARNESS: str = "opencode"
TITLE: str = "OpenCode"
PROGRAM: str = "opencode"
OLDEST: str | None = None
FILE_NAME = "session-continuity.js"
PACKAGES: tuple[str, ...] = (f"plugin/{FILE_NAME}",)

_TEMPLATE = Path(__file__).with_name("opencode_plugin.js")
_HOOKS = re.compile(r"^const HOOKS = (.*);$", re.MULTILINE)


def settings_folder(place: Place) -> Path:
    """The user's folder."""
    return place.folder("XDG_CONFIG_HOME", ".config") / "opencode"


def settings_file(place: Place) -> Path:
    """The plugin file, for the user or the project."""
    folder = settings_folder(place) if place.scope == "user" else place.project / ".opencode"
    return folder / "plugin" / FILE_NAME


def install(text: str, wanted: Wanted, place: Place) -> str:  # noqa: ARG001
    """The plugin. Raises Refused when another file bears its name."""
    if text and not _is_ours(text):
        raise Refused(f"there is another file by the name of {FILE_NAME}; nothing was changed", code="not_ours")
    return plugin(wanted.hooks)


def plugin(hooks: Mapping[str, HookLine]) -> str:
    """The plugin's source, with its commands."""
    commands = {event: {"words": list(hook.words), "seconds": hook.seconds} for event, hook in hooks.items()}
    return _HOOKS.sub(lambda _: f"const HOOKS = {json.dumps(commands, ensure_ascii=False)};", _template())


def uninstall(text: str) -> str:
    """Nothing, if the plugin is ours."""
    return "" if _is_ours(text) else text


def installed_commands(text: str) -> dict[str, str]:
    """The plugin's commands, by event."""
    if not _is_ours(text):
        return {}
    found = _HOOKS.search(text)
    try:
        hooks = cast("dict[str, dict[str, list[str]]]", json.loads(found.group(1)) if found else {})
        return {event: shlex.join(hook["words"]) for event, hook in hooks.items()}
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"the plugin's commands can't be read: {error}", code="settings_not_json") from None


def find_obstacles(place: Place) -> list[Obstacle]:  # noqa: ARG001
    """None: OpenCode has no switch for plugin files."""
    return []


def _is_ours(text: str) -> bool:
    return text.split("\n", 1)[0] == _template().split("\n", 1)[0]


@cache
def _template() -> str:
    return _TEMPLATE.read_text("utf-8")
