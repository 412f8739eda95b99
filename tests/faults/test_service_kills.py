"""Service processes killed at random: every transition, every checkpoint and every alert once, and told."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.alerts.conftest import Hook
from tests.services.fleet import event_types, many

from session_continuity import SessionContinuity

Connection = psycopg.Connection[Any]
KEEPER = Path(__file__).with_name("keeper.py")
KILLS = {2: 66, 4: 67, 8: 67}
SILENT, EPICS = 6, 6
"""Sessions of each wave."""


class Keepers:
    """So many service processes, at all times."""

    def __init__(self, dsn: str, count: int, webhook: str, *, naive: bool = False) -> None:
        self._dsn, self._webhook, self._naive = dsn, webhook, naive
        self._running = [self._start(number) for number in range(count)]

    def kill_one(self, chance: random.Random) -> None:
        place = chance.randrange(len(self._running))
        self._running[place].kill()
        self._running[place].wait()
        self._running[place] = self._start(place)

    def stop(self) -> None:
        for process in self._running:
            process.kill()
            process.wait()

    def wait_until_ready(self) -> None:
        for process in self._running:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        # Every second one works without a lease, as a leader does that was paused and goes on.
        mode = "naive" if self._naive else ("leased", "free")[number % 2]
        return subprocess.Popen([sys.executable, KEEPER, self._dsn, mode, self._webhook], stdout=subprocess.PIPE)


def wave(connection: Connection, client: SessionContinuity, number: int) -> tuple[list[str], list[str]]:
    """Sessions that are silent, and sessions that have completed an epic."""
    silent = many(connection, SILENT, silent=SILENT, prefix=f"silent-{number}")
    epics = many(connection, EPICS, prefix=f"epics-{number}")
    for instance_id in epics:
        client.append_event(instance_id, "epic_completed", {"epic_id": str(number)})
    return silent, epics


def is_settled(connection: Connection, silent: list[str], epics: list[str]) -> bool:
    """Whether each of them has its checkpoint."""
    (found,) = connection.execute(
        "SELECT count(DISTINCT instance_id) FROM checkpoints WHERE instance_id = ANY(%s)", ([*silent, *epics],)
    ).fetchall()
    return found[0] == len(silent) + len(epics)


def count_told(connection: Connection) -> int:
    """Alerts that a channel was told of, and that is noted."""
    asked = "SELECT count(*) FROM alert_deliveries WHERE delivered_at IS NOT NULL"
    return connection.execute(asked).fetchall()[0][0]


@pytest.mark.faults
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("processes", KILLS)
def test_killed_service_processes_make_every_transition_checkpoint_and_alert_once(
    database: str, connection: Connection, client: SessionContinuity, processes: int, hook: Hook
) -> None:
    chance = random.Random(processes)
    keepers = Keepers(database, processes, hook.url)
    silent: list[str] = []
    epics: list[str] = []
    try:
        for number in range(KILLS[processes]):
            more = wave(connection, client, number)
            silent, epics = silent + more[0], epics + more[1]
            time.sleep(chance.uniform(0, 0.8))  # the kill falls anywhere into the work
            keepers.kill_one(chance)
        until = time.monotonic() + 180  # what a killed process had claimed is told after 30 s
        while not is_settled(connection, silent, epics) or count_told(connection) < len(silent):
            assert time.monotonic() < until
            time.sleep(0.2)
        time.sleep(1)  # for a second transition or checkpoint to come
    finally:
        keepers.stop()
    found = Counter(tuple(event_types(connection, instance_id)[1:]) for instance_id in silent + epics)
    assert found == {
        ("instance_stale", "checkpoint_created"): len(silent),
        ("epic_completed", "checkpoint_created"): len(epics),
    }
    (checkpoints,) = connection.execute("SELECT count(*) FROM checkpoints").fetchall()
    assert checkpoints[0] == len(silent) + len(epics)
    alerts = Counter(
        connection.execute("SELECT rule, subject FROM alerts WHERE rule = 'stale_session'").fetchall()
    )
    assert alerts == {("stale_session", instance_id): 1 for instance_id in silent}
    told = Counter((json.loads(body)["subject"], json.loads(body)["id"]) for _, body in hook.heard)
    assert sorted(subject for subject, _ in told) == sorted(silent), "each alert under one id"
    twice = sum(told.values()) - len(told)
    assert twice <= KILLS[processes], "only a process that dies between telling and noting it tells twice"
    made = f"{len(silent)} transitions, {checkpoints[0]} checkpoints, {len(alerts)} alerts"
    print(f"\n{processes} processes, {KILLS[processes]} kills: {made}, each once; {twice} told twice")


@pytest.mark.faults
def test_reading_first_and_updating_then_makes_transitions_several_times(
    database: str, connection: Connection
) -> None:
    """The control."""
    keepers = Keepers(database, 4, "", naive=True)
    try:
        keepers.wait_until_ready()  # all of them at work
        silent = many(connection, 200, silent=200)
        until = time.monotonic() + 60
        while connection.execute("SELECT count(*) FROM supervisor_sessions WHERE status = 'active'").fetchall()[0][
            0
        ]:
            assert time.monotonic() < until
            time.sleep(0.2)
    finally:
        keepers.stop()
    doubled = sum(event_types(connection, instance_id).count("instance_stale") > 1 for instance_id in silent)
    print(f"\ncontrol: {doubled} of {len(silent)} sessions have several transitions")
    assert doubled > 0
