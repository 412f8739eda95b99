"""A progress bar on standard error, when that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

from session_continuity.cli.output import cell, is_terminal


@contextmanager
def progress_bar(*, in_bytes: bool = False) -> Generator[Callable[[str, int, int], None] | None]:
    """Yields what is told a step, what is done of it and the whole, in bytes or things; None where nobody would
    see it."""
    if not is_terminal(sys.stderr):
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn() if in_bytes else MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda step, done, whole: bar.update(task, description=cell(step), completed=done, total=whole)
