"""Moves old rows into an archive: copies them into files, reads those back, and deletes what equals them.

Nothing leaves the tables before its copy is on disk under its name and in the catalogue. Then each batch of the
files goes back to the database's own bytes: the rows are read once more in the transaction that deletes them, and
go only if they are the same, byte for byte. So whatever ends a run, the tables and the archives together hold all,
and the next run in the same folder finishes or clears away what was begun.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from session_continuity.archive.erasing import erase_in
from session_continuity.archive.folder import DELETED, WRITING, ArchiveFolder, file_digest
from session_continuity.archive.manifest import Manifest, RowFile
from session_continuity.archive.reading import read_rows
from session_continuity.archive.restoring import STEP_SECONDS, Progress
from session_continuity.archive.row_files import RowBatch, ahead, by_session, format_named
from session_continuity.client import SessionContinuity
from session_continuity.domain.archives import (
    Archive,
    ArchivedSession,
    begin_archive,
    drop_begun_archive,
    find_unerased,
    finish_archive,
    get_archive,
    keep_archive,
    list_unfinished,
    record_archive_deleted,
    record_written,
    touch_archive,
)
from session_continuity.domain.checkpoints import recover_state
from session_continuity.domain.errors import NotFound, SessionContinuityError
from session_continuity.domain.identity import slug
from session_continuity.domain.operation import Statement
from session_continuity.domain.retention import (
    MOST_ROWS,
    Archivable,
    find_archivable,
    find_expired_archives,
    list_policies,
)
from session_continuity.domain.retention_policy import RetentionPolicy
from session_continuity.postgres.row_kinds import CHECKPOINTS, COMMANDS, EVENTS, PRUNED, SESSIONS, RowKind
from session_continuity.postgres.row_streams import RowStreams, open_row_streams
from session_continuity.server import choose_server


@dataclass(slots=True)
class RunReport:
    """What a run did. `rows_kept` were copied, but not deleted: they were changed meanwhile, or are held. `busy`
    projects have an archive at work elsewhere. `problems` need a person."""

    archives: list[str] = field(default_factory=list[str])
    sessions: int = 0
    rows: int = 0
    rows_kept: int = 0
    deleted: list[str] = field(default_factory=list[str])
    erased: list[str] = field(default_factory=list[str])
    busy: list[str] = field(default_factory=list[str])
    problems: list[str] = field(default_factory=list[str])
    more: bool = False


def run_archive(
    client: SessionContinuity,
    *,
    project: str | None = None,
    most_archives: int | None = None,
    most_rows: int = MOST_ROWS,
    progress: Progress | None = None,
) -> RunReport:
    """Apply the retention policy of the settings: heal what an earlier run left, archive until nothing is due (or
    `most_archives` are made), delete archives past their age. Raises Refused (archive_busy), OSError when the disk
    is full: nothing was deleted then."""
    return _Run(client, most_rows, progress).run(project, most_archives)


class _Run:
    def __init__(self, client: SessionContinuity, most_rows: int, progress: Progress | None) -> None:
        self._client, self._most_rows = client, most_rows
        self._progress: Progress = progress or _untold
        self._folder = ArchiveFolder(client.settings)
        self._format = format_named(client.settings.archive_format)
        self._report = RunReport()
        self._distrusted = list[str]()

    def run(self, project: str | None, most_archives: int | None) -> RunReport:
        retention = self._client.settings.retention
        with self._folder.locked():
            self._heal()
            for name, policy in self._client.run(list_policies(retention, project=project)):
                self._delete_expired(name, policy)
                while policy.archives and self._has_room(most_archives):
                    if not self._archive(name, policy):
                        break
            return self._report

    def _has_room(self, most_archives: int | None) -> bool:
        self._report.more = most_archives is not None and len(self._report.archives) >= most_archives
        return not self._report.more

    def _archive(self, project: str, policy: RetentionPolicy) -> bool:
        """One archive; False when there is nothing more to archive now."""
        chosen = self._choose(project, policy)
        if not chosen:
            return False
        archive_id = f"{slug(project)[:60]}-{datetime.now(UTC):%Y%m%d%H%M%S}-{secrets.token_hex(4)}"
        begin = begin_archive(archive_id, project, self._folder.host, str(self._folder.path), self._format.name)
        if not self._client.run(begin):
            self._report.busy.append(project)
            return False
        try:
            manifest = self._write(archive_id, project, chosen)
            sha256 = self._folder.complete(archive_id, manifest)
        except BaseException:
            self._folder.abandon(archive_id)
            self._client.run(drop_begun_archive(archive_id))
            raise
        written = record_written(archive_id, manifest.sessions, size=manifest.bytes, manifest_sha256=sha256)
        self._client.run(written)
        self._report.sessions += len(manifest.sessions)
        kept = self._prune(archive_id, manifest)
        self._report.archives.append(archive_id)
        return not kept

    def _choose(self, project: str, policy: RetentionPolicy) -> list[Archivable]:
        """The rows of the next archive. A session that recovery would miss them of is passed over: found again, it
        has but commands."""
        while True:
            found = self._client.run(
                find_archivable(project, policy, most_rows=self._most_rows, distrusted=self._distrusted)
            )
            chosen: list[Archivable] = []
            for one in found:
                if self._is_recoverable(one):
                    chosen.append(one)
                else:
                    self._distrust(one.instance_id)
            if chosen or not found:
                return chosen

    def _is_recoverable(self, one: Archivable) -> bool:
        """Whether recovery can do without the session's rows: not if its checkpoint can't be trusted."""
        if not (one.events or one.checkpoints):
            return True
        recovery = self._client.run(recover_state(one.instance_id))
        return recovery.checkpoint_id is not None and recovery.checkpoint_id not in one.checkpoints

    def _distrust(self, instance_id: str) -> None:
        self._distrusted.append(instance_id)
        self._report.problems.append(
            f"the latest checkpoint of {instance_id} does not fit its hash; its events stay. Unless another"
            f" session took it over, it gets a new one by: continuity checkpoints take {instance_id}"
        )

    def _write(self, archive_id: str, project: str, chosen: Sequence[Archivable]) -> Manifest:
        """All files of an archive, from one snapshot of the tables."""
        place = self._folder.begin(archive_id)
        tally = _Tally([one.instance_id for one in chosen])
        with self._streams() as streams, streams.transaction(snapshot=True):
            schema = streams.rows(Statement("latest_migration", {}))[0][0]
            files: list[RowFile] = []
            for kind in (SESSIONS, *PRUNED):
                self._client.run(keep_archive(archive_id))
                files.append(self._write_file(streams, place, kind, chosen, tally))
        return Manifest(
            archive_id=archive_id,
            project=project,
            created_at=datetime.now(UTC).isoformat(),
            format=self._format.name,
            schema=str(schema),
            revision=1,
            sessions=tally.sessions(archive_id),
            files=tuple(files),
        )

    def _write_file(
        self, streams: RowStreams, place: Path, kind: RowKind, chosen: Sequence[Archivable], tally: _Tally
    ) -> RowFile:
        path = place / f"{kind.name}-1{self._format.suffix}"
        keys = _chosen_keys(kind, chosen)
        expected = sum(_chosen_rows(kind, one) for one in chosen)
        hashed, rows = hashlib.sha256(), 0
        with self._format.write(str(path), kind) as writer:
            wires = streams.copy_out(Statement(kind.stream, keys), self._format.wire)
            for batch in ahead(self._format.parse(kind, wire) for wire in wires):
                writer.add(batch)
                tally.add(kind, batch)
                hashed.update(batch.wire)
                rows += batch.rows
                self._progress(f"writing {kind.name}", rows, expected)
        return RowFile(
            kind=kind.name,
            name=path.name,
            rows=rows,
            bytes=path.stat().st_size,
            sha256=file_digest(path),
            rows_sha256=hashed.hexdigest(),
            columns=tuple(kind.columns),
        )

    def _prune(self, archive_id: str, manifest: Manifest) -> int:
        """Delete the rows that the archive holds; returns how many stayed. May be begun again at any time."""
        self._folder.check_files(archive_id, manifest)
        kept = 0
        with self._streams() as streams:
            for file in manifest.files:
                if file.kind == SESSIONS.name:
                    continue
                kind, done = next(one for one in PRUNED if one.name == file.kind), 0
                for batch in ahead(read_rows(self._folder, manifest, file)):
                    kept += self._prune_batch(streams, manifest, kind, batch)
                    done += batch.rows
                    self._progress(f"deleting {kind.name}", done, file.rows)
        self._client.run(finish_archive(archive_id, kept))
        self._report.rows += sum(file.rows for file in manifest.files if file.kind != SESSIONS.name) - kept
        self._report.rows_kept += kept
        return kept

    def _prune_batch(self, streams: RowStreams, manifest: Manifest, kind: RowKind, batch: RowBatch) -> int:
        """Delete the batch's rows, or those of each of its sessions that is as it was; returns how many stayed."""
        wire = format_named(manifest.format).wire
        claim = touch_archive(manifest.archive_id, "written")

        def prune(part: RowBatch) -> bool:
            return streams.prune(kind, _batch_keys(kind, part), part.wire, wire, claim, part.rows)

        if prune(batch):
            return 0
        return sum(part.rows for part in by_session(batch) if not prune(part))

    def _heal(self) -> None:
        """Finish or clear away what a run that ended here left; the lock says that none is at work."""
        for archive_id in self._folder.left(WRITING):
            self._folder.abandon_draft(archive_id)
        for archive_id in self._folder.left(DELETED):
            self._finish_deleting(archive_id)
        # First, since an erasing that was cut short has left a manifest that the catalogue does not know.
        for place, forgotten in self._client.run(find_unerased()).items():
            try:
                self._report.erased += erase_in(self._client, self._folder, {place: forgotten})
            except SessionContinuityError as error:
                self._report.problems.append(error.message)
        for archive in self._client.run(list_unfinished(self._folder.host, str(self._folder.path))):
            try:
                self._heal_one(archive)
            except SessionContinuityError as error:
                self._report.problems.append(error.message)

    def _heal_one(self, archive: Archive) -> None:
        if archive.state == "writing":
            self._folder.abandon(archive.archive_id)
            self._client.run(drop_begun_archive(archive.archive_id))
            return
        manifest = self._folder.manifest(archive.archive_id, archive.manifest_sha256)
        self._prune(archive.archive_id, manifest)
        self._report.archives.append(archive.archive_id)

    def _delete_expired(self, project: str, policy: RetentionPolicy) -> None:
        for archive in self._client.run(find_expired_archives(project, policy)):
            if self._folder.is_here(archive):
                self._folder.set_aside(archive.archive_id)
                self._finish_deleting(archive.archive_id)

    def _finish_deleting(self, archive_id: str) -> None:
        try:
            deleted = self._client.run(get_archive(archive_id)).state == "deleted"
        except NotFound:
            deleted = False
        if not deleted and not self._client.run(record_archive_deleted(archive_id)):
            self._folder.take_back(archive_id)
            return
        self._folder.remove_set_aside(archive_id)
        self._report.deleted.append(archive_id)

    def _streams(self) -> AbstractContextManager[RowStreams]:
        settings = self._client.settings
        return open_row_streams(choose_server(settings).conninfo(settings.deadline_seconds), STEP_SECONDS)


