"""Brings rows of an archive back into the tables, exactly as they were: ids, numbers, epochs, hashes and times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from session_continuity.archive.folder import ArchiveFolder
from session_continuity.archive.manifest import Manifest, RowFile
from session_continuity.archive.reading import read_rows
from session_continuity.archive.row_files import ahead, format_named
from session_continuity.client import SessionContinuity
from session_continuity.domain.archives import Archive, record_restored
from session_continuity.domain.errors import Refused
from session_continuity.domain.operation import Statement
from session_continuity.postgres.row_kinds import KINDS
from session_continuity.postgres.row_streams import open_row_streams
from session_continuity.server import choose_server

Progress = Callable[[str, int, int], None]
"""Told the step, the rows that are done and all rows."""

STEP_SECONDS = 120.0
"""Each statement and each batch of a bulk work ends within it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What came back from an archive; rows that were there already are not counted. `left_out` sessions were
    forgotten since."""

    archive_id: str
    sessions: tuple[str, ...]
    events: int
    commands: int
    checkpoints: int
    left_out: tuple[str, ...]


def restore_archive(
    client: SessionContinuity,
    archive: Archive,
    *,
    instance_id: str | None = None,
    keep_live: bool = False,
    progress: Progress | None = None,
) -> Restored:
    """Restore an archive, or one session of it, in one transaction; restoring again changes nothing. Sessions that
    were forgotten stay so. Raises Refused (archive_missing, archive_damaged, archive_elsewhere, session_deleted),
    Conflict (restore_conflict) when other rows stand where restored ones belong, unless `keep_live`."""
    folder = ArchiveFolder(client.settings)
    if archive.state not in ("written", "finished"):
        raise Refused(
            f"archive {archive.archive_id} is {archive.state}: it holds nothing to restore", code="archive_missing"
        )
    if not folder.is_here(archive):
        raise Refused(
            f"archive {archive.archive_id} lies on {archive.host} in {archive.folder}: restore it there",
            code="archive_elsewhere",
        )
    manifest = folder.manifest(archive.archive_id, archive.manifest_sha256)
    folder.check_files(archive.archive_id, manifest)
    wanted = [one.instance_id for one in manifest.sessions if instance_id in (None, one.instance_id)]
    if not wanted:
        raise Refused(f"archive {archive.archive_id} holds no rows of {instance_id}", code="archive_missing")
    conninfo = choose_server(client.settings).conninfo(client.settings.deadline_seconds)
    wire = format_named(manifest.format).wire
    counts: dict[str, int] = {}
    with open_row_streams(conninfo, STEP_SECONDS) as streams, streams.transaction():
        forgotten = [row[0] for row in streams.rows(Statement("lock_forgotten", {"instance_ids": wanted}))]
        for file in manifest.files:
            chunks = _wires(folder, manifest, file, instance_id, progress)
            streams.stage(KINDS[file.kind], file.columns, chunks, wire)
        streams.drop_staged_of(forgotten)
        buried = streams.rows(Statement("find_buried", {"instance_ids": wanted}))
        if buried:
            names = ", ".join(row[0] for row in buried)
            raise Refused(f"{names} was deleted since; `continuity archive show` shows it", code="session_deleted")
        for file in manifest.files:
            kind = KINDS[file.kind]
            counts[file.kind] = streams.insert_staged(kind, file.columns, keep_live=keep_live)
        back = [one for one in manifest.sessions if one.instance_id in wanted and one.instance_id not in forgotten]
        restored = [one.instance_id for one in back]
        firsts = [one.first_sequence_num for one in back]
        streams.rows(Statement("index_again", {"instance_ids": restored, "firsts": firsts}))
        streams.rows(record_restored(archive.archive_id, restored))
    return Restored(
        archive_id=archive.archive_id,
        sessions=tuple(restored),
        events=counts["events"],
        commands=counts["commands"],
        checkpoints=counts["checkpoints"],
        left_out=tuple(forgotten),
    )


def _wires(
    folder: ArchiveFolder, manifest: Manifest, file: RowFile, instance_id: str | None, progress: Progress | None
) -> Iterator[bytes]:
    done = 0
    for batch in ahead(read_rows(folder, manifest, file)):
        yield (batch if instance_id is None else batch.only((instance_id,))).wire
        done += batch.rows
        if progress:
            progress(f"reading {file.kind}", done, file.rows)
