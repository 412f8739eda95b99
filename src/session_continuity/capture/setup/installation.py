"""Our entries in the settings of the installed harnesses: hooks, status line and the entry of the MCP server,
planned as edits of files (file_parts), shown, applied and undone."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace

from session_continuity.capture.harnesses.harness_settings import HarnessSettings, Place
from session_continuity.capture.setup.file_parts import FileParts, Part, PlannedEdit, naming
from session_continuity.capture.setup.hooks_part import HARNESSES, NOT_HOOKS, hooks_part, wanted_entries
from session_continuity.capture.setup.mcp_configuration import mcp_part, stdio_entry
from session_continuity.capture.setup.settings_files import FileEdit, decode
from session_continuity.domain.errors import NotFound, Refused
from session_continuity.settings import Settings

__all__ = ["HARNESSES", "NOT_HOOKS", "Installation", "PlannedEdit", "wanted_entries"]

_VERSION = re.compile(r"\d+\.\d+\.\d+")
_VERSION_SECONDS = 30.0


class Installation:
    """Plans, applies and undoes our entries, for one place, under the data folder of the settings."""

    def __init__(self, settings: Settings, place: Place) -> None:
        self._settings = settings
        self._place = place
        self._files = FileParts(settings.home / "installation")

    def find_harnesses(self) -> list[str]:
        """The harnesses of this user: those whose program is on the PATH, or whose settings folder exists.
        Raises NotFound when there is none."""
        found = [name for name, harness in HARNESSES.items() if self._is_present(harness)]
        if not found:
            raise NotFound(
                f"no agent was found; name one with --agent ({', '.join(HARNESSES)})", code="no_agent_found"
            )
        return found

    def plan(self, harnesses: Sequence[str], *, mcp: bool = True) -> list[PlannedEdit]:
        """The edits that put our entries in, of each harness the file with its hooks first; without `mcp` the
        entry of the server is left as it is. Raises InvalidInput or Refused naming a file that can't be edited;
        planning changes nothing."""
        return [edit for name in harnesses for edit in self._plan(HARNESSES[name], mcp=mcp)]

    def plan_undo(self, harnesses: Sequence[str]) -> list[PlannedEdit]:
        """The edits that take our entries out. Raises InvalidInput or Refused naming the file."""
        parts = [self._parts(name) for name in harnesses]
        return [edit for ours in parts for edit in self._files.plan_undo(ours, ours)]

    def apply(self, planned: Sequence[PlannedEdit]) -> None:
        """Carry edits out, each whole or not at all. Raises Refused when a file is not what was planned on."""
        self._files.apply(planned)

    def undo(self, planned: Sequence[PlannedEdit]) -> None:
        """Carry the edits of `plan_undo` out and forget the backups. Raises Refused as `apply`."""
        self._files.undo(planned)

    def installed_commands(self, harness: str) -> dict[str, str]:
        """Our commands in a harness's settings, by event; none when it is not set up. Raises InvalidInput or
        Refused naming a file that can't be read."""
        return self._installed(HARNESSES[harness], self._place)

    def is_current(self, harness: str) -> bool:
        """Whether our hooks are there as they would be written today. Raises as `plan`."""
        return hooks_part(self._settings, harness, self._place).is_current()

    def _plan(self, harness: HarnessSettings, *, mcp: bool) -> list[PlannedEdit]:
        self._check_version(harness)
        hooks, entry = ours = self._parts(harness.HARNESS)
        other = replace(self._place, scope="project" if self._place.scope == "user" else "user")
        other_path = harness.settings_file(other)
        if other_path != hooks.path and self._installed(harness, other):
            note = (
                f"{harness.TITLE} is set up in {other_path} already, and would record everything twice; to have it"
                f" here instead, first run `continuity init --undo --scope {other.scope} --agent"
                f" {harness.HARNESS}`"
            )
            target, before = hooks.read()
            edit = FileEdit(path=hooks.path, target=target, before=before, after=before)
            return [PlannedEdit(harness=harness.HARNESS, edit=edit, notes=[note])]
        return self._files.plan([hooks, entry] if mcp else [hooks], ours)

    def _parts(self, harness: str) -> list[Part]:
        """The hooks and the entry of the MCP server."""
        hooks = hooks_part(self._settings, harness, self._place)
        return [hooks, mcp_part(harness, self._place, stdio_entry(self._settings))]

    def _installed(self, harness: HarnessSettings, place: Place) -> dict[str, str]:
        part = hooks_part(self._settings, harness.HARNESS, place)
        _, content = part.read()
        with naming(part.path):
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
