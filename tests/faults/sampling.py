"""Figures of a process and of its database, taken again and again, and whether they stay flat."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """By how much a figure may grow: a share of itself, and so many of its units on top."""

    share: float = 0.0
    units: float = 0.0

    def of(self, figure: float) -> float:
        return self.share * figure + self.units


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One figure over a run. second, last: the medians of those quarters. rise: what the trend from the second
    quarter on adds up to. allowed: how much either may grow by."""

    name: str
    lowest: float
    highest: float
    second: float
    last: float
    rise: float
    allowed: float

    @property
    def is_flat(self) -> bool:
        return self.last - self.second <= self.allowed and self.rise <= self.allowed

    def __str__(self) -> str:
        verdict = "flat" if self.is_flat else "RISES"
        return (
            f"{self.name}: {self.lowest:.1f} to {self.highest:.1f}, second quarter {self.second:.1f}, last"
            f" {self.last:.1f}, trend {self.rise:+.1f}, allowed {self.allowed:.1f}: {verdict}"
        )


def course(name: str, series: Sequence[float], tolerance: Tolerance) -> Course:
    """Judge one figure by samples at equal distances, at least eight. The first quarter is warming up. The trend
    is the median of all slopes (Theil and Sen), which single peaks do not move."""
    assert len(series) >= 8, "too few samples to judge"
    quarter = len(series) // 4
    settled = series[quarter:]
    # Every pair of some hundred: more of them say the same.
    step = max(1, len(settled) // 100)
    points = list(enumerate(settled))[::step]
    slope = statistics.median((b - a) / (j - i) for (i, a), (j, b) in combinations(points, 2))
    second = statistics.median(series[quarter : 2 * quarter])
    return Course(
        name=name,
        lowest=min(series),
        highest=max(series),
        second=second,
        last=statistics.median(series[-quarter:]),
        rise=slope * len(settled),
        allowed=tolerance.of(second),
    )


def figures_of(pid: int) -> dict[str, float]:
    """Resident memory in MiB, file handles, threads and children of a process."""
    status = _status(pid)
    children = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            children += len((task / "children").read_text().split())
    return {
        "memory MiB": _kilobytes(status["VmRSS"]) / 1_024,
        "file handles": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": int(status["Threads"]),
        "children": children,
    }


def own_memory(pids: Sequence[int]) -> float:
    """MiB that these processes have for themselves; what a server's processes share is left out, since each counts
    a page of it from its first touch on."""
    total = 0
    for pid in pids:
        with suppress(OSError, KeyError):
            total += _kilobytes(_status(pid)["RssAnon"])
    return total / 1_024


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: told.strip() for name, _, told in (line.partition(":") for line in lines)}


def _kilobytes(told: str) -> int:
    return int(told.split(maxsplit=1)[0])


@dataclass
class Samples:
    """The figures in the order in which they were taken."""

    taken: list[Figures] = field(default_factory=list[Figures])

    def judged(self, tolerances: Mapping[str, Tolerance]) -> list[Course]:
        """Each figure that has a tolerance."""
        return [
            course(name, [figures[name] for figures in self.taken], tolerance)
            for name, tolerance in tolerances.items()
        ]


@contextmanager
def sampled(take: Callable[[], Figures], every: float) -> Iterator[Samples]:
    """Take the figures again and again while it lasts. What `take` raises is raised in the end."""
    samples, stop = Samples(), threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        due = time.monotonic()
        try:
            while not stop.wait(max(0.0, due - time.monotonic())):
                samples.taken.append(take())
                due += every
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()
    for failure in failures:
        raise failure
