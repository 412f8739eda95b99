"""Parts of ours in files of others: planned as edits, shown, applied and undone.

Nothing is written that was not shown before. What a file held before is kept in the data folder, with hashes, so
that undoing restores it byte for byte; when someone else has changed the file since, or something of ours stays in
it, only the parts are taken out.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

from session_continuity.capture.setup.settings_files import (
    Backup,
    Backups,
    FileEdit,
    decode,
    read_file,
    sha256,
    write_edit,
)
from session_continuity.domain.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a client's file gets from us: how it is put into the text and taken out of it. `within`: the file may
    not lead out of this folder."""

    name: str
    client: str
    path: Path
    within: Path | None
    install: Callable[[str], str]
    uninstall: Callable[[str], str]

    def read(self) -> tuple[Path, bytes | None]:
        """Where the file really lies, and what it holds. Raises Refused."""
        return read_file(self.path, within=self.within)

    def is_current(self) -> bool:
        """Whether the part is there as it would be written today. Raises InvalidInput, Refused."""
        _, content = self.read()
        return _with([self], content) == content


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedEdit:
    """The edit of one client's file, and what the user should know about it. `ours` are all parts that the file
    may have; `is_last`: nothing of ours is left in it."""

    harness: str
    edit: FileEdit
    notes: Sequence[str] = ()
    ours: Sequence[Part] = ()
    is_last: bool = True

    def as_json(self) -> dict[str, Any]:
        """JSON values but for the path."""
        edit = self.edit
        return {
            "harness": self.harness,
            "file": edit.path,
            "action": edit.action,
            "diff": edit.diff(),
            "notes": list(self.notes),
        }


class FileParts:
    """Plans, applies and undoes; `folder` keeps what the files held before."""

    def __init__(self, folder: Path) -> None:
        self._backups = Backups(folder)

    def plan(self, parts: Sequence[Part], known: Sequence[Part]) -> list[PlannedEdit]:
        """The edits that put these parts in, one for each file; `known` are all that may be in these files. Raises
        InvalidInput or Refused naming a file that can't be edited; planning changes nothing."""
        planned: list[PlannedEdit] = []
        for path, asked in _by_file(parts).items():
            target, before = asked[0].read()
            edit = FileEdit(path=path, target=target, before=before, after=_with(asked, before))
            planned.append(PlannedEdit(harness=asked[0].client, edit=edit, ours=_of_file(path, known)))
        return planned

    def plan_undo(self, parts: Sequence[Part], known: Sequence[Part]) -> list[PlannedEdit]:
        """The edits that take these parts out, one for each file. Raises as `plan`."""
        return [self._plan_undo(path, asked, known) for path, asked in _by_file(parts).items()]

    def apply(self, planned: Sequence[PlannedEdit]) -> None:
        """Carry edits out, each whole or not at all. Raises Refused when a file is not what was planned on."""
        for each in planned:
            if each.edit.action != "keep":
                backup = self._backup(each)
                self._backups.keep(backup)
                made = write_edit(each.edit)
                if made:
                    self._backups.keep(replace(backup, folders=[*backup.folders, *made]))

    def undo(self, planned: Sequence[PlannedEdit]) -> None:
        """Carry the edits of `plan_undo` out, and forget the backup of a file that has nothing of ours any more.
        Raises Refused as `apply`."""
        for each in reversed(planned):  # a folder goes with the file that it was made for
            backup = self._backups.find(each.edit.path)
            if each.edit.action != "keep":
                write_edit(each.edit)
            if each.is_last:
                self._backups.drop(each.edit.path)
            elif backup and backup.is_of(each.edit.before):
                self._backups.keep(replace(backup, after_sha256=sha256(each.edit.after)))

    def _plan_undo(self, path: Path, asked: Sequence[Part], known: Sequence[Part]) -> PlannedEdit:
        target, before = asked[0].read()
        ours = _of_file(path, known)
        backup = self._backups.find(path)
        notes: list[str] = []
        made_by_us = backup is not None and backup.before is None
        if before is None:
            after, is_last = None, True
        else:
            after = _without(asked, before, made_by_us=made_by_us)
            rest = _without(ours, before, made_by_us=made_by_us)
            is_last = after == rest
            if is_last and backup:
                if backup.is_of(before):
                    after = backup.before
                elif after != before:
                    notes.append(
                        f"{path} was changed after it was set up, so it is not restored from the backup;"
                        " only our entries are taken out"
                    )
        edit = FileEdit(path=path, target=target, before=before, after=after)
        return PlannedEdit(harness=asked[0].client, edit=edit, notes=notes, ours=ours, is_last=is_last)

    def _backup(self, planned: PlannedEdit) -> Backup:
        """What undoing should restore: the file as it was before our first edit, but with others' changes."""
        edit = planned.edit
        earlier = self._backups.find(edit.path)
        if earlier and earlier.is_of(edit.before):
            return replace(earlier, after_sha256=sha256(edit.after))
        before = edit.before
        if before is not None:
            before = _without(planned.ours, before, made_by_us=False)
        return Backup(path=edit.path, before=before, after_sha256=sha256(edit.after), folders=[])


def _by_file(parts: Iterable[Part]) -> dict[Path, list[Part]]:
    files: dict[Path, list[Part]] = {}
    for part in parts:
        files.setdefault(part.path, []).append(part)
    return files


def _of_file(path: Path, parts: Iterable[Part]) -> list[Part]:
    return [part for part in parts if part.path == path]


def _with(parts: Sequence[Part], content: bytes | None) -> bytes:
    with naming(parts[0].path):
        return reduce(lambda text, part: part.install(text), parts, decode(content)).encode()


def _without(parts: Sequence[Part], content: bytes, *, made_by_us: bool) -> bytes | None:
    with naming(parts[0].path):
        text = reduce(lambda text, part: part.uninstall(text), parts, decode(content))
    if (not text and content) or (made_by_us and "".join(text.split()) in ("", "{}")):
        return None
    return text.encode()


@contextmanager
def naming(path: Path) -> Generator[None]:
    """Errors about a text name its file."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput(
            f"{path} can't be edited, and nothing was changed: {error.message}",
            code=error.stable_code,
            file=str(path),
        ) from None
