"""Archives without the extra: gzip JSON lines, each as PostgreSQL's row_to_json writes and reads it."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from session_continuity.archive.row_files import RowBatch, RowWriter
from session_continuity.postgres.row_kinds import RowKind
from session_continuity.postgres.row_streams import Wire, batches

_LEVEL = 6


class JsonBatch:
    """Lines, each with its end."""

    def __init__(self, lines: list[bytes]) -> None:
        self._lines = lines

    @property
    def rows(self) -> int:
        return len(self._lines)

    @property
    def wire(self) -> bytes:
        return b"".join(self._lines)

    def values(self, column: str) -> list[Any]:
        # Ids and numbers stand before all captured text and have nothing to escape, so a line need not be parsed:
        # one may be nested deeper than any parser goes.
        pattern = re.compile(rb'"%s":(?:"([^"\\]*)"|(-?\d+))' % column.encode())
        found = (pattern.search(line) for line in self._lines)
        return [match and (match[1].decode() if match[2] is None else int(match[2])) for match in found]

    def only(self, instance_ids: Collection[str], *, others: bool = False) -> JsonBatch:
        wanted = set(instance_ids)
        owners = self.values("instance_id")
        pairs = zip(self._lines, owners, strict=True)
        return JsonBatch([line for line, owner in pairs if (owner in wanted) is not others])

    def records(self) -> Iterator[dict[str, Any]]:
        for line in self._lines:
            try:
                yield json.loads(line)
            except (RecursionError, ValueError):
                yield {"unreadable_json_bytes": len(line)}


class _Writer:
    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream = stream

    def add(self, batch: RowBatch) -> None:
        self._stream.write(batch.wire)


class JsonLines:
    """The format."""

    name = "json-lines"
    suffix = ".jsonl.gz"
    wire: Wire = "json"

    def parse(self, kind: RowKind, wire: bytes) -> JsonBatch:  # noqa: ARG002
        return JsonBatch(wire.splitlines(keepends=True))

    @contextmanager
    def write(self, path: str, kind: RowKind) -> Generator[RowWriter]:  # noqa: ARG002
        # Without a time in the header, equal rows make equal files.
        with (
            open(path, "wb") as file,
            gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=file, mtime=0) as stream,
        ):
            yield _Writer(stream)

    def read(self, path: str, kind: RowKind) -> Iterator[JsonBatch]:
        with gzip.open(path, "rb") as lines:
            for chunk in batches(lines):
                yield self.parse(kind, chunk)
