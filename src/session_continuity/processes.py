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

LAUNCHERS = frozenset({"sh", "dash", "bash", "zsh", "ash", "busybox", "env", "uv", "uvx", "pipx"})
"""Names of programs behind which the one that started us is looked for: they live as long as we do."""
_MOST_LAUNCHERS = 3


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


def client_process() -> Process | None:
    """The process that started this one, seen through shells and launchers: the agent's, for a server that an
    agent has started. None when it is gone."""
    found = os.getppid()
    for _ in range(_MOST_LAUNCHERS):
        name, parent = _name_and_parent(found)
        if name not in LAUNCHERS or parent <= 1:
            break
        found = parent
    return seen_process(found, since=datetime.now(UTC)) if found > 1 else None


def is_running(process: Process) -> bool:
    """Whether that very process runs."""
    found = _look(process.pid)
    return found is not None and found[0] == process.started


def _look(pid: int) -> tuple[str, datetime] | None:
    """The mark and the time of the start of a process that runs; a dead one that was not collected does not."""
    if pid <= 0:
        return None
    return _from_proc(pid) if (_PROC / "self" / "stat").exists() else _from_ps(pid)


def _name_and_parent(pid: int) -> tuple[str, int]:
    """What a process is called and who started it; ("", 0) for one that is not there."""
    if (_PROC / "self" / "stat").exists():
        name, fields = _stat(pid)
        return name, int(fields[1]) if fields else 0
    name, parent = _ask_ps(pid, "comm="), _ask_ps(pid, "ppid=")
    return (os.path.basename(name), int(parent)) if name and parent else ("", 0)


def _stat(pid: int) -> tuple[str, list[str]]:
    """The name and the fields after it, the state first; none of a process that is not there. The name in brackets
    may hold anything, so the fields follow the last bracket (proc_pid_stat(5))."""
    try:
        told = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return "", []
    head, _, fields = told.rpartition(")")
    return head.partition("(")[2], fields.split()


def _from_proc(pid: int) -> tuple[str, datetime] | None:
    state, *rest = _stat(pid)[1] or ["X"]
    if state in ("Z", "X"):
        return None
    ticks = int(rest[18])
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    boot = (_PROC / "sys" / "kernel" / "random" / "boot_id").read_text("ascii").strip()
    return f"{boot}:{ticks}", datetime.now(UTC) - timedelta(seconds=age)


def _from_ps(pid: int) -> tuple[str, datetime] | None:
    """macOS and the BSDs: the time of the start to the second, in the C locale's form."""
    state, _, started = _ask_ps(pid, "stat=,lstart=").partition(" ")
    try:
        at = datetime.strptime(started.strip(), "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)
    except ValueError:
        return None
    return None if state.startswith("Z") else (started.strip(), at)


def _ask_ps(pid: int, fields: str) -> str:
    """What ps says of a process; empty when it says nothing."""
    environment = {"PATH": os.environ.get("PATH", "/bin:/usr/bin"), "LC_ALL": "C", "TZ": "UTC"}
    asked = ["ps", "-o", fields, "-p", str(pid)]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=_SECONDS, check=True, env=environment)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return told.stdout.strip()
