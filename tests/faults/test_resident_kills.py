"""kill -9 of the resident server and of the forwarder under four capturing sessions, two of them on another
machine, with the database absent now and then: everything arrives, once, in order.

CONTINUITY_KILLS kills in the long run; CONTINUITY_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.faults.killing import own_home, wait_until
from tests.resident.conftest import Residents, Running, put
from tests.resident.small_store import stored_numbers

from session_continuity import SessionContinuity
from session_continuity.capture.forwarding import this_host
from session_continuity.capture.spool import Spool
from session_continuity.postgres.embedded import EmbeddedServer

SEED = int(os.environ.get("CONTINUITY_SEED", random.randrange(2**32)))
SESSIONS = (("home", "a"), ("home", "b"), ("far", "a"), ("far", "b"))


@dataclass
class Capturing:
    """Sessions that spool a record every few milliseconds, as their hooks would."""

    folder: Path
    made: Counter[tuple[str, str]] = field(default_factory=Counter)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._capture, args=each) for each in SESSIONS]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _capture(self, machine: str, session: str) -> None:
        spool = Spool(self.folder / machine / "spool")
        while not self._stop.wait(0.02):
            put(spool, session, self.made[machine, session])
            self.made[machine, session] += 1


def run(folder: Path, kills: int, outages: int, seed: int) -> str:
    """Kill `kills` times, stop the database `outages` times, and compare."""
    dice, began = random.Random(seed), time.monotonic()
    residents = Residents(folder)
    with own_home() as database_home:
        server = EmbeddedServer(database_home)
        server.ensure_running()
        dsn = server.conninfo()
        with SessionContinuity(home=database_home) as client:
            client.find_sessions(limit=1)
        token = residents.token()
        capturing = Capturing(folder)
        try:
            near = residents.serve(dsn)
            far = residents.forward(near.url, token)
            absent_at = set(dice.sample(range(kills), outages))
            with capturing.going_on():
                for turn in range(kills):
                    if turn in absent_at:
                        server.stop()
                    time.sleep(dice.uniform(0, 0.4))
                    if dice.random() < 0.5:
                        near = killed_and_back(residents, near, lambda: residents.serve(dsn))
                    else:
                        far = killed_and_back(residents, far, lambda: residents.forward(near.url, token))  # noqa: B023
                    if turn in absent_at:
                        server.ensure_running()
            assert wait_until(lambda: far.spool.names() == [] and near.spool.names() == [], 180), "not drained"
            assert (far.end(), near.end()) == (0, 0)
            with SessionContinuity(dsn=dsn) as client:
                for (machine, session), made in capturing.made.items():
                    host = this_host() if machine == "far" else None
                    assert stored_numbers(client, host, session) == list(range(made)), (machine, session)
            for each in (near, far):
                assert each.spool.quarantined() == []
                assert each.spool.status().lost == 0
        finally:
            for process in residents.started:
                process.kill()
                process.communicate()
    return (
        f"{kills} kills, {outages} outages of the database: {capturing.made.total():,} records of"
        f" {len(SESSIONS)} sessions, 0 lost, 0 doubled, all in order; {time.monotonic() - began:.0f} s"
    )


def killed_and_back(residents: Residents, running: Running, back: object) -> Running:
    running.process.send_signal(signal.SIGKILL)
    running.process.communicate()
    residents.started.remove(running.process)
    return back()


@pytest.mark.timeout(240)
def test_kills_of_the_resident_processes_lose_and_double_nothing(tmp_path: Path) -> None:
    print(f"\nseed {SEED}: {run(tmp_path, 6, 1, SEED)}")


@pytest.mark.faults
@pytest.mark.timeout(3_600)
def test_two_hundred_kills_of_the_resident_processes_lose_and_double_nothing(tmp_path: Path) -> None:
    print(f"\nseed {SEED}: {run(tmp_path, int(os.environ.get('CONTINUITY_KILLS', 200)), 5, SEED)}")
