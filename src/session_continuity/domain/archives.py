"""The catalogue of archives: what was moved out of the tables, where it is, and how far that has come.

An archive is `writing` until its files are whole on disk, `written` until the rows it holds are deleted, then
`finished`, and `deleted` when its files are gone for good. Nothing is deleted from the tables before `written`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from session_continuity.domain.errors import Conflict, NotFound
from session_continuity.domain.operation import Operation, Statement, Steps
from session_continuity.domain.paging import Place, check_limit, check_place

ArchiveState = Literal["writing", "written", "finished", "deleted"]

SILENT_AFTER = timedelta(hours=1)
"""An archive at work of which nothing was heard for so long is given up, wherever it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A row of archives. `folder` lies on the machine `host`; `rows_kept` were not deleted: they were changed
    after they had been copied, or are held."""

    archive_id: str
    project: str
    state: ArchiveState
    host: str
    folder: str
    format: str
    sessions: int
    events: int
    commands: int
    checkpoints: int
    rows_kept: int
    bytes: int
    manifest_sha256: str | None
    created_at: datetime
    touched_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedSession:
    """What an archive holds of a session."""

    archive_id: str
    instance_id: str
    events: int
    commands: int
    checkpoints: int
    first_sequence_num: int | None
    last_sequence_num: int | None
    restored_at: datetime | None = None
    erased_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionArchive:
    """Where an archive that holds rows of a session is."""

    archive_id: str
    host: str
    folder: str


_FIELDS = tuple(Archive.__dataclass_fields__)
_SESSION_FIELDS = tuple(ArchivedSession.__dataclass_fields__)


def archive_from_row(row: tuple[Any, ...]) -> Archive:
    """An Archive from the columns in the order of its fields."""
    return Archive(**dict(zip(_FIELDS, row, strict=True)))


def get_archive(archive_id: str) -> Operation[Archive]:
    """One archive by its id. Raises NotFound."""

    def steps() -> Steps[Archive]:
        rows = yield Statement("get_archive", {"archive_id": archive_id})
        if not rows:
            raise NotFound(
                f"no archive {archive_id}; `continuity archive list` shows what is there", code="archive_not_found"
            )
        return archive_from_row(rows[0])

    return Operation("get_archive", steps)


def list_archives(
    *, project: str | None = None, instance_id: str | None = None, before: Place | None = None, limit: int = 100
) -> Operation[list[Archive]]:
    """Archives, latest first: of a project, or those that hold rows of an instance. Page on with `before` =
    (created_at, archive_id) of the last one."""
    parameters = {
        "project": project,
        "instance_id": instance_id,
        **check_place(before, ""),
        "limit": check_limit(limit),
    }

    def steps() -> Steps[list[Archive]]:
        rows = yield Statement("list_archives", parameters)
        return [archive_from_row(row) for row in rows]

    return Operation("list_archives", steps)


def list_archived_sessions(archive_id: str) -> Operation[list[ArchivedSession]]:
    """The sessions of an archive."""

    def steps() -> Steps[list[ArchivedSession]]:
        rows = yield Statement("list_archived_sessions", {"archive_id": archive_id})
        return [ArchivedSession(**dict(zip(_SESSION_FIELDS, row, strict=True))) for row in rows]

    return Operation("list_archived_sessions", steps)


def find_session_archives(instance_ids: Sequence[str]) -> Operation[list[SessionArchive]]:
    """Where rows of these sessions are archived."""

    def steps() -> Steps[list[SessionArchive]]:
        rows = yield Statement("find_session_archives", {"instance_ids": list(instance_ids)})
        return [SessionArchive(archive_id=row[0], host=row[1], folder=row[2]) for row in rows]

    return Operation("find_session_archives", steps)


def find_unerased(instance_ids: Sequence[str] | None = None) -> Operation[dict[SessionArchive, list[str]]]:
    """Archives that still hold content of sessions that were forgotten: of these, or of all."""

    def steps() -> Steps[dict[SessionArchive, list[str]]]:
        named = None if instance_ids is None else list(instance_ids)
        found: dict[SessionArchive, list[str]] = {}
        for archive_id, instance_id, host, folder in (
            yield Statement("find_unerased_archives", {"instance_ids": named})
        ):
            place = SessionArchive(archive_id=archive_id, host=host, folder=folder)
            found.setdefault(place, []).append(instance_id)
        return found

    return Operation("find_unerased", steps)


def list_unfinished(host: str, folder: str) -> Operation[list[Archive]]:
    """Archives of a folder that were begun and not finished."""

    def steps() -> Steps[list[Archive]]:
        rows = yield Statement("list_unfinished_archives", {"host": host, "folder": folder})
        return [archive_from_row(row) for row in rows]

    return Operation("list_unfinished", steps)


def begin_archive(archive_id: str, project: str, host: str, folder: str, format_name: str) -> Operation[bool]:
    """Claim the project for a new archive; False when another one of it is at work. Gives up archives of which
    nothing was heard for an hour. Raises Refused when the login may not archive."""
    parameters = {
        "archive_id": archive_id,
        "project": project,
        "host": host,
        "folder": folder,
        "format": format_name,
    }

    def steps() -> Steps[bool]:
        yield Statement("act_as_login", {})
        yield Statement("release_silent_archives", {"silent_for": SILENT_AFTER})
        rows = yield Statement("begin_archive", parameters)
        return bool(rows)

    return Operation("begin_archive", steps, atomic=True)


def drop_begun_archive(archive_id: str) -> Operation[bool]:
    """Forget an archive that was begun and never written; False when it was."""
    return _as_login("drop_begun_archive", {"archive_id": archive_id})


def touch_archive(archive_id: str, state: ArchiveState) -> Statement:
    """The statement that claims an archive at work once more; it answers nothing when another process took it."""
    return Statement("touch_archive", {"archive_id": archive_id, "state": state})


def keep_archive(archive_id: str) -> Operation[bool]:
    """Say that the archive is still being written. Raises Conflict when another process gave it up."""

    def steps() -> Steps[bool]:
        yield Statement("act_as_login", {})
        if not (yield touch_archive(archive_id, "writing")):
            raise taken_over(archive_id)
        return True

    return Operation("keep_archive", steps, atomic=True)


def record_written(
    archive_id: str, sessions: Sequence[ArchivedSession], *, size: int, manifest_sha256: str
) -> Operation[None]:
    """The archive is whole on disk. Raises Conflict when another process gave it up."""
    parameters = {
        "archive_id": archive_id,
        "sessions": len(sessions),
        "events": sum(session.events for session in sessions),
        "commands": sum(session.commands for session in sessions),
        "checkpoints": sum(session.checkpoints for session in sessions),
        "bytes": size,
        "manifest_sha256": manifest_sha256,
    }

    def steps() -> Steps[None]:
        yield Statement("act_as_login", {})
        if not (yield Statement("record_written", parameters)):
            raise taken_over(archive_id)
        yield Statement(
            "record_archived_sessions",
            {
                "archive_id": archive_id,
                "instance_ids": [session.instance_id for session in sessions],
                "events": [session.events for session in sessions],
                "commands": [session.commands for session in sessions],
                "checkpoints": [session.checkpoints for session in sessions],
                "firsts": [session.first_sequence_num for session in sessions],
                "lasts": [session.last_sequence_num for session in sessions],
            },
        )

    return Operation("record_written", steps, atomic=True)


def finish_archive(archive_id: str, rows_kept: int) -> Operation[bool]:
    """The rows of the archive are deleted but for `rows_kept`."""
    return _as_login("finish_archive", {"archive_id": archive_id, "rows_kept": rows_kept})


def record_archive_deleted(archive_id: str) -> Operation[bool]:
    """The archive's files are about to be deleted for good; False when a session of it is under legal hold."""
    return _as_login("record_archive_deleted", {"archive_id": archive_id})


def record_erased(
    archive_id: str, instance_ids: Sequence[str], *, rows: dict[str, int], size: int, manifest_sha256: str
) -> Operation[bool]:
    """The rows of these sessions were taken out of the archive."""
    return _as_login(
        "record_erased",
        {
            "archive_id": archive_id,
            "instance_ids": list(instance_ids),
            "events": rows["events"],
            "commands": rows["commands"],
            "checkpoints": rows["checkpoints"],
            "bytes": size,
            "manifest_sha256": manifest_sha256,
        },
    )


def record_restored(archive_id: str, instance_ids: Sequence[str]) -> Statement:
    """The statement that says that these sessions' rows are in the tables again."""
    return Statement("record_restored", {"archive_id": archive_id, "instance_ids": list(instance_ids)})


def taken_over(archive_id: str) -> Conflict:
    return Conflict(f"another process took archive {archive_id} over", code="archive_taken_over")


def _as_login(name: str, parameters: dict[str, Any]) -> Operation[bool]:
    def steps() -> Steps[bool]:
        yield Statement("act_as_login", {})
        rows = yield Statement(name, parameters)
        return bool(rows)

    return Operation(name, steps, atomic=True)
