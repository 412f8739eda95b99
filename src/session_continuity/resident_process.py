"""One resident process per user and data folder: its lock, its state file, and its end.

The lock `<home>/serve.lock` decides who is it, and the kernel lets go of it whatever ends the process. The state
file only tells others about it.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from session_continuity.capture.serving import STATE_FILE, Resident, find_resident
from session_continuity.capture.spool.watch import Condition
from session_continuity.domain.errors import Conflict, Refused, Unavailable
from session_continuity.processes import seen_process

LOCK_FILE = "serve.lock"
_PAUSE = 0.02
_SECONDS_TO_APPEAR = 3.0
"""The winner of the lock needs a moment until it can say who it is."""


class Residence:
    """The lock, held; `announce` and `tell` write what others may read."""

    def __init__(self, home: Path, lock: int) -> None:
        self._home, self._lock = home, lock
        self._resident: Resident | None = None

    def announce(self, role: str, url: str) -> None:
        """Say who this process is and where it listens or sends to."""
        now = datetime.now(UTC)
        seen = seen_process(os.getpid(), since=now)
        if seen is None:
            raise Refused("The process table can't be read, so nobody could find this process.")
        began = now.isoformat(timespec="seconds")
        self._resident = Resident(
            pid=os.getpid(),
            process_start=seen.started,
            role=role,
            url=url,
            version=version("session-continuity"),
            started_at=began,
            condition="working",
            since=began,
            reason=None,
        )
        self._write()

    def tell(self, condition: Condition) -> None:
        """Say how the work goes."""
        if self._resident is not None:
            since = condition.since.isoformat(timespec="seconds")
            self._resident = replace(
                self._resident, condition=condition.state, since=since, reason=condition.reason
            )
            self._write()

    def is_lost(self) -> bool:
        """Whether the lock's file is gone, alone or with the home: then another process can hold a new one."""
        try:
            return not os.path.samestat(os.fstat(self._lock), (self._home / LOCK_FILE).lstat())
        except FileNotFoundError:
            return True

    def withdraw(self) -> None:
        """Say that it ends."""
        (self._home / STATE_FILE).unlink(missing_ok=True)

    def _write(self) -> None:
        assert self._resident is not None  # noqa: S101
        unfinished = self._home / f".{STATE_FILE}"
        unfinished.unlink(missing_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(self._resident.as_json(), file, indent=1)
        unfinished.replace(self._home / STATE_FILE)


@contextmanager
def residence(home: Path) -> Generator[Residence]:
    """Be the resident process of a home. Raises Conflict naming the one there is, and Refused for another user's
    home."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if home.stat().st_uid != os.geteuid():
        raise Refused(f"{home} belongs to another user; run as that one, or set CONTINUITY_HOME to your own.")
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(home / LOCK_FILE, flags, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _taken(home) from None
        held = Residence(home, descriptor)
        held.withdraw()
        try:
            yield held
        finally:
            held.withdraw()
    finally:
        os.close(descriptor)


def _taken(home: Path) -> Conflict:
    until = time.monotonic() + _SECONDS_TO_APPEAR
    while (resident := find_resident(home)) is None and time.monotonic() < until:
        time.sleep(_PAUSE)
    if resident is None:
        return Conflict(
            f"Another process holds {home / LOCK_FILE}, but does not say who it is; perhaps in another container.",
            code="already_serving",
        )
    return Conflict(
        f"Process {resident.pid} (version {resident.version}) serves {home} already: it "
        f"{'listens on' if resident.role == 'serve' else 'forwards to'} {resident.url}. "
        "`continuity serve --stop` ends it.",
        code="already_serving",
        resident=resident.as_json(),
    )


def wait_for_resident(home: Path, pid: int, seconds: float) -> Resident:
    """The resident process, as soon as there is one. Raises Unavailable when `pid`, just started, ended or did not
    get ready in time."""
    until = time.monotonic() + seconds
    while True:
        resident = find_resident(home)
        if resident is not None:
            return resident
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        if seen_process(pid, since=datetime.now(UTC)) is None or time.monotonic() > until:
            raise Unavailable(f"The server did not start; {home / 'logs' / 'serve.log'} says why.")
        time.sleep(_PAUSE)


def stop_resident(home: Path, seconds: float = 10.0) -> bool:
    """End the resident process of a home; False when there is none. Raises Unavailable when it still runs after
    `seconds`."""
    resident = find_resident(home)
    if resident is None:
        return False
    try:
        process = os.pidfd_open(resident.pid)
    except ProcessLookupError:
        return False
    try:
        # Through a descriptor: between the look and the signal the id may have gone to another process.
        if not resident.is_alive():
            return False
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGTERM)
    finally:
        os.close(process)
    until = time.monotonic() + seconds
    while resident.is_alive():
        if time.monotonic() > until:
            raise Unavailable(f"Process {resident.pid} has not ended within {seconds:.0f} s.")
        time.sleep(_PAUSE)
    return True
