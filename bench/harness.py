"""Alternated rounds of competing subjects, and the ratios between them.

A subject is run for some seconds and answers a figure: a rate, or a cost such as bytes of write-ahead log. All
subjects of a comparison take turns, A B C, B C A, ..., and a ratio is formed inside each round, so that what
else the machine does at that moment weighs on both sides of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from threading import Barrier

from servers import Server

Subject = Callable[[float], float]
Figures = dict[str, list[float]]

RESULTS = Path(__file__).parent / "results"
PACKAGES = (
    "asyncpg",
    "dbos",
    "eventsourcing",
    "langgraph-checkpoint-postgres",
    "openai-agents",
    "orjson",
    "psycopg",
    "psycopg-binary",
    "sqlalchemy",
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How much to measure; `small` cuts the tables down to try the scripts out, `full` takes an hour."""

    rounds: int = 7
    seconds: float = 1.0
    small: bool = False
    full: bool = False

    def rows(self, full: int, small: int = 2_000) -> int:
        return min(full, small) if self.small else full


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: a ratio, its spread over the rounds, and the goal where there is one."""

    part: str
    server: str
    what: str
    baseline: str
    median: float
    lowest: float
    highest: float
    goal: str
    verdict: str
    baseline_figure: float


@dataclass
class Bench:
    """One part on one server: measures, compares and keeps the rows."""

    part: str
    server: Server
    options: Options
    rows: list[Row] = field(default_factory=list)

    def measure(self, subjects: dict[str, Subject], *, rounds: int | None = None) -> Figures:
        """Alternated rounds after one short unmeasured turn each."""
        names = list(subjects)
        for name in names:
            subjects[name](self.options.seconds / 5)
        figures: Figures = {name: [] for name in names}
        for turn in range(rounds or self.options.rounds):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                figures[name].append(subjects[name](self.options.seconds))
        return figures

    def compare(
        self,
        what: str,
        figures: Figures,
        subject: str,
        baseline: str,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> None:
        """One row: subject / baseline, round by round."""
        ratios = [ours / theirs for ours, theirs in zip(figures[subject], figures[baseline], strict=True)]
        median = statistics.median(ratios)
        goal, verdict = "", ""
        if at_least is not None:
            goal, verdict = f">= {at_least:g}", "pass" if median >= at_least else "MISS"
        if at_most is not None:
            goal, verdict = f"<= {at_most:g}", "pass" if median <= at_most else "MISS"
        self._add(what, baseline, ratios, goal, verdict, statistics.median(figures[baseline]))

    def check(self, what: str, holds: bool, goal: str) -> None:
        """One row for what is true or not, such as a plan that uses an index."""
        self._add(what, "", [float(holds)], goal, "pass" if holds else "MISS", 0.0)

    def skip(self, what: str, reason: str) -> None:
        self._add(what, "", [0.0], reason, "skipped", 0.0)

    def _add(
        self, what: str, baseline: str, ratios: Sequence[float], goal: str, verdict: str, figure: float
    ) -> None:
        row = Row(
            part=self.part,
            server=self.server.name,
            what=what,
            baseline=baseline,
            median=statistics.median(ratios),
            lowest=min(ratios),
            highest=max(ratios),
            goal=goal,
            verdict=verdict,
            baseline_figure=figure,
        )
        self.rows.append(row)
        print(_line(row), flush=True)


def repeat(step: Callable[[], object], units: int = 1) -> Subject:
    """Units a second of one caller."""

    def run(seconds: float) -> float:
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            step()
            done += units
        return done / (time.perf_counter() - start)

    return run


def in_threads(steps: Sequence[Callable[[], object]]) -> Subject:
    """Units a second of one thread for each step, all started at once."""

    def run(seconds: float) -> float:
        start_line = Barrier(len(steps))

        def caller(step: Callable[[], object]) -> float:
            start_line.wait()
            return repeat(step)(seconds)

        with ThreadPoolExecutor(len(steps)) as threads:
            return sum(threads.map(caller, steps))

    return run


def in_tasks(runner: asyncio.Runner, steps: Sequence[Callable[[], Awaitable[object]]]) -> Subject:
    """Units a second of one task for each step, on the runner's loop."""

    async def caller(step: Callable[[], Awaitable[object]], seconds: float) -> float:
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            await step()
            done += 1
        return done / (time.perf_counter() - start)

    async def callers(seconds: float) -> float:
        return sum(await asyncio.gather(*(caller(step, seconds) for step in steps)))

    return lambda seconds: runner.run(callers(seconds))


HEAD = """\
| part | server | what | x the baseline, median (min to max) | goal | | baseline |
|---|---|---|---|---|---|---|"""


def _line(row: Row) -> str:
    ratio = "" if not row.baseline else f"{row.median:.3g} ({row.lowest:.3g} to {row.highest:.3g})"
    anchor = "" if not row.baseline else f"{row.baseline} ({row.baseline_figure:,.4g})"
    return f"| {row.part} | {row.server} | {row.what} | {ratio} | {row.goal} | {row.verdict} | {anchor} |"


def table(rows: Sequence[Row]) -> str:
    return "\n".join([HEAD, *map(_line, rows)])


def save(rows: Sequence[Row], options: Options, servers: dict[str, str], loads: list[str]) -> Path:
    """The run as JSON in bench/results."""
    RESULTS.mkdir(exist_ok=True)
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=RESULTS, check=False
    )
    document = {
        "command": " ".join(sys.argv),
        "revision": revision.stdout.strip(),
        "python": platform.python_version(),
        "machine": f"{os.cpu_count()} cores, {platform.platform()}",
        "servers": servers,
        "packages": {name: metadata.version(name) for name in PACKAGES if _installed(name)},
        "load_averages": loads,
        "options": asdict(options),
        "rows": [asdict(row) for row in rows],
    }
    file = RESULTS / f"{time.strftime('%Y%m%dT%H%M%S')}.json"
    file.write_text(json.dumps(document, indent=1) + "\n")
    return file


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
