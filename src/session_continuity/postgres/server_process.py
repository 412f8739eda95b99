"""Processes of the embedded server: found in the process table, started, and ended when left over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from session_continuity.domain.errors import DeadlineExceeded, Unavailable
from session_continuity.postgres.binaries import Binaries
from session_continuity.postgres.server_folders import Place

_LARGEST_LOG = 10 * 1024 * 1024
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
_PAUSE = 0.01

# Servers started by this process: kept so that a dead one is reaped and not left as a zombie.
_children: list[subprocess.Popen[bytes]] = []


class Deadline:
    """The moment a call has to end."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        return max(0.0, self._end - time.monotonic())

    def pause(self, message: str) -> None:
        """Waits a moment; raises DeadlineExceeded with `message` when the time is up."""
        if self.remaining() == 0:
            raise DeadlineExceeded(f"{message}.")
        time.sleep(_PAUSE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A live postmaster, found through postmaster.pid and checked against the process table."""

    pid: int
    phase: str

    @property
    def ready(self) -> bool:
        return self.phase == "ready"


def find_server(place: Place) -> Server | None:
    """The server that postmaster.pid names, if that process is really the postmaster of this data."""
    try:
        with (place.data / "postmaster.pid").open("rb") as file:
            lines = file.read(4096).decode(errors="replace").splitlines()
    except OSError:
        return None
    # A single-user session writes its process id with a minus.
    digits = lines[0].strip().removeprefix("-") if lines else ""
    if not (digits.isascii() and digits.isdigit()):
        return None
    pid = int(digits)
    if role_of(pid, place.data) != "postmaster":
        return None
    return Server(pid=pid, phase=lines[7].strip() if len(lines) > 7 else "starting")


def role_of(pid: int, data: Path) -> Literal["postmaster", "child"] | None:
    """What a process is to the server of `data`: None for a foreign, a dead or a dead but unreaped one."""
    if sys.platform != "linux":
        return _role_by_ps(pid, data)
    process = Path("/proc", str(pid))
    try:
        title = process.joinpath("cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
        # The server works inside its data folder, whatever that was called when it started. A dead process
        # that nobody reaped has no folder any more.
        at_home = process.joinpath("cwd").samefile(data)
    except OSError:
        return None
    if not at_home:
        return None
    if title.startswith("postgres:"):
        return "child"
    return "postmaster" if title.rpartition("/")[2] == "postgres" else None


def _role_by_ps(pid: int, data: Path) -> Literal["postmaster"] | None:
    answer = subprocess.run(
        ["ps", "-o", "state=,command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    phase, _, command = answer.stdout.strip().partition(" ")
    is_server = "postgres" in command and str(data) in command and not phase.startswith("Z")
    return "postmaster" if is_server else None


def end_leftovers(place: Place) -> bool:
    """Ends what is left of a server whose postmaster died or lost its postmaster.pid; False if nothing is."""
    roles = {
        pid: role
        for entry in Path("/proc").glob("[0-9]*")
        if (role := role_of(pid := int(entry.name), place.data)) is not None
    }
    postmasters = [pid for pid, role in roles.items() if role == "postmaster"]
    for pid in postmasters or roles:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT if postmasters else signal.SIGQUIT)
    return bool(roles)


def reap() -> None:
    """Forgets the servers started here that have ended, so that they leave no zombies."""
    _children[:] = [child for child in _children if child.poll() is None]


def run(place: Place, command: list[str], text: str, deadline: Deadline) -> str:
    """Runs a program to its end with `text` as input and returns all it said; raises Unavailable if it fails."""
    process = _popen(place, command, subprocess.PIPE, subprocess.PIPE, subprocess.STDOUT)
    try:
        answer, _ = process.communicate(text.encode(), timeout=deadline.remaining())
    except subprocess.TimeoutExpired:
        raise DeadlineExceeded("PostgreSQL's data folder could not be made in time; try again.") from None
    finally:
        process.kill()
        process.wait()
    output = answer.decode(errors="replace")
    if process.returncode != 0:
        name = Path(command[0]).name
        raise Unavailable(f"{name} failed with status {process.returncode}: {last_lines(output)}")
    return output


def last_lines(output: str) -> str:
    """The end of a program's output, on one line for an error message."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return " | ".join(lines[-4:]) or "it said nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """A postmaster just started, and where its own words begin in the log."""

    process: subprocess.Popen[bytes]
    log_file: Path
    log_start: int

    @classmethod
    def run(cls, place: Place, binaries: Binaries, lifelong_lock: int) -> Launched:
        if place.log_file.exists() and place.log_file.stat().st_size > _LARGEST_LOG:
            place.log_file.replace(place.log_file.with_suffix(".log.1"))
        log = os.open(place.log_file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        try:
            start = os.fstat(log).st_size
            command = [str(binaries.folder / "postgres"), "-D", str(place.data)]
            process = _popen(
                place, command, subprocess.DEVNULL, log, log, survives=True, inherited=(lifelong_lock,)
            )
        finally:
            os.close(log)
        reap()
        _children.append(process)
        return cls(process=process, log_file=place.log_file, log_start=start)

    def was_killed(self) -> bool:
        """Whether a signal ended it. Raises Unavailable with its last words when it gave up by itself."""
        status = self.process.poll()
        if status is None or status < 0:
            return status is not None
        with self.log_file.open("rb") as file:
            file.seek(self.log_start)
            words = file.read(65536).decode(errors="replace")
        raise Unavailable(f"PostgreSQL did not start: {last_lines(words)} (log: {self.log_file})")


def _popen(
    place: Place,
    command: list[str],
    source: int,
    output: int,
    errors: int,
    *,
    survives: bool = False,
    inherited: tuple[int, ...] = (),
) -> subprocess.Popen[bytes]:
    """Starts a program of the server as the server's user, with none of the caller's settings."""
    is_root = os.geteuid() == 0
    return subprocess.Popen(
        command,
        stdin=source,
        stdout=output,
        stderr=errors,
        env=_ENVIRONMENT,
        cwd="/",
        umask=0o077,
        user=place.account.uid if is_root else None,
        group=place.account.gid if is_root else None,
        extra_groups=() if is_root else None,
        start_new_session=survives,
        pass_fds=inherited,
    )
