"""The status line of Claude Code: which session this is, its epic, how full its context is, how long it works.

Claude Code runs the command again and again and draws what it prints, so it is quick: no database; a small file
that the drain writes says who the session is. The JSON on its standard input is the one place where Claude Code
tells how large its context window is; it goes into the spool as event `Status`, once per change.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from session_continuity.capture.spool.spool import open_spool
from session_continuity.domain.errors import SessionContinuityError
from session_continuity.domain.text import printable, shorten
from session_continuity.settings import Settings

if TYPE_CHECKING:
    from session_continuity.domain.session_registry import Session

FOLDER = "statusline"
"""Below the data folder: `<harness session id>.json` with instance_id, epic and started_at (ISO 8601)."""

EVENT = "Status"

_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_EPIC_CHARACTERS = 40
_WRAPPED_SECONDS = 3.0
_KEPT_SECONDS = 7 * 86_400.0


def status_line(settings: Settings, harness: str, payload: bytes, wrapped: str | None) -> bytes:
    """What to print: the output of the `wrapped` command, if the user had one, and our line below it. A payload
    that can't be read still gives a line; one that can't be spooled is not an error of the agent's."""
    theirs = b"" if wrapped is None else _run(wrapped, payload)
    status = _decode(payload)
    session_id = status.get("session_id")
    if not isinstance(session_id, str) or not _SESSION_ID.fullmatch(session_id):
        return theirs + _line(None, None, None, None)
    folder = settings.home / FOLDER
    percent = _percent(status)
    with suppress(OSError, SessionContinuityError):
        _spool_change(settings, harness, folder / f"{session_id}.told", status, payload)
    known = _read(folder / f"{session_id}.json")
    return theirs + _line(known.get("instance_id"), known.get("epic"), percent, known.get("started_at"))


def keep_status_session(home: Path, session: Session) -> None:
    """Let the status line of a session know who it is; nothing is written when nothing changed."""
    file = _session_file(home, session)
    if file is None:
        return
    content = {
        "instance_id": session.instance_id,
        "epic": session.current_epic,
        "started_at": session.created_at.isoformat(),
    }
    if _read(file) != content:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(file, json.dumps(content))


def drop_status_session(home: Path, session: Session) -> None:
    """Forget a session that has ended."""
    file = _session_file(home, session)
    if file is not None:
        file.unlink(missing_ok=True)
        file.with_suffix(".told").unlink(missing_ok=True)


def _session_file(home: Path, session: Session) -> Path | None:
    """Only Claude Code has a status line, and only for its main sessions."""
    session_id = session.harness_session_id
    if session.harness != "claude-code" or session.relation == "spawned" or session_id is None:
        return None
    return home / FOLDER / f"{session_id}.json" if _SESSION_ID.fullmatch(session_id) else None


def _replace(file: Path, text: str) -> None:
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.write_text(text, "utf-8")
    draft.replace(file)


def _line(instance_id: object, epic: object, percent: int | None, started_at: object) -> bytes:
    hours = _hours_since(started_at)
    parts = (
        printable(instance_id) if isinstance(instance_id, str) else "not recorded yet",
        printable(shorten(" ".join(epic.split()), _EPIC_CHARACTERS)) if isinstance(epic, str) and epic else "-",
        "- %" if percent is None else f"{percent} %",
        "- h" if hours is None else f"{hours:.1f} h",
    )
    return (" | ".join(parts) + "\n").encode("utf-8", "backslashreplace")


def _hours_since(started_at: object) -> float | None:
    try:
        started = datetime.fromisoformat(cast("str", started_at))
        return max(0.0, (datetime.now(UTC) - started).total_seconds() / 3_600)
    except (TypeError, ValueError):
        return None


def _percent(status: dict[str, Any]) -> int | None:
    window = status.get("context_window")
    percent = cast("dict[str, Any]", window).get("used_percentage") if isinstance(window, dict) else None
    if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 100:
        return None
    return round(percent)


def _spool_change(settings: Settings, harness: str, told: Path, status: dict[str, Any], payload: bytes) -> None:
    """Spool the status when it tells another percentage, window or model than the last one did."""
    if _percent(status) is None:
        return
    window, model = status["context_window"], status.get("model")
    tells = json.dumps([_percent(status), window.get("context_window_size"), model])
    with suppress(FileNotFoundError):
        if told.read_text("utf-8") == tells:
            return
    client_pid = os.environ.get("CLAUDE_PID", "")
    pid = int(client_pid) if client_pid.isdecimal() else None
    open_spool(settings).put(harness, EVENT, payload, client_pid=pid)
    if not told.exists():
        told.parent.mkdir(mode=0o700, exist_ok=True)
        _remove_old(told.parent)
    _replace(told, tells)


def _remove_old(folder: Path) -> None:
    for file in folder.glob("*.told"):
        with suppress(OSError):
            if time.time() - file.stat().st_mtime > _KEPT_SECONDS:
                file.unlink()


def _run(command: str, payload: bytes) -> bytes:
    """The user's own status line, as the agent would have run it; what it has printed when its time is over."""
    import subprocess

    process = subprocess.Popen(  # noqa: S602 - the user's own command line, which the agent gives to a shell too
        command,
        shell=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        output = process.communicate(payload, timeout=_WRAPPED_SECONDS)[0]
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        output = process.communicate()[0]
    return output if not output or output.endswith(b"\n") else output + b"\n"


def _decode(payload: bytes) -> dict[str, Any]:
    try:
        decoded = json.loads(payload)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", decoded) if isinstance(decoded, dict) else {}


def _read(file: Path) -> dict[str, Any]:
    try:
        return _decode(file.read_bytes())
    except OSError:
        return {}
