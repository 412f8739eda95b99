"""The key of the tags that redaction leaves: made once, kept in the data folder for its owner alone."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

FILE_NAME = "redaction.key"
_BYTES = 32


def load_tag_key(home: Path) -> bytes:
    """The key of a data folder, made when there is none; processes that make it at once get the same one. Raises
    OSError when it can't be read or written, or is open to others and can't be closed."""
    file = home / FILE_NAME
    with suppress(FileNotFoundError):
        return _read(file)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = home / f".{FILE_NAME}.{os.getpid()}-{secrets.token_hex(4)}"
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as made:
            made.write(secrets.token_bytes(_BYTES))
            made.flush()
            os.fsync(made.fileno())
        with suppress(FileExistsError):
            os.link(unfinished, file)
    finally:
        unfinished.unlink()
    return _read(file)


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        mode = os.fstat(opened.fileno()).st_mode
        if stat.S_IMODE(mode) & 0o077:
            os.fchmod(opened.fileno(), 0o600)
        key = opened.read(_BYTES + 1)
    if len(key) != _BYTES:
        raise OSError(f"{file} is not a key of {_BYTES} bytes; remove it, and a new one is made")
    return key