def _untold(_step: str, _done: int, _all: int) -> None:
    """Progress that nobody asked for."""


class _Tally:
    """Counts what was written of each session."""

    def __init__(self, instance_ids: Sequence[str]) -> None:
        self._instance_ids = instance_ids
        self._counts: dict[str, Counter[str]] = {kind.name: Counter() for kind in PRUNED}
        self._firsts: dict[str, int] = {}
        self._lasts: dict[str, int] = {}

    def add(self, kind: RowKind, batch: RowBatch) -> None:
        if kind is SESSIONS:
            return
        owners = batch.values("instance_id")
        self._counts[kind.name].update(owners)
        if kind is EVENTS:
            for owner, number in zip(owners, batch.values("sequence_num"), strict=True):
                self._firsts.setdefault(owner, number)
                self._lasts[owner] = number

    def sessions(self, archive_id: str) -> tuple[ArchivedSession, ...]:
        return tuple(
            ArchivedSession(
                archive_id=archive_id,
                instance_id=one,
                events=self._counts["events"][one],
                commands=self._counts["commands"][one],
                checkpoints=self._counts["checkpoints"][one],
                first_sequence_num=self._firsts.get(one),
                last_sequence_num=self._lasts.get(one),
            )
            for one in self._instance_ids
        )


def _chosen_rows(kind: RowKind, one: Archivable) -> int:
    if kind is EVENTS:
        return one.events
    if kind is COMMANDS:
        return len(one.commands)
    return len(one.checkpoints) if kind is CHECKPOINTS else 1


