"""The command that a harness runs as its hook, and how each event is kept."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from session_continuity.capture.spool.spool import FOLDER, make_name
from session_continuity.settings import Settings

SCRIPT = Path(__file__).absolute().with_name("hook.sh")

_GUARD = 'trap "exit 0" EXIT; if [ -r "$0" ]; then . "$0" 2> /dev/null; else cat > /dev/null; fi'
"""Exit code 0 also when the script is gone, half written or broken: some shells answer 2, which blocks a tool."""

SESSION_STARTS = frozenset({"SessionStart", "event.session.created", "session.resumed"})
"""A session begins or goes on, and its model may be told a brief."""

ANSWERED = SESSION_STARTS | {"PreCompact", "experimental.session.compacting"}
"""The harness waits until the record is stored, and may be told something."""

FLUSHED = frozenset(
    {"Stop", "StopFailure", "SessionEnd", "Interrupt", "AfterAgent", "event.session.idle", "dispose"}
)
"""Survive power loss."""


def hook_command(settings: Settings, harness: str, event: str) -> list[str]:
    """The words of the command for one event of a harness, all paths absolute. Raises InvalidInput for a harness
    or event that can't stand in a record's name."""
    make_name(harness, event)
    python, spool = os.path.abspath(sys.executable), str(settings.home / FOLDER)
    return ["/bin/sh", "-c", _GUARD, str(SCRIPT), spool, harness, event, python, hook_mode(event)]


def hook_mode(event: str) -> str:
    """How hook.sh is to keep an event: quick, flush or answer."""
    return "answer" if event in ANSWERED else "flush" if event in FLUSHED else "quick"


def hook_line(settings: Settings, harness: str, event: str) -> str:
    """hook_command as one line, for a harness that gives it to a shell. That shell is replaced: the hook takes its
    parent for the client."""
    return f"exec {shlex.join(hook_command(settings, harness, event))}"
