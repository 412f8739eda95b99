"""Whether the very process that ran a session still runs: its id and when it started, since ids are used again.

Linux tells both in /proc; elsewhere `ps` does. A start is a text to compare, and roughly a time.
"""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

_PROC = Path("/proc")
_SECONDS = 5.0
_ROUNDING = timedelta(seconds=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process as it was seen running: `started` is its mark of start, the same for as long as it runs and
    another for every other process of this id, also after the machine was started again."""

    pid: int
    started: str

    def as_json(self) -> dict[str, Any]:
        """As the registry keeps it."""
        return {"pid": self.pid, "started": self.started}


def process_from_json(value: object) -> Process | None:
    """The process that the registry kept, None when it was never seen running."""
    kept = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    pid, started = kept.get("pid"), kept.get("started")
    return Process(pid=pid, started=started) if isinstance(pid, int) and isinstance(started, str) else None


def seen_process(pid: int, *, since: datetime) -> Process | None:
    """The process of that id, if it runs and was there at the time `since` already; None for one that has ended or
    whose id another one has taken since."""
    found = _look(pid)
    if found is None or found[1] > since + _ROUNDING:
        return None
    return Process(pid=pid, started=found[0])


def is_running(process: Process) -> bool:
    """Whether that very process runs."""
    found = _look(process.pid)
    return found is not None and found[0] == process.started


def _look(pid: int) -> tuple[str, datetime] | None:
    """The mark and the time of the start of a process that runs; a dead one that was not collected does not."""
    if pid <= 0:
        return None
    return _from_proc(pid) if (_PROC / "self" / "stat").exists() else _from_ps(pid)


def _from_proc(pid: int) -> tuple[str, datetime] | None:
    try:
        told = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return None
    # The name in brackets may hold anything; the state and the rest follow the last bracket (proc_pid_stat(5)).
    state, *rest = told.rpartition(")")[2].split()
    if state in ("Z", "X"):
        return None
    ticks = int(rest[18])
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    boot = (_PROC / "sys" / "kernel" / "random" / "boot_id").read_text("ascii").strip()
    return f"{boot}:{ticks}", datetime.now(UTC) - timedelta(seconds=age)


def _from_ps(pid: int) -> tuple[str, datetime] | None:
    """macOS and the BSDs: the time of the start to the second, in the C locale's form."""
    asked = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    environment = {"PATH": os.environ.get("PATH", "/bin:/usr/bin"), "LC_ALL": "C", "TZ": "UTC"}
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=_SECONDS, check=True, env=environment)
        state, _, started = told.stdout.strip().partition(" ")
        at = datetime.strptime(started.strip(), "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return None if state.startswith("Z") else (started.strip(), at)