def _chosen_keys(kind: RowKind, chosen: Sequence[Archivable]) -> dict[str, Any]:
    """What to stream of the sessions: the parameters of the kind's statement."""
    if kind is EVENTS:
        cut = [one for one in chosen if one.events]
        return {
            "instance_ids": [one.instance_id for one in cut],
            "firsts": [one.first for one in cut],
            "lasts": [one.last for one in cut],
        }
    if kind is COMMANDS:
        return {"ids": [number for one in chosen for number in one.commands]}
    if kind is CHECKPOINTS:
        return {"ids": [number for one in chosen for number in one.checkpoints]}
    return {"instance_ids": [one.instance_id for one in chosen]}


def _batch_keys(kind: RowKind, batch: RowBatch) -> dict[str, Any]:
    """The parameters that stream and delete the very rows of a batch."""
    owners = batch.values("instance_id")
    if kind is not EVENTS:
        return {"instance_ids": owners, "ids": batch.values(kind.key)}
    ends: dict[str, list[int]] = {}
    for owner, number in zip(owners, batch.values("sequence_num"), strict=True):
        ends.setdefault(owner, [number, number])[1] = number
    return {
        "instance_ids": list(ends),
        "firsts": [first for first, _ in ends.values()],
        "lasts": [last for _, last in ends.values()],
    }
