"""A process that forks one archiver for each line that it reads, `OPERATION FOLDER FORMAT`; that archiver kills
itself at that operation: a statement, a block of a COPY or a change of the file system. What is answered is the
signal or exit code, and how many operations a run that went through took."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
from psycopg import Connection, Copy, Cursor
from tests.archive.aged import open_client

from session_continuity.archive import folder as folders
from session_continuity.archive import parquet_files as _preloaded  # noqa: F401
from session_continuity.archive.archiving import run_archive


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


def archive(database: str, at: int, home: str, archive_format: str) -> int:
    """How many operations it took."""
    fuse = Fuse(at)
    guarded: tuple[tuple[Any, tuple[str, ...]], ...] = (
        (Connection, ("execute", "commit")),
        (Cursor, ("execute", "copy")),
        (Copy, ("read",)),
        (Path, ("mkdir", "rename", "unlink", "write_bytes")),
        (shutil, ("rmtree",)),
        (folders, ("flush",)),
    )
    for kind, names in guarded:
        for name in names:
            setattr(kind, name, fuse.guard(getattr(kind, name)))
    with open_client(database, Path(home), archive_format=archive_format) as client:
        run_archive(client)
    return fuse.operations


def main() -> None:
    pyarrow.set_cpu_count(1)
    for line in sys.stdin:
        at, home, archive_format = line.split()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writer, str(archive(sys.argv[1], int(at), home, archive_format)).encode())
            os._exit(0)
        os.close(writer)
        told = os.read(reader, 20).decode() or "0"
        os.close(reader)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), told, flush=True)


if __name__ == "__main__":
    main()
