"""A session as a file of its own: JSON with everything the records hold of it, or one HTML page that needs nothing
else. Both are made piece by piece, so that a session of any length fits."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar
from uuid import UUID

import orjson

from session_continuity.domain.checkpoints import list_checkpoints, recover_state
from session_continuity.domain.command_log import get_command, search_commands
from session_continuity.domain.event_store import read_events
from session_continuity.domain.family import get_family
from session_continuity.domain.operation import Operation
from session_continuity.domain.paging import Place
from session_continuity.domain.session_registry import get_session
from session_continuity.domain.timeline import TimelineEntry, get_timeline
from session_continuity.web.dashboard.edits import edits_of
from session_continuity.web.dashboard.rendering import Templates
from session_continuity.web.dashboard.summaries import summary

T = TypeVar("T")

Format = Literal["html", "json"]
FORMATS = ("html", "json")
MEDIA_TYPES = {"html": "text/html", "json": "application/json"}

SCHEMA = "session-continuity/session/1"
_PAGE = 200

Run = Callable[[Operation[Any]], Any]
"""Runs an operation: a client's `run`, or one that is limited to some projects."""


def export_session(run: Run, instance_id: str, form: Format, *, threshold: int) -> Iterator[bytes]:
    """The file, piece by piece. Raises NotFound before the first one."""
    session = run(get_session(instance_id))
    if form == "json":
        return _json(run, instance_id, asdict(session))
    return _html(run, instance_id, threshold)


def _json(run: Run, instance_id: str, session: dict[str, Any]) -> Iterator[bytes]:
    family = [
        {"instance_id": one.session.instance_id, "parent": one.session.parent_instance_id,
         "relation": one.session.relation}
        for one in run(get_family(instance_id))
    ]  # fmt: skip
    head = {
        "schema": SCHEMA, "exported_at": datetime.now(UTC), "session": session, "family": family,
        "work_state": run(recover_state(instance_id)).work_state,
    }  # fmt: skip
    yield _dumped(head)[:-1]
    hashes: dict[str, dict[str, Any]] = {}
    parts: tuple[tuple[str, Iterable[Any]], ...] = (
        ("events", (event._asdict() for event in _events(run, instance_id))),
        ("commands", (command._asdict() for command in _commands(run, instance_id))),
        ("checkpoints", (asdict(checkpoint) for checkpoint in _checkpoints(run, instance_id))),
    )
    for name, rows in parts:
        hashed, count = hashlib.sha256(), 0
        yield f',"{name}":['.encode()
        for row in rows:
            line = _dumped(row)
            hashed.update(line + b"\n")
            yield b",\n" * (count > 0) + line
            count += 1
        yield b"]"
        hashes[name] = {"count": count, "sha256_of_lines": hashed.hexdigest()}
    yield b',"parts":' + _dumped(hashes) + b"}\n"


def _html(run: Run, instance_id: str, threshold: int) -> Iterator[bytes]:
    templates = Templates(threshold=threshold)
    style = templates.content("dashboard.css").decode()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    recovery = run(recover_state(instance_id))
    context: dict[str, Any] = {
        "session": run(get_session(instance_id)), "family": run(get_family(instance_id)), "recovery": recovery,
        "state": recovery.work_state, "style": style, "digest": digest, "exported_at": datetime.now(UTC),
        "instance_id": instance_id, "is_report": True,
    }  # fmt: skip
    yield templates.html("export_begin.html", context).encode("utf-8", "replace")
    cursor = None
    while page := run(get_timeline(instance_id, after=cursor, limit=_PAGE)):
        entries = [(entry, *_details(run, instance_id, entry)) for entry in page]
        about = {"entries": entries, "summary": summary, "instance_id": instance_id}
        html = templates.html("export_entries.html", about)
        yield html.encode("utf-8", "replace")
        cursor = page[-1].cursor
    yield b"</ol>\n</main>\n</body>\n</html>\n"


def _details(run: Run, instance_id: str, entry: TimelineEntry) -> tuple[Any, list[Any]]:
    if entry.kind != "command":
        return None, []
    command = run(get_command(instance_id, command_id=entry.reference))
    return command, edits_of(command.parameters)


def _events(run: Run, instance_id: str) -> Iterator[Any]:
    after = 0
    while page := run(read_events(instance_id, after=after, limit=1_000)):
        yield from page
        after = page[-1].sequence_num


def _commands(run: Run, instance_id: str) -> Iterator[Any]:
    before: Place | None = None
    while page := run(search_commands(instance_id=instance_id, before=before, limit=_PAGE)):
        yield from page
        before = page[-1].created_at, page[-1].id


def _checkpoints(run: Run, instance_id: str) -> Iterator[Any]:
    before: Place | None = None
    while page := run(list_checkpoints(instance_id, before=before, limit=50)):
        yield from page
        # Checkpoints are listed by when they were stored.
        before = page[-1].created_at, page[-1].checkpoint_id


def _dumped(value: Any) -> bytes:
    return orjson.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"a record holds a {type(value).__name__}, which an export can't write")
