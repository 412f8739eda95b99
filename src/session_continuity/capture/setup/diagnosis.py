"""The chain from an agent's hook to the row, looked at link by link; each says what is wrong and what to do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias

from session_continuity.capture.harnesses.harness_settings import HarnessSettings, Place
from session_continuity.capture.hook.command import SCRIPT
from session_continuity.capture.recorder.project_privacy import ProjectPrivacy
from session_continuity.capture.serving import find_resident
from session_continuity.capture.setup.installation import HARNESSES, Installation
from session_continuity.capture.setup.mcp_configuration import McpConfiguration
from session_continuity.capture.setup.probe import Probe
from session_continuity.capture.spool.spool import SpoolStatus, open_spool
from session_continuity.client import SessionContinuity
from session_continuity.deployment import Deployment
from session_continuity.domain.errors import SessionContinuityError
from session_continuity.settings import Settings

LinkState: TypeAlias = Literal["ok", "absent", "warning", "broken"]
"""absent: not there, and nothing depends on it. warning: the chain holds, but somebody should look."""

_WAITS_LONG = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One link of the chain: what was found, and what to do about it when it is not ok."""

    name: str
    state: LinkState
    found: str
    harness: str | None = None
    remedy: str | None = None

    def as_json(self) -> dict[str, Any]:
        """JSON values only."""
        return {
            "link": self.name,
            "harness": self.harness,
            "state": self.state,
            "found": self.found,
            "remedy": self.remedy,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SetUp:
    """A harness that has our hooks: where, and our commands by event."""

    harness: HarnessSettings
    place: Place
    commands: dict[str, str]


class Diagnosis:
    """Looks at every link but the probe; changes nothing and starts nothing."""

    def __init__(self, settings: Settings, place: Place) -> None:
        self._settings = settings
        self._places = [replace(place, scope="user"), replace(place, scope="project")]
        self.set_up: list[SetUp] = []
        self._packaged = False

    def links(self) -> list[Link]:
        """All links, in the order in which a record passes them."""
        found = [link for harness in HARNESSES.values() for link in self._harness(harness)]
        if not (self.set_up or self._packaged):
            found.append(
                Link(
                    name="hooks",
                    state="broken",
                    found="no agent has our hooks",
                    remedy="run `continuity init`",
                )
            )
        return [
            *found,
            *self._project(),
            *self._hook_script(),
            *self._spool(),
            *self._resident(),
            *self._database(),
        ]

    def _harness(self, harness: HarnessSettings) -> Iterator[Link]:
        name = harness.HARNESS
        program = shutil.which(harness.PROGRAM, path=self._places[0].environment.get("PATH"))
        if program:
            yield Link(name="agent", harness=name, state="ok", found=program)
        else:
            yield Link(name="agent", harness=name, state="absent", found=f"{harness.PROGRAM} is not on the PATH")
        for place in self._places:
            try:
                yield from self._hooks(harness, place)
            except SessionContinuityError as error:
                yield Link(
                    name="hooks",
                    harness=name,
                    state="broken",
                    found=error.message,
                    remedy=f"mend it, then run `continuity init --agent {name}`",
                )
        ours = [each for each in self.set_up if each.harness is harness]
        package = _package(harness, self._places[0])
        if package is not None:
            self._packaged = True
            yield self._package_link(harness, package, doubled=bool(ours))
        if len(ours) == 2:
            yield Link(
                name="hooks",
                harness=name,
                state="broken",
                found="user and project both have our hooks, and everything is recorded twice",
                remedy=f"run `continuity init --undo --scope project --agent {name}`",
            )
        if not (ours or package) and program:
            yield Link(
                name="hooks",
                harness=name,
                state="absent",
                found="it is not set up",
                remedy=f"to record it run `continuity init --agent {name}`",
            )
        if ours:
            yield self._mcp(harness, ours[0].place)
        for obstacle in harness.find_obstacles(ours[0].place) if ours else ():
            yield Link(name="switch", harness=name, state="broken", found=obstacle.found, remedy=obstacle.remedy)

    def _hooks(self, harness: HarnessSettings, place: Place) -> Iterator[Link]:
        installation = Installation(self._settings, place)
        commands = installation.installed_commands(harness.HARNESS)
        if not commands or (place.scope == "project" and _same_file(harness, self._places)):
            return
        if any(_PACKAGE_SCRIPT in command for command in commands.values()):
            return  # OpenCode's package is the very file that `init` writes
        self.set_up.append(SetUp(harness=harness, place=place, commands=commands))
        file = harness.settings_file(place)
        current = installation.is_current(harness.HARNESS)
        yield Link(
            name="hooks",
            harness=harness.HARNESS,
            state="ok" if current else "broken",
            found=f"{len(commands)} commands in {file}" + ("" if current else ", and they are not those of today"),
            remedy=None
            if current
            else f"run `continuity init --scope {place.scope} --agent {harness.HARNESS}`, with the same --home",
        )

    def _package_link(self, harness: HarnessSettings, package: Path, *, doubled: bool) -> Link:
        remedy = None
        found = f"a package, {package}; the probe does not pass it"
        if doubled:
            found = f"a package ({package}) and the settings both have our hooks, and everything is recorded twice"
            remedy = f"run `continuity init --undo --agent {harness.HARNESS}`, or remove the package"
        elif self._settings.home != (home := self._places[0].home / ".local" / "share" / "session-continuity"):
            found = f"a package ({package}) records into {home}, not into {self._settings.home}"
            remedy = "leave --home and CONTINUITY_HOME out, or use `continuity init` in place of the package"
        return Link(
            name="hooks",
            harness=harness.HARNESS,
            state="broken" if remedy else "ok",
            found=found,
            remedy=remedy,
        )

    def _project(self) -> Iterator[Link]:
        privacy, here = ProjectPrivacy(self._settings), str(self._places[0].project)
        problem, switch = privacy.problem(here), privacy.is_off(here)
        if problem is not None:
            yield Link(
                name="project",
                state="broken",
                found=problem,
                remedy="mend the file: until then it is as if it were not there",
            )
        elif switch is not None:
            yield Link(name="project", state="warning", found=f"nothing is captured in {here}: {switch} says so")

    def _mcp(self, harness: HarnessSettings, place: Place) -> Link:
        name = harness.HARNESS
        configuration = McpConfiguration(self._settings, place)
        file = configuration.file(name)
        write = f"run `continuity mcp config {name} --scope {place.scope} --write`"

        def link(state: LinkState, found: str, remedy: str | None = None) -> Link:
            return Link(name="mcp", harness=name, state=state, found=found, remedy=remedy)

        try:
            entry = configuration.find(name)
        except SessionContinuityError as error:
            return link("broken", error.message, f"mend it, then {write}")
        if entry is None:
            return link("absent", f"{file} has no entry of the MCP server", f"to let the agent ask it {write}")
        started = entry.get("command")
        if started is None:
            return link("ok", f"{entry.get('url') or entry.get('httpUrl')} in {file}")
        program = str(started[0] if isinstance(started, list) and started else started)  # pyright: ignore[reportUnknownArgumentType]
        if shutil.which(program, path=place.environment.get("PATH")) is None:
            return link("broken", f"{file} starts {program}, which is not there", write)
        return link("ok", f"{program} in {file}")

    def _hook_script(self) -> Iterator[Link]:
        try:
            SCRIPT.read_bytes()
        except OSError as error:
            yield Link(
                name="hook script",
                state="broken",
                found=f"{SCRIPT} can't be read: {error.strerror}",
                remedy="install the package again, then run `continuity init`",
            )
        else:
            yield Link(name="hook script", state="ok", found=str(SCRIPT))

    def _spool(self) -> Iterator[Link]:
        try:
            spool = open_spool(self._settings)
            status = spool.status()
        except (SessionContinuityError, OSError) as error:
            yield Link(
                name="spool", state="broken", found=str(error), remedy="mend the folder's owner and mode (0700)"
            )
            return
        yield from _spool_links(spool.folder, status)

    def _resident(self) -> Iterator[Link]:
        resident = find_resident(self._settings.home)
        if resident is None:
            yield Link(
                name="resident",
                state="absent",
                found="none runs; the next session start starts one",
                remedy="to start it now run `continuity serve --detach`",
            )
        elif resident.condition == "working":
            yield Link(
                name="resident", state="ok", found=f"{resident.role}, process {resident.pid}, {resident.url}"
            )
        else:
            yield Link(
                name="resident",
                state="broken",
                found=f"process {resident.pid} is {resident.condition} since {resident.since}: {resident.reason}",
                remedy=f"look into {self._settings.home / 'logs' / 'serve.log'}",
            )

    def _database(self) -> Iterator[Link]:
        if self._settings.dsn and self._settings.sources["dsn"] in ("option", "CONTINUITY_DSN"):
            yield Link(
                name="settings",
                state="broken",
                found="the DSN comes from an option or the environment, where hooks do not look",
                remedy=f"write it into {self._settings.home / 'settings.toml'} as dsn",
            )
        try:
            status = Deployment(self._settings).status()
        except SessionContinuityError as error:
            yield Link(
                name="database", state="broken", found=error.message, remedy="start the server, or correct the dsn"
            )
            return
        if status.state != "running":
            yield Link(
                name="database",
                state="absent",
                found=f"the embedded server is {status.state}; the probe starts it",
            )
            return
        version = f"PostgreSQL {status.server_version}, {status.database}"
        yield Link(name="database", state="ok", found=version)
        if status.is_current:
            yield Link(name="migrations", state="ok", found=f"{len(status.migrations)} applied")
        else:
            wrong = [each for each in status.migrations if each.state != "applied"]
            yield Link(
                name="migrations",
                state="broken",
                found=", ".join(f"{each.name} is {each.state}" for each in wrong) or "none is applied",
                remedy="run `continuity db upgrade`",
            )


def probe_links(client: SessionContinuity, set_up: Sequence[SetUp]) -> Iterator[Link]:
    """A probe through each harness that is set up. Starts the embedded server; leaves a tombstone for each."""
    resident = find_resident(client.settings.home)
    if resident is not None and resident.role == "forward":
        yield Link(
            name="probe",
            state="absent",
            found=f"records are forwarded to {resident.url}",
            remedy="run `continuity doctor` on that machine",
        )
        return
    probe = Probe(client)
    for each in set_up:
        name = each.harness.HARNESS
        try:
            result = probe.send(name, each.commands)
        except (SessionContinuityError, OSError) as error:
            yield Link(
                name="probe", harness=name, state="broken", found=str(error), remedy=_PROBE_REMEDIES["drain"]
            )
            continue
        if result.stage is None:
            passed = f"hook {result.hook_ms:.0f} ms, row after {result.row_ms:.0f} ms"
            yield Link(name="probe", harness=name, state="ok", found=passed)
        else:
            yield Link(
                name="probe",
                harness=name,
                state="warning" if result.stage == "removal" else "broken",
                found=f"{result.stage}: {result.problem}",
                remedy=_PROBE_REMEDIES[result.stage],
            )


_PROBE_REMEDIES = {
    "hook": "run `continuity init` again; if that does not help, run the command in the agent's settings by hand",
    "drain": "see that the database can be reached: `continuity db status`",
    "row": "look into hook.log and serve.log in the logs folder of the data folder",
    "removal": "delete it as a role that may: DELETE FROM supervisor_sessions WHERE project = 'continuity-probe'",
}

_PACKAGE_SCRIPT = "/run.sh"
"""What the commands of a package run, and those of `continuity init` do not."""


def _package(harness: HarnessSettings, place: Place) -> Path | None:
    """The file with the commands of our package, where the harness has installed one."""
    folder = harness.settings_folder(place)
    files = (file for pattern in harness.PACKAGES for file in folder.glob(pattern))
    return next((file for file in files if _PACKAGE_SCRIPT in file.read_text("utf-8", "replace")), None)


def _same_file(harness: HarnessSettings, places: Sequence[Place]) -> bool:
    return len({harness.settings_file(place) for place in places}) == 1


def _spool_links(folder: Path, status: SpoolStatus) -> Iterator[Link]:
    if status.full:
        yield Link(
            name="spool",
            state="broken",
            found=f"{folder} is full ({status.bytes:,} bytes), and hooks keep nothing",
            remedy="let it drain with `continuity serve`, or raise the setting spool_bytes",
        )
    elif status.oldest and datetime.now(UTC) - status.oldest > _WAITS_LONG:
        yield Link(
            name="spool",
            state="warning",
            found=f"{status.waiting} records wait in {folder}, the first since {status.oldest:%Y-%m-%d %H:%M} UTC",
            remedy="let it drain with `continuity serve --detach`",
        )
    else:
        yield Link(name="spool", state="ok", found=f"{folder}, {status.waiting} records wait")
    if status.quarantined:
        yield Link(
            name="quarantine",
            state="warning",
            found=f"{status.quarantined} records can't be stored",
            remedy="see `continuity spool list --state quarantined`, then retry or drop them",
        )
    if status.lost:
        yield Link(
            name="losses",
            state="warning",
            found=f"{status.lost} records could not be kept (disk full, or over spool_bytes)",
            remedy="make room, then run `continuity spool list --acknowledge-lost`",
        )
