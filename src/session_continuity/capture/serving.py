"""The resident process of a home: found by its state file, and started detached when there is none.

`<home>/serve.json` says who it is: process id, when that process started, URL, version. A process id alone is
not believed, since it may belong to somebody else by now.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from session_continuity.processes import Process, is_running
from session_continuity.settings import Settings

STATE_FILE = "serve.json"
LOG_FOLDER = "logs"
LOG_FILE = "serve.log"

_KEPT_VARIABLES = frozenset(
    ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "XDG_DATA_HOME")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """What the resident process says of itself.

    role: serve or forward. url: where it listens, or forwards to. process_start: the mark of its start, as
    `processes` tells it. started_at, since: ISO 8601. condition: working, unreachable (the database, or the
    server that it forwards to) or failing, `since` then, for that `reason`.
    """

    pid: int
    process_start: str
    role: str
    url: str
    version: str
    started_at: str
    condition: str
    since: str
    reason: str | None

    def as_json(self) -> dict[str, Any]:
        """JSON values only."""
        return asdict(self)

    def is_alive(self) -> bool:
        """Whether that very process still runs."""
        return is_running(Process(pid=self.pid, started=self.process_start))


def find_resident(home: Path) -> Resident | None:
    """The resident process of a home, or None: no state file, a torn one, or one that a dead process left."""
    try:
        document = json.loads((home / STATE_FILE).read_bytes())
        resident = Resident(**{field.name: document[field.name] for field in fields(Resident)})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return resident if isinstance(resident.pid, int) and resident.is_alive() else None  # pyright: ignore[reportUnnecessaryIsInstance]


def ensure_serving(settings: Settings) -> None:
    """Start `continuity serve` for the settings' home unless a resident process runs, or the setting
    serve_on_demand is off; returns at once."""
    if settings.serve_on_demand and find_resident(settings.home) is None:
        start_detached(settings)


def start_detached(settings: Settings, options: Sequence[str] = ()) -> int:
    """Start `continuity serve` in a session of its own and return its process id.

    It gets only the variables that it needs: those of a harness may hold secrets, and it lives for long. The DSN
    goes through the environment, since anybody can read a command line.
    """
    log = _open_log(settings.home)
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "session_continuity", "serve", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            cwd="/",
            env=_environment(os.environ, settings),
            umask=0o077,
            start_new_session=True,
        )
    finally:
        os.close(log)
    return process.pid


def _environment(given: Mapping[str, str], settings: Settings) -> dict[str, str]:
    kept = {name: value for name, value in given.items() if name in _KEPT_VARIABLES or name.startswith("PG")}
    kept["CONTINUITY_HOME"] = str(settings.home)
    if settings.dsn and settings.sources["dsn"] in ("option", "CONTINUITY_DSN"):
        kept["CONTINUITY_DSN"] = settings.dsn
    return kept


def _open_log(home: Path) -> int:
    folder = home / LOG_FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(folder / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
