"""Files of rows: what every format of an archive can do, and which one is at hand."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import Any, Protocol

from session_continuity.domain.errors import InvalidInput, Refused
from session_continuity.postgres.row_kinds import RowKind
from session_continuity.postgres.row_streams import Wire


class RowBatch(Protocol):
    """Some rows in order. `wire` are their bytes as PostgreSQL writes and reads them."""

    @property
    def rows(self) -> int: ...

    @property
    def wire(self) -> bytes: ...

    def values(self, column: str) -> list[Any]:
        """A column that holds ids or numbers."""
        ...

    def only(self, instance_ids: Collection[str], *, others: bool = False) -> RowBatch:
        """The rows of these sessions, or all but theirs."""
        ...

    def records(self) -> Iterator[dict[str, Any]]:
        """The rows for people and programs: JSON columns as values, the others as their file has them."""
        ...


class RowWriter(Protocol):
    def add(self, batch: RowBatch) -> None: ...


class RowFormat(Protocol):
    """A format of files. What `read` gives has, byte for byte, the wire that was parsed."""

    @property
    def name(self) -> str: ...

    @property
    def suffix(self) -> str: ...

    @property
    def wire(self) -> Wire: ...

    def parse(self, kind: RowKind, wire: bytes) -> RowBatch: ...

    def write(self, path: str, kind: RowKind) -> AbstractContextManager[RowWriter]: ...

    def read(self, path: str, kind: RowKind) -> Iterator[RowBatch]: ...


def ahead(found: Iterator[RowBatch]) -> Generator[RowBatch]:
    """The batches, the next one always being read while the caller works on its own."""

    def fetch() -> RowBatch | None:
        batch = next(found, None)
        if batch is not None:
            _ = batch.wire
        return batch

    with ThreadPoolExecutor(1) as thread:
        pending = thread.submit(fetch)
        while (batch := pending.result()) is not None:
            pending = thread.submit(fetch)
            yield batch


def by_session(batch: RowBatch) -> list[RowBatch]:
    """The batch, one session at a time."""
    return [batch.only((instance_id,)) for instance_id in dict.fromkeys(batch.values("instance_id"))]


def format_named(name: str) -> RowFormat:
    """The format of this name; `auto` is Parquet where pyarrow is installed, else JSON lines. Raises Refused
    (extra_missing), InvalidInput."""
    if name == "auto":
        name = "parquet" if find_spec("pyarrow") else "json-lines"
    if name == "parquet":
        if not find_spec("pyarrow"):
            raise Refused(
                "this archive is Parquet, which needs the extra: pip install 'session-continuity[archive]'",
                code="extra_missing",
            )
        from session_continuity.archive.parquet_files import ParquetFiles

        return ParquetFiles()
    if name == "json-lines":
        from session_continuity.archive.json_lines import JsonLines

        return JsonLines()
    raise InvalidInput(f"there is no archive format {name[:80]!r}", code="archive_format")
