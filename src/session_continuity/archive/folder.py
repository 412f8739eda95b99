"""The folder of the archives: one folder for each, and one process at work in them at a time.

`ID.writing` is being made and worth nothing yet, `ID` is whole, `ID.deleted` is about to go. What counts is
flushed to disk before it gets its name.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from session_continuity.archive import manifest as manifests
from session_continuity.archive.manifest import Manifest, RowFile, decode_manifest, digest
from session_continuity.domain.errors import InvalidInput, Refused
from session_continuity.settings import Settings

WRITING, DELETED = ".writing", ".deleted"
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,119}")
_CHUNK = 2**20


class Catalogued(Protocol):
    """What the catalogue says of an archive's place, in any of its records."""

    @property
    def archive_id(self) -> str: ...

    @property
    def host(self) -> str: ...

    @property
    def folder(self) -> str: ...


class ArchiveFolder:
    """The archives in one folder of this machine."""

    def __init__(self, settings: Settings) -> None:
        self.path = settings.archive_folder or settings.home / "archive"
        self.host = socket.gethostname()

    def of(self, archive_id: str) -> Path:
        """Where an archive is. Raises InvalidInput for what is no id: an id never leads out of the folder."""
        if not _ID.fullmatch(archive_id):
            raise InvalidInput(f"{archive_id[:80]!r} is no archive id", code="archive_id")
        return self.path / archive_id

    def is_here(self, archive: Catalogued) -> bool:
        """Whether an archive lies in this folder: by the catalogue, or since the folder, or its machine, has
        another name now than when the archive was made."""
        is_told = (archive.host, archive.folder) == (self.host, str(self.path))
        return is_told or (self.of(archive.archive_id) / manifests.NAME).is_file()

    @contextmanager
    def locked(self) -> Generator[None]:
        """Nobody else works in the folder meanwhile. Raises Refused (archive_busy) at once when someone does."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Refused(
                    f"another process is at work in {self.path}; try again when it has ended", code="archive_busy"
                ) from None
            yield

    def begin(self, archive_id: str) -> Path:
        """A new folder to write an archive into."""
        place = self.of(archive_id).with_suffix(WRITING)
        place.mkdir(mode=0o700)
        return place

    def complete(self, archive_id: str, manifest: Manifest) -> str:
        """Give the written archive its name, everything in it being on disk. Returns the manifest's SHA-256."""
        place = self.of(archive_id).with_suffix(WRITING)
        content = manifest.encode()
        (place / manifests.NAME).write_bytes(content)
        for file in place.iterdir():
            flush(file)
        flush(place)
        place.rename(self.of(archive_id))
        flush(self.path)
        return digest(content)

    def replace_manifest(self, archive_id: str, manifest: Manifest) -> str:
        """Switch an archive to other files, which lie beside the present ones, and remove those."""
        place = self.of(archive_id)
        content = manifest.encode()
        draft = place / f"{manifests.NAME}{WRITING}"
        draft.write_bytes(content)
        for file in place.iterdir():
            flush(file)
        draft.rename(place / manifests.NAME)
        flush(place)
        self.remove_strays(archive_id, manifest)
        return digest(content)

    def remove_strays(self, archive_id: str, manifest: Manifest) -> None:
        """Remove what the manifest does not name, such as files with content that was erased, from the disk."""
        place = self.of(archive_id)
        named = {manifests.NAME, *(file.name for file in manifest.files)}
        for file in place.iterdir():
            if file.name not in named:
                file.unlink()
        flush(place)

    def abandon(self, archive_id: str) -> None:
        """Remove an archive that no row was deleted for."""
        place = self.of(archive_id)
        for folder in (place.with_suffix(WRITING), place):
            shutil.rmtree(folder, ignore_errors=True)

    def abandon_draft(self, archive_id: str) -> None:
        """Remove what was never whole."""
        shutil.rmtree(self.of(archive_id).with_suffix(WRITING), ignore_errors=True)

    def set_aside(self, archive_id: str) -> None:
        """The first step of deleting an archive."""
        place = self.of(archive_id)
        if place.exists():
            place.rename(place.with_suffix(DELETED))
            flush(self.path)

    def take_back(self, archive_id: str) -> None:
        """Undo set_aside."""
        place = self.of(archive_id)
        place.with_suffix(DELETED).rename(place)
        flush(self.path)

    def remove_set_aside(self, archive_id: str) -> None:
        """The last step of deleting an archive."""
        shutil.rmtree(self.of(archive_id).with_suffix(DELETED), ignore_errors=True)

    def left(self, suffix: str) -> list[str]:
        """Ids of the archives with a folder of this suffix; with none, of the whole ones."""
        if not self.path.is_dir():
            return []
        names = [entry.name for entry in self.path.iterdir() if entry.is_dir()]
        ids = [name.removesuffix(suffix) for name in names if name.endswith(suffix)]
        return sorted(one for one in ids if _ID.fullmatch(one))

    def manifest(self, archive_id: str, sha256: str | None = None) -> Manifest:
        """The archive's manifest. Raises Refused (archive_missing, archive_damaged) when it is not there or not
        the one that the catalogue knows by `sha256`."""
        try:
            content = (self.of(archive_id) / manifests.NAME).read_bytes()
        except FileNotFoundError:
            raise Refused(f"archive {archive_id} is not in {self.path}", code="archive_missing") from None
        except OSError as error:
            raise Refused(f"archive {archive_id} can't be read: {error}", code="archive_damaged") from None
        if sha256 is not None and digest(content) != sha256:
            raise Refused(
                f"the manifest of archive {archive_id} is not the one in the catalogue", code="archive_damaged"
            )
        return decode_manifest(content, archive_id)

    def file_problem(self, archive_id: str, file: RowFile) -> str | None:
        """What is wrong with a file's bytes, or None."""
        path = self.of(archive_id) / file.name
        try:
            size = path.stat().st_size
            if size != file.bytes:
                return f"{file.name} has {size:,} bytes, not {file.bytes:,}"
            return None if file_digest(path) == file.sha256 else f"{file.name} was changed: its SHA-256 differs"
        except FileNotFoundError:
            return f"{file.name} is missing"
        except OSError as error:
            return f"{file.name} can't be read: {error.strerror}"

    def check_files(self, archive_id: str, manifest: Manifest) -> None:
        """Raises Refused (archive_damaged) unless every file is, byte for byte, the one that was written."""
        problems = [problem for file in manifest.files if (problem := self.file_problem(archive_id, file))]
        if problems:
            raise Refused(f"archive {archive_id} is damaged: {'; '.join(problems)}", code="archive_damaged")


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(path: Path) -> None:
    """What the file or folder holds is on disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
