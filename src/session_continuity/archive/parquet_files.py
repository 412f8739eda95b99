"""Archives as Parquet with zstd, by pyarrow of the extra `archive`.

Numbers, times and truth values have their own types, everything else is the text that PostgreSQL wrote; so the CSV
that went in can be made again, byte for byte, and that is how a file is compared with the tables.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from session_continuity.archive.row_files import RowBatch, RowWriter
from session_continuity.postgres.row_kinds import RowKind
from session_continuity.postgres.row_streams import Wire

# pyarrow brings no types.
_arrow: Any = import_module("pyarrow")
_compute: Any = import_module("pyarrow.compute")
_csv: Any = import_module("pyarrow.csv")
_parquet: Any = import_module("pyarrow.parquet")

_LEVEL = 3
_JSON_COLUMNS = ("event_data", "metadata", "parameters", "result", "context_data", "work_state")
_TYPES: dict[str, Any] = {
    "text": _arrow.string(),
    "integer": _arrow.int64(),
    "time": _arrow.timestamp("us", "UTC"),
    "boolean": _arrow.bool_(),
}


class ArrowBatch:
    """Rows as columns."""

    def __init__(self, table: Any, wire: bytes | None = None) -> None:
        self._table, self._wire = table, wire

    @property
    def table(self) -> Any:
        return self._table

    @property
    def rows(self) -> int:
        return self._table.num_rows

    @property
    def wire(self) -> bytes:
        if self._wire is None:
            columns = [_as_postgres_writes(column) for column in self._table.columns]
            texts = _arrow.Table.from_arrays(columns, names=self._table.column_names)
            out = io.BytesIO()
            options = _csv.WriteOptions(include_header=False, quoting_style="all_valid", batch_size=4_096)
            _csv.write_csv(texts, out, options)
            self._wire = out.getvalue()
        return self._wire

    def values(self, column: str) -> list[Any]:
        return self._table.column(column).to_pylist()

    def only(self, instance_ids: Collection[str], *, others: bool = False) -> ArrowBatch:
        wanted = _arrow.array(list(instance_ids), _arrow.string())
        mask = _compute.is_in(self._table.column("instance_id"), value_set=wanted)
        return ArrowBatch(self._table.filter(_compute.invert(mask) if others else mask))

    def records(self) -> Iterator[dict[str, Any]]:
        for row in self._table.to_pylist():
            yield {name: _decoded(name, value) for name, value in row.items()}


def _as_postgres_writes(column: Any) -> Any:
    """A column as the text of PostgreSQL's CSV."""
    if _arrow.types.is_timestamp(column.type):
        # As times without a zone, which are in UTC then: looking the zone up for each of them is most of the work.
        text = _compute.cast(_compute.cast(column, _arrow.timestamp("us")), _arrow.string())
        for zeros_then_point in ("0", "."):
            text = _compute.ascii_rtrim(text, characters=zeros_then_point)
        return _compute.binary_join_element_wise(text, "+00", "")
    if _arrow.types.is_boolean(column.type):
        return _compute.if_else(column, "t", "f")
    return _compute.cast(column, _arrow.string())


def _decoded(name: str, value: Any) -> Any:
    if name in _JSON_COLUMNS and value is not None:
        try:
            return json.loads(value)
        except (RecursionError, ValueError):
            return {"unreadable_json_bytes": len(value)}
    return value


class _Writer:
    def __init__(self, parquet: Any) -> None:
        self._parquet = parquet

    def add(self, batch: RowBatch) -> None:
        assert isinstance(batch, ArrowBatch)  # noqa: S101
        self._parquet.write_table(batch.table, row_group_size=max(1, batch.rows))


class ParquetFiles:
    """The format. One row group for each batch."""

    name = "parquet"
    suffix = ".parquet"
    wire: Wire = "csv"

    def parse(self, kind: RowKind, wire: bytes) -> ArrowBatch:
        table = _csv.read_csv(
            io.BytesIO(wire),
            read_options=_csv.ReadOptions(
                column_names=list(kind.columns), block_size=len(wire) + 1, use_threads=False
            ),
            parse_options=_csv.ParseOptions(newlines_in_values=True),
            convert_options=_csv.ConvertOptions(
                column_types={name: _TYPES[of] for name, of in kind.columns.items()},
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                true_values=["t"],
                false_values=["f"],
            ),
        )
        return ArrowBatch(table.combine_chunks(), wire)

    @contextmanager
    def write(self, path: str, kind: RowKind) -> Generator[RowWriter]:
        schema = _arrow.schema([(name, _TYPES[of]) for name, of in kind.columns.items()])
        with (
            open(path, "wb") as file,
            _parquet.ParquetWriter(file, schema, compression="zstd", compression_level=_LEVEL) as parquet,
        ):
            yield _Writer(parquet)

    def read(self, path: str, kind: RowKind) -> Iterator[ArrowBatch]:  # noqa: ARG002
        with _parquet.ParquetFile(path) as parquet:
            for group in range(parquet.num_row_groups):
                yield ArrowBatch(parquet.read_row_group(group, use_threads=False))
