"""Builds a package for each agent: `python plugins/build.py FOLDER`. README.md beside this file says what for."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from session_continuity.capture.harnesses import (
    claude_code_settings,
    codex_settings,
    gemini_cli_settings,
    opencode_settings,
)
from session_continuity.capture.harnesses.harness_settings import HookLine
from session_continuity.capture.harnesses.hook_entries import Handler
from session_continuity.capture.harnesses.hooks import ADAPTERS
from session_continuity.capture.hook.command import ANSWERED, SCRIPT, hook_mode
from session_continuity.capture.setup.installation import NOT_HOOKS

SOURCES = Path(__file__).parent
NAME = "session-continuity"
DESCRIPTION = "Records every session as it happens and gives the next one an exact, checkable brief."

ROOTS = {"claude-code": "${CLAUDE_PLUGIN_ROOT}", "codex": "${PLUGIN_ROOT}", "gemini-cli": "${extensionPath}"}
"""What the agent puts in the place of the package's folder."""

MANIFESTS = {
    "claude-code": ".claude-plugin/plugin.json",
    "codex": ".codex-plugin/plugin.json",
    "gemini-cli": "gemini-extension.json",
}
OPENCODE = 'exec /bin/sh "${XDG_CONFIG_HOME:-$HOME/.config}/opencode/session-continuity/run.sh" "$@"'


def main() -> None:
    """Build all packages into the folder given, which is made anew."""
    folder = Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    build(folder, claude_code_settings.HARNESS, claude_code_settings.handlers)
    build(folder, codex_settings.HARNESS, codex_settings.handlers)
    build(folder, gemini_cli_settings.HARNESS, gemini_cli_settings.handlers)
    build_opencode(folder / opencode_settings.HARNESS)


def build(folder: Path, harness: str, handlers: Callable[[Mapping[str, HookLine]], dict[str, Handler]]) -> None:
    """A package of a manifest and hooks in the settings format of its agent."""
    script = f'exec /bin/sh "{ROOTS[harness]}/hooks/run.sh"'
    hooks = {event: hook(event, f"{script} {harness} {event} {hook_mode(event)}") for event in events(harness)}
    groups = {event: [{"hooks": [handler]}] for event, handler in handlers(hooks).items()}
    manifest = {"name": NAME, "version": version(NAME), "description": DESCRIPTION}
    write(folder / harness / MANIFESTS[harness], json.dumps(manifest, indent=2) + "\n")
    write(folder / harness / "hooks" / "hooks.json", json.dumps({"hooks": groups}, indent=2) + "\n")
    copy_scripts(folder / harness / "hooks")


def build_opencode(folder: Path) -> None:
    """What goes into ~/.config/opencode."""
    harness = opencode_settings.HARNESS
    words = ["/bin/sh", "-c", OPENCODE, "hook", harness]
    hooks = {event: hook(event, "", [*words, event, hook_mode(event)]) for event in events(harness)}
    write(folder / "plugin" / opencode_settings.FILE_NAME, opencode_settings.plugin(hooks))
    copy_scripts(folder / NAME)


def hook(event: str, line: str, words: Sequence[str] = ()) -> HookLine:
    return HookLine(words=words, line=line, slow=event in ANSWERED)


def events(harness: str) -> list[str]:
    """The events to subscribe to."""
    return [event for event in ADAPTERS[harness].EVENTS if event not in NOT_HOOKS]


def copy_scripts(folder: Path) -> None:
    """run.sh, and the product's own hook.sh beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    for script in (SOURCES / "run.sh", SCRIPT):
        shutil.copyfile(script, folder / script.name)


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
