"""The manifest of an archive: what is in it, so that every file can be proved, and a missing one is missed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from session_continuity.domain.archives import ArchivedSession
from session_continuity.domain.errors import Refused
from session_continuity.postgres.row_kinds import KINDS, KindName

NAME = "manifest.json"
VERSION = 1
_HASH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFile:
    """One file. `sha256` is of its bytes; `rows_sha256` of its rows in their order as PostgreSQL writes them,
    which stays the same when the file is packed otherwise."""

    kind: KindName
    name: str
    rows: int
    bytes: int
    sha256: str
    rows_sha256: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an archive holds. `schema` is the latest migration of the database that it was taken from."""

    archive_id: str
    project: str
    created_at: str
    format: str
    schema: str
    revision: int
    sessions: tuple[ArchivedSession, ...]
    files: tuple[RowFile, ...]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    def rows(self) -> dict[str, int]:
        """How many rows there are of each kind."""
        return {file.kind: file.rows for file in self.files}

    def encode(self) -> bytes:
        sessions = [
            {name: getattr(one, name) for name in _SESSION_FIELDS if name != "archive_id"} for one in self.sessions
        ]
        document = {
            "version": VERSION,
            **{
                name: getattr(self, name)
                for name in self.__dataclass_fields__
                if name not in ("sessions", "files")
            },
            "counts": self.rows(),
            "files": [asdict(file) for file in self.files],
            "sessions": sessions,
        }
        return json.dumps(document, indent=1).encode() + b"\n"


_SESSION_FIELDS = ("archive_id", "instance_id", "events", "commands", "checkpoints", "first_sequence_num",
                   "last_sequence_num")  # fmt: skip


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def decode_manifest(content: bytes, archive_id: str) -> Manifest:
    """The manifest from its bytes, every part of it checked: a file's name is no path. Raises Refused
    (archive_damaged)."""
    try:
        document = cast("dict[str, Any]", json.loads(content))
        if document["version"] != VERSION:
            raise Refused(
                f"archive {archive_id} has version {document['version']!r}; this release reads {VERSION}",
                code="archive_version",
            )
        return Manifest(
            **{
                name: _text(document[name]) for name in ("archive_id", "project", "created_at", "format", "schema")
            },
            revision=_number(document["revision"]),
            sessions=tuple(_session(archive_id, one) for one in cast("Sequence[Any]", document["sessions"])),
            files=tuple(_file(one) for one in cast("Sequence[Any]", document["files"])),
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Refused(f"the manifest of archive {archive_id} is damaged", code="archive_damaged") from None


def _session(archive_id: str, entry: dict[str, Any]) -> ArchivedSession:
    first, last = entry["first_sequence_num"], entry["last_sequence_num"]
    return ArchivedSession(
        archive_id=archive_id,
        instance_id=_text(entry["instance_id"]),
        events=_number(entry["events"]),
        commands=_number(entry["commands"]),
        checkpoints=_number(entry["checkpoints"]),
        first_sequence_num=None if first is None else _number(first),
        last_sequence_num=None if last is None else _number(last),
    )


def _file(entry: dict[str, Any]) -> RowFile:
    kind = KINDS[entry["kind"]]
    name, columns = _text(entry["name"]), tuple(cast("Sequence[str]", entry["columns"]))
    if "/" in name or "\\" in name or name.startswith(".") or not set(columns) <= set(kind.columns):
        raise ValueError(name)
    hashes = {field: _text(entry[field]) for field in ("sha256", "rows_sha256")}
    if any(len(value) != _HASH for value in hashes.values()):
        raise ValueError(name)
    return RowFile(
        kind=kind.name,
        name=name,
        rows=_number(entry["rows"]),
        bytes=_number(entry["bytes"]),
        columns=columns,
        **hashes,
    )


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("no text")
    return value


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("no number")
    return value
