"""What installing asks of a harness's settings format: where the file lies, and our entries in its text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

Scope: TypeAlias = Literal["user", "project"]

QUICK_SECONDS, SLOW_SECONDS = 10, 60
"""How long a harness waits for a hook: one that only spools, and one that also drains and answers. Both end long
before, by budgets of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """For whom to install: a user, by home folder, or one project of that user, by its folder. `environment` may
    move a harness's settings elsewhere (CLAUDE_CONFIG_DIR, CODEX_HOME, GEMINI_CLI_HOME, XDG_CONFIG_HOME)."""

    scope: Scope
    home: Path
    project: Path
    environment: Mapping[str, str]

    def folder(self, variable: str, default: str) -> Path:
        """The user's folder of a harness: what the variable says, or `default` in the home folder."""
        named = self.environment.get(variable)
        return Path(named).absolute() if named else self.home / default


@dataclass(frozen=True, slots=True, kw_only=True)
class HookLine:
    """One hook to install: its command as words and as a line for a shell, and whether it may take long.

    A settings file gets the line, also where a harness would take words: a version that does not know them would
    start a bare shell, and that would run the payload on its standard input as a script.
    """

    words: Sequence[str]
    line: str
    slow: bool

    @property
    def seconds(self) -> int:
        """How long the harness waits for it."""
        return SLOW_SECONDS if self.slow else QUICK_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to install for one harness: a hook for each event, and the words that print the status line. The entry
    of the MCP server, which mostly stands in another file, is a part of its own (mcp_entries)."""

    hooks: Mapping[str, HookLine]
    status_line: Sequence[str]


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something in a harness's settings that keeps our hooks from running, and what to do about it."""

    found: str
    remedy: str


class HarnessSettings(Protocol):
    """One harness's settings format. The functions of text raise InvalidInput where it can't be read."""

    HARNESS: str
    TITLE: str
    PROGRAM: str
    OLDEST: str | None
    """The oldest version whose settings can hold our entries; None where any can."""
    PACKAGES: tuple[str, ...]
    """Which files in its folder hold the commands of our package when that is installed (patterns)."""

    def settings_folder(self, place: Place) -> Path:
        """The user's folder of the harness: there when it was ever run."""
        ...

    def settings_file(self, place: Place) -> Path:
        """The file that holds our entries."""
        ...

    def install(self, text: str, wanted: Wanted, place: Place) -> str:
        """The text with our entries as wanted, and everything else as it was."""
        ...

    def uninstall(self, text: str) -> str:
        """The text without our entries; empty when nothing else was in it."""
        ...

    def installed_commands(self, text: str) -> dict[str, str]:
        """Our commands in the text, by event."""
        ...

    def find_obstacles(self, place: Place) -> list[Obstacle]:
        """What keeps our hooks from running."""
        ...
