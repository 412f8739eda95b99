"""Codex: `hooks.json` of its own folder, or of the project's `.codex`.

Codex runs a hook only after its user has trusted it in `/hooks`; the hashes of what is trusted are the user's
word, so they are read here and never written.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from session_continuity.capture.harnesses import hook_entries
from session_continuity.capture.harnesses.harness_settings import HookLine, Obstacle, Place, Wanted
from session_continuity.capture.harnesses.hook_entries import Handler

HARNESS: str = "codex"
TITLE: str = "Codex"
PROGRAM: str = "codex"
OLDEST: str | None = None
PACKAGES: tuple[str, ...] = ("plugins/cache/*/session-continuity/*/hooks/hooks.json",)

_LONGEST = {"SessionEnd": 3, "Interrupt": 3}


def settings_folder(place: Place) -> Path:
    """The user's folder."""
    return place.folder("CODEX_HOME", ".codex")


def settings_file(place: Place) -> Path:
    """hooks.json, for the user or the project."""
    return (settings_folder(place) if place.scope == "user" else place.project / ".codex") / "hooks.json"


def install(text: str, wanted: Wanted, place: Place) -> str:  # noqa: ARG001
    """Our hooks. Codex knows no `args`, and a handler of an unknown type voids the file."""
    return hook_entries.put_hooks(text, handlers(wanted.hooks))


def handlers(hooks: Mapping[str, HookLine]) -> dict[str, Handler]:
    """Our hooks, timeouts in seconds: of some events Codex allows no longer ones, and says so at every start."""
    return {
        event: {"type": "command", "command": hook.line, "timeout": _LONGEST.get(event, hook.seconds)}
        for event, hook in hooks.items()
    }


def uninstall(text: str) -> str:
    """Without our hooks."""
    return hook_entries.remove_hooks(text)


def installed_commands(text: str) -> dict[str, str]:
    """Our commands, by event."""
    return {event: handlers[0]["command"] for event, handlers in hook_entries.our_hooks(text).items()}


def find_obstacles(place: Place) -> list[Obstacle]:
    """Hooks that are not trusted, or switched off as a feature."""
    config = _read_config(place)
    hooks_file = settings_file(place)
    found: list[Obstacle] = []
    features = config.get("features")
    if isinstance(features, dict) and False in (features.get("hooks"), features.get("codex_hooks")):  # pyright: ignore[reportUnknownMemberType]
        found.append(Obstacle("config.toml switches hooks off", "remove `hooks = false` from [features]"))
    ours = _places(hooks_file)
    untrusted = [key for key in ours if not _is_trusted(config, key)]
    if untrusted:
        found.append(
            Obstacle(
                f"{len(untrusted)} of {len(ours)} hooks are not trusted, and Codex does not run them",
                "start codex, open /hooks and trust the hooks of session-continuity",
            )
        )
    return found


def _places(hooks_file: Path) -> list[str]:
    """What Codex calls our hooks: file, event in snake case, number of the group, number in the group."""
    try:
        text = hooks_file.read_text("utf-8")
    except FileNotFoundError:
        return []
    return [
        f"{hooks_file}:{_snake_case(entry.event.key or '')}:{entry.event.children.index(entry.group)}"
        f":{entry.handlers.children.index(entry.handler)}"
        for entry in hook_entries.our_entries(text)
    ]


def _snake_case(event: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", event).lower()


def _is_trusted(config: dict[str, Any], key: str) -> bool:
    try:
        return bool(config["hooks"]["state"][key]["trusted_hash"])
    except (KeyError, TypeError):
        return False


def _read_config(place: Place) -> dict[str, Any]:
    file = settings_folder(place) / "config.toml"
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}
