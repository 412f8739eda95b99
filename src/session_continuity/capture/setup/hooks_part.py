"""Our hooks, and the status line, in the settings of a harness."""

from __future__ import annotations

import sys

from session_continuity.capture.harnesses import (
    claude_code_settings,
    codex_settings,
    gemini_cli_settings,
    opencode_settings,
)
from session_continuity.capture.harnesses.harness_settings import HarnessSettings, HookLine, Place, Wanted
from session_continuity.capture.harnesses.hooks import ADAPTERS
from session_continuity.capture.hook.command import ANSWERED, hook_command, hook_line
from session_continuity.capture.setup.file_parts import Part
from session_continuity.settings import Settings

_FORMATS: tuple[HarnessSettings, ...] = (
    claude_code_settings,
    codex_settings,
    gemini_cli_settings,
    opencode_settings,
)
HARNESSES = {harness.HARNESS: harness for harness in _FORMATS}
"""Every harness whose settings we know, by name."""

NOT_HOOKS = ("Status", "AfterModel")
"""Events that an adapter reads and that are not installed as hooks: the status line command hands `Status` over;
`AfterModel` holds the whole conversation again for every chunk of an answer, and the transcript tells the same."""


def wanted_entries(settings: Settings, harness: str) -> Wanted:
    """What is to be installed for a harness."""
    hooks = {
        event: HookLine(
            words=hook_command(settings, harness, event),
            line=hook_line(settings, harness, event),
            slow=event in ANSWERED,
        )
        for event in ADAPTERS[harness].EVENTS
        if event not in NOT_HOOKS
    }
    home = ["--home", str(settings.home)]
    status_line = [sys.executable, "-I", "-m", "session_continuity", "statusline", harness, *home]
    return Wanted(hooks=hooks, status_line=status_line)


def hooks_part(settings: Settings, harness: str, place: Place) -> Part:
    """The hooks in a harness's file."""
    known = HARNESSES[harness]
    return Part(
        name="hooks",
        client=harness,
        path=known.settings_file(place),
        within=place.project if place.scope == "project" else None,
        install=lambda text: known.install(text, wanted_entries(settings, harness), place),
        uninstall=known.uninstall,
    )
