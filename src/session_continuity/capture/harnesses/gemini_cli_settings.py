"""Gemini CLI: `hooks` in `.gemini/settings.json` of the user or the project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from session_continuity.capture.harnesses import hook_entries, json_text
from session_continuity.capture.harnesses.harness_settings import HookLine, Obstacle, Place, Wanted
from session_continuity.capture.harnesses.hook_entries import Handler
from session_continuity.domain.errors import InvalidInput

HARNESS: str = "gemini-cli"
TITLE: str = "Gemini CLI"
PROGRAM: str = "gemini"
OLDEST: str | None = None
PACKAGES: tuple[str, ...] = ("extensions/session-continuity/hooks/hooks.json",)

HOOK_NAME = "session-continuity"


def settings_folder(place: Place) -> Path:
    """The user's folder."""
    return place.folder("GEMINI_CLI_HOME", "") / ".gemini"


def settings_file(place: Place) -> Path:
    """settings.json, for the user or the project."""
    return (settings_folder(place) if place.scope == "user" else place.project / ".gemini") / "settings.json"


def install(text: str, wanted: Wanted, place: Place) -> str:  # noqa: ARG001
    """Our hooks, timeouts in milliseconds."""
    return hook_entries.put_hooks(text, handlers(wanted.hooks))


def handlers(hooks: Mapping[str, HookLine]) -> dict[str, Handler]:
    """Our hooks, timeouts in milliseconds."""
    return {
        event: {"type": "command", "name": HOOK_NAME, "command": hook.line, "timeout": hook.seconds * 1_000}
        for event, hook in hooks.items()
    }


def uninstall(text: str) -> str:
    """Without our hooks."""
    return hook_entries.remove_hooks(text)


def installed_commands(text: str) -> dict[str, str]:
    """Our commands, by event."""
    return {event: handlers[0]["command"] for event, handlers in hook_entries.our_hooks(text).items()}


def find_obstacles(place: Place) -> list[Obstacle]:
    """Hooks that are switched off, all or by name."""
    found: list[Obstacle] = []
    for scope in ("user", "project"):
        file = settings_file(replace(place, scope=scope))
        config = _hooks_config(file)
        disabled = config.get("disabled")
        if config.get("enabled") is False:
            found.append(Obstacle(f"{file} switches hooks off", "say `/hooks enable-all` in gemini"))
        elif isinstance(disabled, list) and HOOK_NAME in disabled:
            found.append(Obstacle(f"{file} disables {HOOK_NAME}", f"say `/hooks enable {HOOK_NAME}` in gemini"))
    return found


def _hooks_config(file: Path) -> dict[str, Any]:
    try:
        root = json_text.parse_object(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, InvalidInput):
        return {}
    config = root.value.get("hooksConfig") if root else None
    return cast("dict[str, Any]", config) if isinstance(config, dict) else {}
