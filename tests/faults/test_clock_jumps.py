"""The database clock moved by an hour and by 30 days both ways, under a real server: no living session stays
stale, no dead one seems alive, and the order of events is what it was.

The clock is moved by libfaketime, of the system or where CONTINUITY_FAKETIME says (its libfaketime.so.1).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.conftest import BINARIES, WANTED
from tests.faults.killing import own_home
from tests.services.fleet import event_types, many
from tests.services.test_leases import eventually

from session_continuity import SessionContinuity
from session_continuity.postgres import migrations, server_process
from session_continuity.postgres.embedded import EmbeddedServer
from session_continuity.services.automatic_checkpoints import AutomaticCheckpoints
from session_continuity.services.runner import Runner
from session_continuity.services.stale_sweep import StaleSweep

PLACES = (os.environ.get("CONTINUITY_FAKETIME"), "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
LIBRARY = next((place for place in PLACES if place and Path(place).exists()), None)
LIVING, DEAD = 40, 12
HOUR, MONTH = 3_600, 30 * 86_400
SPEED = 120
"""The hold of ten minutes takes five seconds here."""


class MovedClock:
    """A server whose clock is moved by seconds."""

    def __init__(self, home: Path, binaries: Path | None) -> None:
        self.file = home / "clock"
        self.move(0)
        self.file.chmod(0o644)
        self.server = EmbeddedServer(home, binaries=binaries)

    def move(self, seconds: int) -> None:
        self.file.write_text(f"{seconds:+d}\n")


@pytest.fixture(params=BINARIES)
def clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[MovedClock]:
    binaries = BINARIES[request.param]
    if LIBRARY is None:
        pytest.skip("libfaketime is not there: apt-get install faketime, or name it in CONTINUITY_FAKETIME")
    if request.param not in WANTED or (binaries and not binaries.exists()):
        pytest.skip(f"{request.param} is not wanted or not there")
    with own_home() as home:
        moved = MovedClock(home, binaries)
        faked = {
            "LD_PRELOAD": LIBRARY,
            "FAKETIME_TIMESTAMP_FILE": str(moved.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        monkeypatch.setattr(server_process, "_ENVIRONMENT", server_process._ENVIRONMENT | faked)
        yield moved
        moved.server.stop()


@pytest.mark.faults
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "jump", [HOUR, -HOUR, MONTH, -MONTH], ids=["hour on", "hour back", "month on", "month back"]
)
def test_a_clock_that_jumps_leaves_the_living_active_and_the_dead_stale(clock: MovedClock, jump: int) -> None:
    dsn = clock.server.ensure_running()
    with SessionContinuity(dsn=dsn) as client, psycopg.connect(dsn, autocommit=True) as connection:
        migrations.upgrade(connection)
        living, dead = many(connection, LIVING, prefix="living"), many(connection, DEAD, prefix="dead")
        for session in (*living, *dead):
            client.append_event(session, "test_passed")
        stopping = threading.Event()

        def beat() -> None:
            while not stopping.wait(0.2):
                client.send_heartbeats(living)

        beating = threading.Thread(target=beat)
        beating.start()
        sweep = StaleSweep(client.settings, interval_seconds=0.1, clock=lambda: time.monotonic() * SPEED)
        services = Runner(client, [sweep, AutomaticCheckpoints(client.settings)], lease_seconds=3)
        services.start()

        def states(which: list[str]) -> set[str]:
            query = "SELECT DISTINCT status FROM supervisor_sessions WHERE instance_id = ANY(%s)"
            return {row[0] for row in connection.execute(query, (which,))}

        try:
            before = connection.execute("SELECT now()").fetchall()[0][0]
            clock.move(jump)
            after = connection.execute("SELECT now()").fetchall()[0][0]
            assert abs((after - before).total_seconds() - jump) < 60, "the clock was not moved"
            for session in living:
                client.append_event(session, "test_failed")
            if jump < 0:
                future = (
                    "SELECT count(*) FROM supervisor_sessions WHERE last_heartbeat > now() + interval '1 minute'"
                )
                eventually(lambda: connection.execute(future).fetchall() == [(0,)])
                assert states(dead) == {"active"}
                clock.move(jump + 31 * 60)
            eventually(lambda: states(dead) == {"stale"}, 60)
            eventually(lambda: states(living) == {"active"})
            marked = connection.execute(
                "SELECT count(*) FROM event_store WHERE event_type = 'instance_stale' AND instance_id = ANY(%s)",
                (living,),
            ).fetchall()
            clock.move(0)
            time.sleep(3)
            assert states(living) == {"active"}
        finally:
            stopping.set()
            beating.join()
            services.stop(5)
        assert marked == [(0,)], "held back, no living one was marked in between"
        for session in living:
            assert event_types(connection, session)[:3] == ["instance_registered", "test_passed", "test_failed"]
        for session in dead:
            expected = ["instance_registered", "test_passed", "instance_stale", "checkpoint_created"]
            assert event_types(connection, session)[:4] == expected
