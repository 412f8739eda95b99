"""Reads archives: verifies them, shows what they hold and searches it."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any, cast

from session_continuity.archive.folder import ArchiveFolder
from session_continuity.archive.manifest import Manifest, RowFile
from session_continuity.archive.row_files import RowBatch, format_named
from session_continuity.client import SessionContinuity
from session_continuity.domain.archives import Archive, get_archive, list_archives
from session_continuity.domain.errors import NotFound, Refused, SessionContinuityError
from session_continuity.domain.identity import INSTANCE_ID
from session_continuity.domain.payload import check_text
from session_continuity.postgres.row_kinds import KINDS, PRUNED, KindName

_REFERENCES = {"events": "sequence_num", "commands": "id", "checkpoints": "sequence_num"}
_NAMES = {"events": "event_type", "commands": "action", "checkpoints": "checkpoint_type"}
_READABLE = ("written", "finished")
_AROUND = 60
_NAME = re.compile(r"\w+")
_MOST_ARCHIVES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """An archive and what is wrong with it; nothing, if it is whole."""

    archive_id: str
    rows: int
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A row of an archive that holds the text that was looked for."""

    archive_id: str
    kind: KindName
    instance_id: str
    reference: int
    name: str
    at: str
    excerpt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """What was found, what is wrong with the archives that could not be read, and how many lie elsewhere, by host
    and folder."""

    found: tuple[Found, ...]
    unread: tuple[str, ...]
    elsewhere: dict[tuple[str, str], int]


def read_rows(folder: ArchiveFolder, manifest: Manifest, file: RowFile) -> Generator[RowBatch]:
    """The rows of a file. Raises Refused (archive_damaged) when they can't be read."""
    packed = format_named(manifest.format)
    path = str(folder.of(manifest.archive_id) / file.name)
    try:
        yield from packed.read(path, KINDS[file.kind])
    except (OSError, EOFError, ValueError, ArithmeticError, LookupError) as error:
        raise Refused(
            f"{file.name} of archive {manifest.archive_id} can't be read: {type(error).__name__}",
            code="archive_damaged",
        ) from None


def verify_archives(client: SessionContinuity, archive_id: str | None = None) -> list[Verified]:
    """Every archive of this folder, or one: each file byte by byte, each row read. Raises NotFound."""
    folder = ArchiveFolder(client.settings)
    if archive_id is not None:
        return [_verify(folder, client.run(get_archive(archive_id)))]
    known = [
        archive
        for archive in client.run(list_archives(limit=_MOST_ARCHIVES))
        if archive.state in _READABLE and folder.is_here(archive)
    ]
    found = [_verify(folder, archive) for archive in known]
    for stray in sorted(set(folder.left("")) - {archive.archive_id for archive in known}):
        found.append(Verified(archive_id=stray, rows=0, problems=("is not in the catalogue of this database",)))
    return found


def _verify(folder: ArchiveFolder, archive: Archive) -> Verified:
    if archive.state == "deleted":
        return Verified(archive_id=archive.archive_id, rows=0, problems=("was deleted by the policy",))
    if not folder.is_here(archive):
        place = f"lies on {archive.host} in {archive.folder}: verify it there"
        return Verified(archive_id=archive.archive_id, rows=0, problems=(place,))
    rows, problems = 0, list[str]()
    try:
        manifest = folder.manifest(archive.archive_id, archive.manifest_sha256)
        for file in manifest.files:
            problem = folder.file_problem(archive.archive_id, file)
            if problem is None:
                problem = _rows_problem(folder, manifest, file)
            if problem is None:
                rows += file.rows
            else:
                problems.append(problem)
    except SessionContinuityError as error:
        problems.append(error.message)
    return Verified(archive_id=archive.archive_id, rows=rows, problems=tuple(problems))


def _rows_problem(folder: ArchiveFolder, manifest: Manifest, file: RowFile) -> str | None:
    hashed, rows = hashlib.sha256(), 0
    for batch in read_rows(folder, manifest, file):
        hashed.update(batch.wire)
        rows += batch.rows
    if rows != file.rows:
        return f"{file.name} has {rows:,} rows, not {file.rows:,}"
    return None if hashed.hexdigest() == file.rows_sha256 else f"{file.name} holds other rows than were archived"


