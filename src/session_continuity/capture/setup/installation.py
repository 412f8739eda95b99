"""Our entries in the settings of the installed harnesses: planned as edits of files, shown, applied and undone.

Nothing is written that was not shown before. What a file held before is kept in the data folder, with hashes, so
that undoing restores it byte for byte; when someone else has changed the file since, only our own entries are
taken out of it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from session_continuity.capture.harnesses import (
    claude_code_settings,
    codex_settings,
    gemini_cli_settings,
    opencode_settings,
)
from session_continuity.capture.harnesses.harness_settings import HarnessSettings, HookLine, Place, Wanted
from session_continuity.capture.harnesses.hooks import ADAPTERS
from session_continuity.capture.hook.command import ANSWERED, hook_command, hook_line
from session_continuity.capture.setup.settings_files import (
    Backup,
    Backups,
    FileEdit,
    decode,
    read_file,
    sha256,
    write_edit,
)
from session_continuity.domain.errors import InvalidInput, NotFound, Refused
from session_continuity.settings import Settings

_FORMATS: tuple[HarnessSettings, ...] = (
    claude_code_settings,
    codex_settings,
    gemini_cli_settings,
    opencode_settings,
)
HARNESSES = {harness.HARNESS: harness for harness in _FORMATS}
"""Every harness whose settings we know, by name."""

NOT_HOOKS = ("Status",)
"""Events that an adapter reads and no hook tells: the status line command hands them over."""

_VERSION = re.compile(r"\d+\.\d+\.\d+")
_VERSION_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedEdit:
    """The edit of one harness's file, and what the user should know about it."""

    harness: str
    edit: FileEdit
    notes: Sequence[str] = ()

    def as_json(self) -> dict[str, Any]:
        """JSON values but for the path."""
        edit = self.edit
        return {
            "harness": self.harness,
            "file": edit.path,
            "action": edit.action,
            "diff": edit.diff(),
            "notes": list(self.notes),
        }


