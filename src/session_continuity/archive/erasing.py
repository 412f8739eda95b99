"""Takes the rows of forgotten sessions out of the archives: their files are written anew without them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from session_continuity.archive.folder import ArchiveFolder, file_digest
from session_continuity.archive.manifest import Manifest, RowFile
from session_continuity.archive.reading import read_rows
from session_continuity.archive.row_files import format_named
from session_continuity.client import SessionContinuity
from session_continuity.domain.archives import SessionArchive, find_unerased, record_erased
from session_continuity.postgres.row_kinds import KINDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """The archives that hold nothing of the forgotten sessions any more, and those that still do, since they lie
    elsewhere."""

    archives: tuple[str, ...]
    elsewhere: tuple[SessionArchive, ...]


def erase_archived(client: SessionContinuity, instance_ids: Sequence[str]) -> Erased:
    """Erase forgotten sessions from the archives of this folder; erasing again changes nothing. Raises Refused
    (archive_busy, archive_missing, archive_damaged)."""
    folder = ArchiveFolder(client.settings)
    holding = client.run(find_unerased(instance_ids))
    elsewhere = tuple(place for place in holding if not folder.is_here(place))
    if len(elsewhere) == len(holding):
        return Erased(archives=(), elsewhere=elsewhere)
    with folder.locked():
        return Erased(archives=tuple(erase_in(client, folder, holding)), elsewhere=elsewhere)


def erase_in(
    client: SessionContinuity, folder: ArchiveFolder, holding: Mapping[SessionArchive, Sequence[str]]
) -> list[str]:
    """Erase forgotten sessions from the archives of a folder that is locked, as far as they hold any."""
    erased: list[str] = []
    for place, forgotten in holding.items():
        if not folder.is_here(place):
            continue
        # No comparison with the catalogue: an erasing that was cut short has changed the manifest before it.
        manifest = folder.manifest(place.archive_id)
        folder.check_files(place.archive_id, manifest)
        smaller = _without(folder, manifest, forgotten)
        sha256 = folder.replace_manifest(place.archive_id, smaller)
        client.run(
            record_erased(
                place.archive_id, forgotten, rows=smaller.rows(), size=smaller.bytes, manifest_sha256=sha256
            )
        )
        erased.append(place.archive_id)
    return erased


def _without(folder: ArchiveFolder, manifest: Manifest, forgotten: Sequence[str]) -> Manifest:
    revision = manifest.revision + 1
    files = tuple(_rewritten(folder, manifest, file, revision, forgotten) for file in manifest.files)
    sessions = tuple(one for one in manifest.sessions if one.instance_id not in forgotten)
    return replace(manifest, revision=revision, files=files, sessions=sessions)


def _rewritten(
    folder: ArchiveFolder, manifest: Manifest, file: RowFile, revision: int, forgotten: Sequence[str]
) -> RowFile:
    packed, kind = format_named(manifest.format), KINDS[file.kind]
    path = folder.of(manifest.archive_id) / f"{file.kind}-{revision}{packed.suffix}"
    hashed, rows = hashlib.sha256(), 0
    with packed.write(str(path), kind) as writer:
        for batch in read_rows(folder, manifest, file):
            rest = batch.only(forgotten, others=True)
            if rest.rows:
                writer.add(rest)
                hashed.update(rest.wire)
                rows += rest.rows
    return replace(
        file,
        name=path.name,
        rows=rows,
        bytes=path.stat().st_size,
        sha256=file_digest(path),
        rows_sha256=hashed.hexdigest(),
    )