def archives_named(client: SessionContinuity, name: str) -> list[Archive]:
    """The archive of this id, or those that hold rows of this instance. Raises NotFound."""
    if not INSTANCE_ID.fullmatch(name):
        return [client.run(get_archive(name))]
    found = client.run(list_archives(instance_id=name, limit=_MOST_ARCHIVES))
    if not found:
        raise NotFound(f"no archive holds rows of {name}", code="archive_not_found", instance_id=name)
    return found


def show_rows(
    client: SessionContinuity, archives: Iterable[Archive], kind: KindName, instance_id: str | None, limit: int
) -> list[dict[str, Any]]:
    """Rows of one kind, of one session or of all, in the order of the archives: at most `limit`. Raises Refused
    (archive_missing, archive_damaged)."""
    found: list[dict[str, Any]] = []
    for _, _, batch in _batches(client, archives, (kind,), instance_id):
        for record in batch.records():
            if len(found) == limit:
                return found
            found.append(record)
    return found


def search_archives(
    client: SessionContinuity, archives: Iterable[Archive], text: str, *, limit: int = 100
) -> Searched:
    """Rows with the text in any of their values, ignoring case: at most `limit`. Raises InvalidInput."""
    wanted = check_text("text", text, 1_000).casefold()
    folder = ArchiveFolder(client.settings)
    found: list[Found] = []
    unread: list[str] = []
    elsewhere = Counter[tuple[str, str]]()
    for archive in archives:
        if archive.state in _READABLE and not folder.is_here(archive):
            elsewhere[archive.host, archive.folder] += 1
            continue
        try:
            for one in _search(client, archive, wanted):
                if len(found) == limit:
                    return Searched(found=tuple(found), unread=tuple(unread), elsewhere=elsewhere)
                found.append(one)
        except SessionContinuityError as error:
            unread.append(error.message)
    return Searched(found=tuple(found), unread=tuple(unread), elsewhere=elsewhere)


def _search(client: SessionContinuity, archive: Archive, wanted: str) -> Generator[Found]:
    for _, kind, batch in _batches(client, [archive], [kind.name for kind in PRUNED], None):
        for record in batch.records():
            for value in _texts(record):
                folded = value.casefold()
                at = folded.find(wanted)
                if at >= 0:
                    shown = value if len(value) == len(folded) else folded
                    yield _found(archive, kind, record, shown[max(0, at - _AROUND) : at + len(wanted) + _AROUND])
                    break


def _texts(record: dict[str, Any]) -> Generator[str]:
    """The values of a row, and such keys in it as are more than a name: a question that was answered, a path."""
    rest = list(record.values())
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            members = cast("dict[str, Any]", value)
            yield from (key for key in members if not _NAME.fullmatch(key))
            rest.extend(members.values())
        elif isinstance(value, list):
            rest.extend(cast("list[Any]", value))
        elif value is not None and not isinstance(value, bool):
            yield str(value)


def _found(archive: Archive, kind: KindName, record: dict[str, Any], excerpt: str) -> Found:
    return Found(
        archive_id=archive.archive_id,
        kind=kind,
        instance_id=str(record.get("instance_id")),
        reference=int(record.get(_REFERENCES[kind]) or 0),
        name=str(record.get(_NAMES[kind])),
        at=str(record.get("created_at")),
        excerpt=excerpt,
    )


def _batches(
    client: SessionContinuity, archives: Iterable[Archive], kinds: Iterable[KindName], instance_id: str | None
) -> Generator[tuple[Archive, KindName, RowBatch]]:
    folder, wanted = ArchiveFolder(client.settings), tuple(kinds)
    for archive in archives:
        if archive.state not in _READABLE or not folder.is_here(archive):
            continue
        manifest = folder.manifest(archive.archive_id, archive.manifest_sha256)
        if instance_id is not None and all(one.instance_id != instance_id for one in manifest.sessions):
            continue
        for file in manifest.files:
            if file.kind in wanted:
                for batch in read_rows(folder, manifest, file):
                    yield archive, file.kind, batch if instance_id is None else batch.only((instance_id,))
