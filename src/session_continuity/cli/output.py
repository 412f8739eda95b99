"""Answers on standard output: JSON for programs, tables and text for people; notes on standard error.

Every string that people see passes `printable`, since captured text is hostile input for a terminal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from typing import Any, TextIO

import click

from session_continuity.cli.failures import READER_GONE
from session_continuity.domain.text import printable, printable_lines, shorten

CELL = 80
"""Most characters of a table's cell."""


def write_json(value: object) -> None:
    """Print the one JSON document: compact for programs, indented on a terminal."""
    _write(json_text(value, indented=is_terminal(sys.stdout)))


def json_text(value: object, *, indented: bool = False) -> str:
    """JSON without any character that a terminal could act on."""
    import orjson

    option = orjson.OPT_PASSTHROUGH_DATACLASS | (orjson.OPT_INDENT_2 if indented else 0)
    try:
        text = orjson.dumps(value, default=_plain, option=option).decode()
    except TypeError:
        from session_continuity.domain.payload import storable

        text = orjson.dumps(storable(_deep(value)), default=_plain, option=option).decode()
    if not text.isascii() or "\x7f" in text:
        import json

        for character in set(text):
            if character > "~" and printable(character) != character:
                text = text.replace(character, json.dumps(character)[1:-1])
    return text.replace("\x7f", "\\u007f")


def _deep(value: Any) -> Any:
    """The value with its records as objects, before what JSON can't hold is mended."""
    if hasattr(value, "as_json"):
        return _deep(value.as_json())
    if hasattr(value, "_asdict"):
        return _deep(value._asdict())
    if isinstance(value, dict):
        return {name: _deep(item) for name, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple):
        return [_deep(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def _plain(value: Any) -> Any:
    if hasattr(value, "as_json"):
        return value.as_json()
    if hasattr(value, "_asdict"):
        return value._asdict()
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, set | frozenset):
        return sorted(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, Mapping):
        return dict(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, os.PathLike):
        return os.fspath(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    raise TypeError(f"{type(value).__name__} has no JSON form")


def write_text(text: str) -> None:
    """Print text of several lines."""
    _write("\n".join(printable_lines(text)))


def write_note(text: str) -> None:
    """Say something beside the answer, on standard error."""
    click.echo("\n".join(printable_lines(text)), err=True)


def log_to_stderr() -> None:
    """Let what services log stand beside the answer, too: one JSON object in a line, as in the server's log."""
    import structlog

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )


def write_error(message: str) -> None:
    """Say on standard error what went wrong."""
    lines = printable_lines(message)
    colour = is_terminal(sys.stderr) and not os.environ.get("NO_COLOR")
    click.echo(
        "\n".join([(click.style("error:", fg="red") if colour else "error:") + f" {lines[0]}", *lines[1:]]),
        err=True,
    )


def write_fields(fields: Mapping[str, object]) -> None:
    """Print one record: a name and its value on each line, without what is unknown."""
    known = {name: _lines(value) for name, value in fields.items() if value not in (None, "", {}, [], ())}
    width = max((len(name) for name in known), default=0)
    shown: list[str] = []
    for name, lines in known.items():
        shown.append(f"{name:<{width}}  {lines[0]}")
        shown += [" " * (width + 2) + line for line in lines[1:]]
    _write("\n".join(shown))


def write_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, nothing: str) -> None:
    """Print rows under their columns; says `nothing` on standard error when there are none."""
    cells = [[cell(value) for value in row] for row in rows]
    if not cells:
        write_note(nothing)
    elif is_terminal(sys.stdout):
        _write(_drawn(columns, cells))
    else:
        widths = [max(len(row[place]) for row in (columns, *cells)) for place in range(len(columns))]
        _write("\n".join(_aligned(row, widths) for row in ([name.upper() for name in columns], *cells)))


def cell(value: object) -> str:
    """A value as one short line."""
    return printable(shorten(" ".join(_text(value)[: 10 * CELL].split()), CELL)) or "-"


def is_terminal(stream: TextIO) -> bool:
    """Whether a person reads this stream on a terminal that can draw."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _text(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, datetime):
        return value.astimezone().isoformat(" ", "seconds")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict | list | tuple):
        return json_text(value)  # pyright: ignore[reportUnknownArgumentType]
    return str(value)


def _lines(value: object) -> list[str]:
    return printable_lines(_text(value))


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def _drawn(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    from io import StringIO

    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, header_style="none" if os.environ.get("NO_COLOR") else "bold"
    )
    for place, name in enumerate(columns):
        table.add_column(name, no_wrap=True, overflow="ellipsis", min_width=None if place else len(cells[0][0]))
    for row in cells:
        table.add_row(*(Text(text) for text in row))
    drawing = StringIO()
    Console(file=drawing, force_terminal=True, width=_width()).print(table)
    return drawing.getvalue().rstrip("\n")


def _width() -> int:
    import shutil

    return shutil.get_terminal_size().columns


def _write(text: str) -> None:
    """The one place that writes an answer: at once, in UTF-8, quiet when the reader has gone."""
    try:
        stream = getattr(sys.stdout, "buffer", None)
        if stream is None:
            sys.stdout.write(text + "\n")
        else:
            sys.stdout.flush()
            stream.write(text.encode("utf-8", "backslashreplace") + b"\n")
            stream.flush()
    except OSError as error:
        # What is still in the buffer would be tried again at the end of the process, and change its exit code.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise click.exceptions.Exit(READER_GONE) from None
        raise
