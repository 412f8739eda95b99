"""A process that forks a worker for each line that it reads, `WORK OPERATION FOLDER FORMAT`; that worker kills
itself at that operation: a statement, a transaction's end, a block of a COPY or a change of the file system. What
is answered is the signal or exit code, and how many operations a work that went through took."""

from __future__ import annotations

import builtins
import gzip
import os
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow
from psycopg import Connection, Copy, Cursor, Transaction
from psycopg.sql import Composed
from pyarrow import parquet
from tests.archive.aged import open_client

from session_continuity import SessionContinuity
from session_continuity.archive import parquet_files as _preloaded  # noqa: F401
from session_continuity.archive.archiving import run_archive
from session_continuity.archive.erasing import erase_archived
from session_continuity.archive.folder import ArchiveFolder, digest
from session_continuity.archive.manifest import Manifest
from session_continuity.archive.restoring import restore_archive
from session_continuity.domain.archives import find_unerased, list_archives
from session_continuity.postgres.row_streams import RowStreams

GUARDED: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (Connection, ("commit",)),
    (Cursor, ("execute", "copy")),
    (Copy, ("_read_gen", "write")),
    (Transaction, ("__enter__", "__exit__")),
    (builtins, ("open",)),
    (parquet.ParquetWriter, ("write_table", "close")),
    (gzip.GzipFile, ("write", "close")),
    (Path, ("write_bytes",)),
    (os, ("mkdir", "rename", "unlink", "rmdir", "fsync")),
)


class Fuse:
    def __init__(self, at: int) -> None:
        self.left = at
        self.operations = 0

    def guard(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any, **options: Any) -> Any:
            if self.operations == self.left:
                os.kill(os.getpid(), signal.SIGKILL)
            self.operations += 1
            return operation(*arguments, **options)

        return guarded


def erase(client: SessionContinuity) -> None:
    """What `sessions forget` does when the tables hold nothing of the session any more."""
    erase_archived(client, sorted({one for held in client.run(find_unerased()).values() for one in held}))


def restore(client: SessionContinuity) -> None:
    for archive in client.run(list_archives()):
        restore_archive(client, archive)


def erase_told_first(client: SessionContinuity) -> None:
    """A control: the catalogue says that a session is erased before the archive's files are replaced."""
    replace, put_off = ArchiveFolder.replace_manifest, list[Callable[[], str]]()

    def later(folder: ArchiveFolder, archive_id: str, manifest: Manifest) -> str:
        put_off.append(partial(replace, folder, archive_id, manifest))
        return digest(manifest.encode())

    setattr(ArchiveFolder, "replace_manifest", later)  # noqa: B010
    erase(client)
    for replacing in put_off:
        replacing()


def expire_told_first(client: SessionContinuity) -> None:
    """A control: the catalogue says that an archive is deleted before its folder is set aside."""
    set_aside, remove = ArchiveFolder.set_aside, ArchiveFolder.remove_set_aside

    def nothing(_folder: ArchiveFolder, _archive_id: str) -> None:
        pass

    def both(folder: ArchiveFolder, archive_id: str) -> None:
        set_aside(folder, archive_id)
        remove(folder, archive_id)

    setattr(ArchiveFolder, "set_aside", nothing)  # noqa: B010
    setattr(ArchiveFolder, "remove_set_aside", both)  # noqa: B010
    run_archive(client)


def restore_in_pieces(client: SessionContinuity) -> None:
    """A control: each statement of restoring is committed by itself."""

    @contextmanager
    def no_transaction(_: RowStreams) -> Generator[None]:
        yield

    execute: Callable[..., Any] = Connection.execute

    def kept_tables(connection: Connection[Any], query: Any, *rest: Any) -> Any:
        if isinstance(query, Composed):
            query = query.as_string(connection).replace(" ON COMMIT DROP", "")
        return execute(connection, query, *rest)

    setattr(RowStreams, "transaction", no_transaction)  # noqa: B010
    setattr(Connection, "execute", kept_tables)  # noqa: B010
    restore(client)


WORKS: dict[str, Callable[[SessionContinuity], Any]] = {
    "archive": run_archive,
    "expire": run_archive,
    **{work.__name__: work for work in (erase, restore, erase_told_first, expire_told_first, restore_in_pieces)},
}


def work(database: str, name: str, at: int, home: str, archive_format: str) -> int:
    """How many operations it took."""
    fuse = Fuse(at)
    for kind, names in GUARDED:
        for guarded in names:
            setattr(kind, guarded, fuse.guard(getattr(kind, guarded)))
    with open_client(database, Path(home), archive_format=archive_format) as client:
        WORKS[name](client)
    return fuse.operations


def main() -> None:
    pyarrow.set_cpu_count(1)
    for line in sys.stdin:
        name, at, home, archive_format = line.split()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writer, str(work(sys.argv[1], name, int(at), home, archive_format)).encode())
            os._exit(0)
        os.close(writer)
        told = os.read(reader, 20).decode() or "0"
        os.close(reader)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), told, flush=True)


if __name__ == "__main__":
    main()
