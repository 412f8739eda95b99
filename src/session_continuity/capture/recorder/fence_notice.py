"""Tells the agent of a session that was taken over, by a marker that its hooks see without the database.

One file for each such session in `<home>/spool/fenced`, named after the harness's id of the session. While there
is any, hooks look here; so each goes when its session goes on by right, has ended, or its process is gone.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import orjson

from session_continuity.capture.facts.transcripts import records
from session_continuity.capture.harnesses.hooks import ADAPTERS, HookCall
from session_continuity.capture.recorder.incarnations import process_of
from session_continuity.capture.spool.files import write_file
from session_continuity.capture.spool.spool import FOLDER, SpoolRecord
from session_continuity.domain.identity import INSTANCE_ID
from session_continuity.domain.session_registry import Session
from session_continuity.processes import is_running, process_from_json
from session_continuity.settings import Settings

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_FORGOTTEN_AFTER_SECONDS = 7 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceNotice:
    """What an agent that may write no more is told; with `block` its tool is refused."""

    text: str
    block: bool


def find_fence_notice(settings: Settings, record: SpoolRecord) -> FenceNotice | None:
    """The notice for the session of this hook call, None when it was not taken over. Reads one file."""
    for session_id in _session_ids(record):
        marker = _read(_marker(settings, session_id))
        instance, successor, epoch = (marker.get(name) for name in ("instance_id", "successor", "epoch"))
        if not all(isinstance(name, str) and INSTANCE_ID.fullmatch(name) for name in (instance, successor)):
            continue
        text = (
            f"This session ({instance}) was taken over by {successor} (epoch {epoch}): its work goes on there,"
            " and nothing that is done here is recorded as work of the thread any more. Stop here and tell the"
            f" user so. To see the work: `continuity sessions show {successor}`. To go on here, the user ends the"
            " other session and resumes this one."
        )
        return FenceNotice(text=text, block=settings.fence_tools == "block")
    return None


def mark_fenced(settings: Settings, loser: Session, successor: str, epoch: int | None) -> None:
    """Let the hooks of a session know that it was taken over. Without a spool there are no hooks to tell."""
    spool = settings.home / FOLDER
    if not loser.harness_session_id or not spool.is_dir():
        return
    process = process_of(loser)
    content = {
        "instance_id": loser.instance_id,
        "successor": successor,
        "epoch": epoch,
        "reason": "taken over",
        "process": process.as_json() if process else None,
    }
    marker = _marker(settings, loser.harness_session_id)
    marker.parent.mkdir(mode=0o700, exist_ok=True)
    draft = marker.with_name(f".{marker.name}")  # hooks see no dot files
    draft.unlink(missing_ok=True)
    write_file(draft, orjson.dumps(content), None, flush=False)
    draft.replace(marker)


def clear_fence(settings: Settings, harness_session_id: str | None) -> None:
    """The session goes on by right, or it is over."""
    if harness_session_id:
        _marker(settings, harness_session_id).unlink(missing_ok=True)


def sweep_fences(settings: Settings) -> None:
    """Remove the markers that nobody reads any more: of processes that are gone, and week-old ones."""
    folder = settings.home / FOLDER / "fenced"
    if not folder.is_dir():
        return
    for marker in folder.iterdir():
        with suppress(FileNotFoundError):  # another one sweeps, too
            process = process_from_json(_read(marker).get("process"))
            gone = process is not None and not is_running(process)
            if gone or time.time() - marker.stat().st_mtime > _FORGOTTEN_AFTER_SECONDS:
                marker.unlink()


def _session_ids(record: SpoolRecord) -> list[str]:
    """The session that a hook speaks of, and the one that sent it off."""
    adapter = ADAPTERS.get(record.harness)
    payload = next((value for _, value in records([record.payload])), None)
    if adapter is None or not isinstance(payload, dict):
        return []
    call = HookCall(key=record.name, at=record.captured_at, pid=record.client_pid, host=record.host)
    told = adapter.read_hook(record.event, payload, call)
    return [name for name in (told.harness_session_id, told.parent_harness_session_id) if name]


def _marker(settings: Settings, harness_session_id: str) -> Path:
    """Its file; an id that is no plain name, which may be anything, is named by its hash."""
    plain = _SAFE.fullmatch(harness_session_id)
    name = harness_session_id if plain else sha256(harness_session_id.encode("utf-8", "replace")).hexdigest()
    return settings.home / FOLDER / "fenced" / name


def _read(marker: Path) -> dict[str, Any]:
    try:
        content: object = orjson.loads(marker.read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return {}
    return cast("dict[str, Any]", content) if isinstance(content, dict) else {}
