"""Files of others, changed with care: read through links, replaced at once and whole, kept as they were before."""

from __future__ import annotations

import base64
import difflib
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from session_continuity.domain.errors import InvalidInput, Refused

_LARGEST = 16 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEdit:
    """A file before and after; None where there is no file. `target` is where it really lies, behind links."""

    path: Path
    target: Path
    before: bytes | None
    after: bytes | None

    @property
    def action(self) -> str:
        """create, change, remove or keep."""
        if self.before == self.after:
            return "keep"
        if self.before is None:
            return "create"
        return "remove" if self.after is None else "change"

    def diff(self) -> str:
        """The edit as a unified diff; carriage returns are shown as they are."""
        old, new = (
            (content or b"").decode("utf-8", "backslashreplace").splitlines(keepends=True)
            for content in (self.before, self.after)
        )
        lines = difflib.unified_diff(
            old,
            new,
            "/dev/null" if self.before is None else str(self.path),
            "/dev/null" if self.after is None else str(self.path),
        )
        return "".join(
            line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
        )


def read_file(path: Path, *, within: Path | None = None) -> tuple[Path, bytes | None]:
    """Where a file really lies, and what it holds, None when there is none. Raises Refused when a link leads out
    of `within`, nowhere, or to what is no file of ours."""
    target = Path(os.path.realpath(path))
    if within is not None and not target.is_relative_to(os.path.realpath(within)):
        raise Refused(f"{path} leads out of {within}, to {target}; nothing was changed", code="settings_link")
    try:
        found = target.stat()
    except FileNotFoundError:
        if path.is_symlink() and not target.parent.is_dir():
            raise Refused(
                f"{path} is a link to {target}, where there is no folder", code="settings_link"
            ) from None
        return target, None
    except OSError as error:
        raise Refused(f"{path} can't be read: {error.strerror}", code="settings_unreadable") from None
    if not stat.S_ISREG(found.st_mode):
        raise Refused(f"{path} is not a regular file; nothing was changed", code="settings_unreadable")
    if found.st_size > _LARGEST:
        raise Refused(f"{path} is larger than {_LARGEST:,} bytes; nothing was changed", code="settings_unreadable")
    try:
        return target, target.read_bytes()
    except OSError as error:
        raise Refused(f"{path} can't be read: {error.strerror}", code="settings_unreadable") from None


def decode(content: bytes | None) -> str:
    """The text of a settings file; no file is an empty one. Raises InvalidInput when it is not UTF-8."""
    try:
        return (content or b"").decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"it is not UTF-8: {error}", code="settings_not_utf8") from None


def write_edit(edit: FileEdit) -> list[Path]:
    """Carry an edit out: the file is replaced as a whole, its mode and owner kept, a link to it stays a link.
    Returns the folders that had to be made. Raises Refused when the file is not what the edit was planned on."""
    made: list[Path] = []
    if read_file(edit.path) != (edit.target, edit.before):
        raise Refused(f"{edit.path} was changed meanwhile; look at the plan again", code="settings_changed")
    if edit.after is None:
        edit.target.unlink()
    else:
        made = _make_folders(edit.target.parent)
        _replace(edit.target, edit.after)
    _flush_folder(edit.target.parent)
    return made


def _replace(target: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            with suppress(FileNotFoundError):
                found = target.stat()
                if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(handle, found.st_uid, found.st_gid)
                os.fchmod(handle, stat.S_IMODE(found.st_mode))
            file.write(content)
            file.flush()
            os.fsync(handle)
        os.replace(name, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise


def _make_folders(folder: Path) -> list[Path]:
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700)
    return missing


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What a file held before we first changed it, the hash of what we made of it, and the folders made for it."""

    path: Path
    before: bytes | None
    after_sha256: str | None
    folders: Sequence[Path]

    def is_of(self, content: bytes | None) -> bool:
        """Whether the file still is what we made of it."""
        return sha256(content) == self.after_sha256


class Backups:
    """The folder that keeps them: one file for each settings file, named by the hash of its path."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, path: Path) -> Backup | None:
        """The backup of a file. Raises Refused when it is damaged."""
        file = self._file(path)
        try:
            kept = json.loads(file.read_bytes())
            content = kept["before"]
            before = None if content is None else base64.b64decode(content, validate=True)
            if sha256(before) != kept["before_sha256"] or kept["path"] != str(path):
                raise ValueError("the hash does not match")
            return Backup(
                path=path,
                before=before,
                after_sha256=kept["after_sha256"],
                folders=[Path(each) for each in kept["folders"]],
            )
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(
                f"the backup {file} is damaged ({error}); remove it, and only our entries will be taken out",
                code="backup_damaged",
            ) from None

    def keep(self, backup: Backup) -> None:
        """Keep a backup, durably, in the place of an earlier one of that file."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = {
            "path": str(backup.path),
            "before": None if backup.before is None else base64.b64encode(backup.before).decode(),
            "before_sha256": sha256(backup.before),
            "after_sha256": backup.after_sha256,
            "folders": [str(each) for each in backup.folders],
        }
        _replace(self._file(backup.path), json.dumps(content, indent=2).encode())
        _flush_folder(self._folder)

    def drop(self, path: Path) -> None:
        """Forget the backup of a file, and remove the folders that were made for it and are empty."""
        backup = self.find(path)
        for folder in backup.folders if backup else ():
            with suppress(OSError):
                folder.rmdir()
        self._file(path).unlink(missing_ok=True)

    def _file(self, path: Path) -> Path:
        return self._folder / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:24]}.json"


def sha256(content: bytes | None) -> str | None:
    """The hash of a file's content, None for no file."""
    return None if content is None else hashlib.sha256(content).hexdigest()