class Installation:
    """Plans, applies and undoes our entries, for one place, under the data folder of the settings."""

    def __init__(self, settings: Settings, place: Place) -> None:
        self._settings = settings
        self._place = place
        self._backups = Backups(settings.home / "installation")

    def find_harnesses(self) -> list[str]:
        """The harnesses of this user: those whose program is on the PATH, or whose settings folder exists.
        Raises NotFound when there is none."""
        found = [name for name, harness in HARNESSES.items() if self._is_present(harness)]
        if not found:
            raise NotFound(
                f"no agent was found; name one with --agent ({', '.join(HARNESSES)})", code="no_agent_found"
            )
        return found

    def plan(self, harnesses: Sequence[str]) -> list[PlannedEdit]:
        """The edits that put our entries in. Raises InvalidInput or Refused naming a file that can't be edited;
        planning changes nothing."""
        return [self._plan(HARNESSES[name]) for name in harnesses]

    def plan_undo(self, harnesses: Sequence[str]) -> list[PlannedEdit]:
        """The edits that take our entries out. Raises InvalidInput or Refused naming the file."""
        return [self._plan_undo(HARNESSES[name]) for name in harnesses]

    def apply(self, planned: Sequence[PlannedEdit]) -> None:
        """Carry edits out, each whole or not at all. Raises Refused when a file is not what was planned on."""
        for each in planned:
            if each.edit.action != "keep":
                backup = self._backup(each)
                self._backups.keep(backup)
                made = write_edit(each.edit)
                if made:
                    self._backups.keep(replace(backup, folders=[*backup.folders, *made]))

    def undo(self, planned: Sequence[PlannedEdit]) -> None:
        """Carry the edits of `plan_undo` out and forget the backups. Raises Refused as `apply`."""
        for each in planned:
            if each.edit.action != "keep":
                write_edit(each.edit)
            self._backups.drop(each.edit.path)

    def installed_commands(self, harness: str) -> dict[str, str]:
        """Our commands in a harness's settings, by event; none when it is not set up. Raises InvalidInput or
        Refused naming a file that can't be read."""
        return self._installed(HARNESSES[harness], self._place)

    def is_current(self, harness: str) -> bool:
        """Whether our entries are there as they would be written today. Raises as `plan`."""
        path, _, content = self._read(HARNESSES[harness], self._place)
        return self._with_ours(HARNESSES[harness], path, content) == content

    def _plan(self, harness: HarnessSettings) -> PlannedEdit:
        self._check_version(harness)
        path, target, before = self._read(harness, self._place)
        other = replace(self._place, scope="project" if self._place.scope == "user" else "user")
        other_path = harness.settings_file(other)
        if other_path != path and self._installed(harness, other):
            note = (
                f"{harness.TITLE} is set up in {other_path} already, and would record everything twice; to have it"
                f" here instead, first run `continuity init --undo --scope {other.scope} --agent"
                f" {harness.HARNESS}`"
            )
            edit = FileEdit(path=path, target=target, before=before, after=before)
            return PlannedEdit(harness=harness.HARNESS, edit=edit, notes=[note])
        after = self._with_ours(harness, path, before)
        edit = FileEdit(path=path, target=target, before=before, after=after)
        return PlannedEdit(harness=harness.HARNESS, edit=edit)

    def _plan_undo(self, harness: HarnessSettings) -> PlannedEdit:
        path, target, before = self._read(harness, self._place)
        backup = self._backups.find(path)
        notes: list[str] = []
        if before is None or (backup and backup.is_of(before)):
            after = None if before is None or backup is None else backup.before
        else:
            after = self._without_ours(
                harness, path, before, made_by_us=backup is not None and backup.before is None
            )
            if backup and after != before:
                notes.append(
                    f"{path} was changed after it was set up, so it is not restored from the backup;"
                    " only our entries are taken out"
                )
        edit = FileEdit(path=path, target=target, before=before, after=after)
        return PlannedEdit(harness=harness.HARNESS, edit=edit, notes=notes)

    def _backup(self, planned: PlannedEdit) -> Backup:
        """What undoing should restore: the file as it was before our first edit, but with others' changes."""
        edit = planned.edit
        earlier = self._backups.find(edit.path)
        if earlier and earlier.is_of(edit.before):
            return replace(earlier, after_sha256=sha256(edit.after))
        before = edit.before
        if before is not None:
            before = self._without_ours(HARNESSES[planned.harness], edit.path, before, made_by_us=False)
        return Backup(path=edit.path, before=before, after_sha256=sha256(edit.after), folders=[])

    def _with_ours(self, harness: HarnessSettings, path: Path, content: bytes | None) -> bytes:
        with _naming(path):
            wanted = wanted_entries(self._settings, harness.HARNESS)
            return harness.install(decode(content), wanted, self._place).encode()

    def _without_ours(
        self, harness: HarnessSettings, path: Path, content: bytes, *, made_by_us: bool
    ) -> bytes | None:
        with _naming(path):
            text = harness.uninstall(decode(content))
        if (not text and content) or (made_by_us and "".join(text.split()) == "{}"):
            return None
        return text.encode()

    def _read(self, harness: HarnessSettings, place: Place) -> tuple[Path, Path, bytes | None]:
        path = harness.settings_file(place)
        return (path, *read_file(path, within=place.project if place.scope == "project" else None))

    def _installed(self, harness: HarnessSettings, place: Place) -> dict[str, str]:
        path, _, content = self._read(harness, place)
        with _naming(path):
            return harness.installed_commands(decode(content))

    def _is_present(self, harness: HarnessSettings) -> bool:
        return self._program(harness) is not None or harness.settings_folder(self._place).is_dir()

    def _program(self, harness: HarnessSettings) -> str | None:
        return shutil.which(harness.PROGRAM, path=self._place.environment.get("PATH"))

    def _check_version(self, harness: HarnessSettings) -> None:
        """Raises Refused when the installed version can't take our entries."""
        program = self._program(harness)
        if harness.OLDEST is None or program is None:
            return
        try:
            done = subprocess.run(
                [program, "--version"],
                capture_output=True,
                text=True,
                timeout=_VERSION_SECONDS,
                env=dict(self._place.environment),
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
            return
        found = _VERSION.search(done.stdout)
        if found and _numbers(found[0]) < _numbers(harness.OLDEST):
            raise Refused(
                f"{harness.TITLE} {found[0]} ({program}) would ignore its whole settings file, since it does not"
                f" know all events; update it to {harness.OLDEST} or newer, then run this again",
                code="agent_too_old",
            )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))


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


@contextmanager
def _naming(path: Path) -> Generator[None]:
    """Errors about a text name its file."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput(
            f"{path} can't be edited, and nothing was changed: {error.message}",
            code=error.stable_code,
            file=str(path),
        ) from None
