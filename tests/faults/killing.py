"""Kills a server of our own under writing processes, and counts what became of the acknowledged events."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import psycopg

from session_continuity import SessionContinuity
from session_continuity.domain.identity import event_id
from session_continuity.postgres.embedded import EmbeddedServer

WRITERS = 4
LONGEST_OUTAGE = 30.0
HOW = ("tree", "postmaster", "backend")


@contextmanager
def own_home() -> Iterator[Path]:
    """A fresh home on a real disk; in the end its server and its folder are gone."""
    home = Path(tempfile.mkdtemp(prefix="continuity-faults-", dir="/tmp"))
    home.chmod(0o755)
    try:
        yield home
    finally:
        for pid in processes_of(home):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not processes_of(home), 10)
        shutil.rmtree(home, ignore_errors=True)


def processes_of(home: Path) -> dict[int, str]:
    """The processes that work inside the server's data folder, with their titles."""
    data = home / "postgres" / "data"
    found: dict[int, str] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "cwd").readlink() == data:
                found[int(entry.name)] = (entry / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
    return found


def kill(home: Path, how: str, dice: random.Random) -> set[int]:
    """kill -9 of the whole tree, of the postmaster alone, or of one random client backend. Returns the client
    backends of that moment: none of them may go on for long, or an empty set when nothing was killed."""
    processes = processes_of(home)
    postmasters = [pid for pid, title in processes.items() if not title.startswith("postgres:")]
    backends = [pid for pid, title in processes.items() if "supervisor_meta" in title]
    victims = {"tree": list(processes), "postmaster": postmasters, "backend": backends}[how]
    if how == "backend" and victims:
        victims = [dice.choice(victims)]
    for pid in victims:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return set(backends) if victims else set()


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


@dataclass
class Acknowledged:
    """What the writers wrote down so far, read on as the files grow."""

    files: list[Path]
    events: dict[UUID, tuple[str, int]] = field(default_factory=dict)
    latest_begin: float = 0.0
    twice: int = 0
    _read: dict[Path, int] = field(default_factory=dict)

    def read_on(self) -> None:
        for file in self.files:
            if not file.exists():
                continue
            with file.open() as lines:
                lines.seek(self._read.get(file, 0))
                text = lines.read()
            whole, _, _ = text.rpartition("\n")
            self._read[file] = self._read.get(file, 0) + (len(whole) + 1 if whole else 0)
            for line in whole.splitlines():
                began, _, instance_id, operation, numbers = json.loads(line)
                self.latest_begin = max(self.latest_begin, began)
                for part, number in enumerate(numbers):
                    event = event_id(UUID(operation), part)
                    self.twice += event in self.events
                    self.events[event] = (instance_id, number)

    def has_all_writers(self) -> bool:
        return all(file.exists() and file.stat().st_size > 0 for file in self.files)

    def grew_to(self, events: int) -> bool:
        self.read_on()
        return len(self.events) >= events

    def answered_since(self, moment: float) -> bool:
        self.read_on()
        return self.latest_begin > moment


@dataclass
class Figures:
    """What came out of a run."""

    kills: dict[str, int]
    acknowledged: int = 0
    lost: int = 0
    duplicates: int = 0
    gaps: int = 0
    stored: int = 0
    retries: int = 0
    outages: list[float] = field(default_factory=list)
    reasons: set[str] = field(default_factory=set)
    seconds: float = 0.0

    def summary(self) -> str:
        return (
            f"{sum(self.kills.values())} kills {self.kills}: {self.acknowledged:,} acknowledged,"
            f" {self.lost:,} lost, {self.duplicates} duplicates, {self.gaps} gaps, {self.stored:,} stored;"
            f" first acknowledgement after a kill: median {statistics.median(self.outages):.2f} s,"
            f" longest {max(self.outages):.2f} s; {self.retries} calls failed; {self.seconds:.0f} s"
        )


def run(
    home: Path,
    kills: int,
    seed: int,
    *,
    how: tuple[str, ...] = HOW,
    options: str | None = None,
    most_between: int = 400,
    enough: Callable[[Figures], bool] = lambda figures: False,
) -> Figures:
    """Kill `kills` times under four writers. With `options` (of the connection) the writers get a conninfo, and
    this process revives the server; else the library in the writers does."""
    dice, started = random.Random(seed), time.monotonic()
    server = EmbeddedServer(home)
    with SessionContinuity(home=home, deadline_seconds=60) as client:
        sessions = [client.register_session(f"writer-{n}").instance_id for n in range(WRITERS)]
        shared = client.register_session("shared").instance_id
    figures = Figures(dict.fromkeys(how, 0))
    acknowledged = Acknowledged([home / f"acknowledged-{n}" for n in range(WRITERS)])
    target = str(home) if options is None else f"{server.conninfo()} options='{options}'"
    writers = [start_writer(target, n, sessions[n], shared, acknowledged.files[n]) for n in range(WRITERS)]
    try:
        assert wait_until(acknowledged.has_all_writers, LONGEST_OUTAGE), "a writer did not get through"
        while sum(figures.kills.values()) < kills and not enough(figures):
            goal = len(acknowledged.events) + dice.randrange(1, most_between)
            assert wait_until(lambda: acknowledged.grew_to(goal), LONGEST_OUTAGE), "the writers stopped"  # noqa: B023
            one = dice.choice(how)
            backends = kill(home, one, dice)
            if not backends:
                continue
            moment = time.monotonic()
            figures.kills[one] += 1
            assert wait_until(lambda: not backends & processes_of(home).keys(), LONGEST_OUTAGE), "not dead"  # noqa: B023
            gone = time.monotonic()
            if options is not None:
                server.ensure_running(LONGEST_OUTAGE)
            assert wait_until(lambda: acknowledged.answered_since(gone), LONGEST_OUTAGE), "no recovery"  # noqa: B023
            figures.outages.append(time.monotonic() - moment)
        for file in acknowledged.files:
            file.with_suffix(".stop").touch()
        for writer in writers:
            output, errors = writer.communicate(timeout=90)
            assert writer.returncode == 0, errors
            figures.retries += int(output)
            figures.reasons |= set(errors.splitlines())
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    acknowledged.read_on()
    compare(server.ensure_running(LONGEST_OUTAGE), acknowledged, figures)
    figures.seconds = time.monotonic() - started
    return figures


def start_writer(target: str, number: int, own: str, shared: str, file: Path) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CONTINUITY_")}
    command = [
        sys.executable,
        str(Path(__file__).with_name("writer.py")),
        target,
        str(number),
        own,
        shared,
        str(file),
    ]
    return subprocess.Popen(
        command,
        env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def compare(conninfo: str, acknowledged: Acknowledged, figures: Figures) -> None:
    with psycopg.connect(conninfo) as connection:
        rows = connection.execute(
            "SELECT event_id, instance_id, sequence_num, event_data ->> 'key' FROM event_store"
        ).fetchall()
        heads = connection.execute("SELECT instance_id, last_sequence_num FROM supervisor_sessions").fetchall()
    stored = {row[0]: (row[1], row[2]) for row in rows}
    figures.acknowledged = len(acknowledged.events)
    figures.stored = len(stored)
    figures.lost = sum(stored.get(event) != place for event, place in acknowledged.events.items())
    keys = [row[3] for row in rows if row[3] is not None]
    figures.duplicates = len(keys) - len(set(keys)) + acknowledged.twice
    for instance_id, last in heads:
        numbers = sorted(place[1] for place in stored.values() if place[0] == instance_id)
        figures.gaps += numbers != list(range(1, last + 1))
