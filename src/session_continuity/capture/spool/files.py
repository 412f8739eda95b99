"""The files of the spool: private, whole, and flushed where it matters."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

from session_continuity.domain.errors import InvalidInput, Refused

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND = 253_402_300_799


def check_private(folder: Path) -> None:
    """Raises Refused when the folder is not this user's alone."""
    at = folder.lstat()
    if not stat.S_ISDIR(at.st_mode):
        raise Refused(f"{folder} must be a folder and no link", code="spool_not_private")
    if at.st_uid != os.geteuid():
        raise Refused(f"{folder} belongs to another user; run this as its owner", code="spool_not_private")
    if stat.S_IMODE(at.st_mode) & 0o077:
        raise Refused(f"others can enter {folder}; run `chmod 700 {folder}`", code="spool_not_private")


def write_file(path: Path, payload: bytes, captured_at: datetime | None, flush: bool) -> None:
    """Make a private file, written at `captured_at`; with `flush` its content survives power loss."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(payload)
        while view:
            view = view[os.write(file, view) :]
        if captured_at is not None:
            nanoseconds = (captured_at - _EPOCH) // timedelta(microseconds=1) * 1_000
            os.utime(file, ns=(nanoseconds, nanoseconds))
        if flush:
            os.fsync(file)
    finally:
        os.close(file)


def flush_path(path: Path) -> None:
    """Let a file's content, or the names in a folder, survive power loss."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_file(path: Path, limit: int) -> tuple[bytes, datetime]:
    """A file of at most `limit` bytes and when it was written; no link, and nothing that could block is opened.
    Raises InvalidInput (record_not_a_file, payload_too_large), OSError."""
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(file, "rb") as opened:
        at = os.fstat(file)
        if not stat.S_ISREG(at.st_mode):
            raise InvalidInput(f"{path.name} is not a file", code="record_not_a_file")
        if at.st_size > limit:
            raise InvalidInput(
                f"{path.name} has {at.st_size:,} bytes; at most {limit:,} are read",
                code="payload_too_large",
            )
        return opened.read(), moment(at.st_mtime_ns)


def moment(nanoseconds: int) -> datetime:
    """A modification time; it may be anything, so it is kept within what a datetime can say."""
    return _EPOCH + timedelta(microseconds=min(max(nanoseconds, 0), _LAST_SECOND * 10**9) // 1_000)
