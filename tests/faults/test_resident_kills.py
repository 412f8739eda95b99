"""kill -9 of the resident server and of the forwarder under four capturing sessions, two of them on another
machine, with the database absent now and then: everything arrives, once, in order.

CONTINUITY_KILLS kills in the long run; CONTINUITY_SEED repeats a run; CONTINUITY_ABSENT_SECONDS is how long the
database is absent at once.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.faults.killing import own_home, wait_until
from tests.resident.conftest import Residents, Running, put
from tests.resident.small_store import stored_numbers

from session_continuity import SessionContinuity
from session_continuity.capture.spool.forwarding import this_host
from session_continuity.capture.spool.spool import Spool
from session_continuity.domain.command_log import Command
from session_continuity.postgres.embedded import EmbeddedServer

SEED = int(os.environ.get("CONTINUITY_SEED", random.randrange(2**32)))
SESSIONS = (("home", "a"), ("home", "b"), ("far", "a"), ("far", "b"))


class Notes:
    """Each record is an event, in the order in which they were captured."""

    role = "serve"

    @staticmethod
    def put(spool: Spool, machine: str, session: str, number: int) -> None:
        put(spool, session, number)

    @staticmethod
    def check(client: SessionContinuity, machine: str, session: str, made: int) -> None:
        host = this_host() if machine == "far" else None
        assert stored_numbers(client, host, session) == list(range(made)), (machine, session)


class Hooks:
    """What Claude Code tells, through redaction and the recorder of live sessions: two records are a command."""

    role = "live"

    @staticmethod
    def put(spool: Spool, machine: str, session: str, number: int) -> None:
        common = {"session_id": f"{machine}-{session}", "cwd": "/srv/project"}
        call = {
            "tool_name": "Bash",
            "tool_use_id": f"t{number // 2}",
            "tool_input": {"command": f"echo {number // 2}"},
        }
        if number % 2 == 0:
            event, told = "PreToolUse", call
        else:
            event = "PostToolUse"
            told = {**call, "tool_response": {"stdout": str(number // 2), "stderr": "", "interrupted": False}}
        spool.put("claude-code", event, json.dumps({**common, "hook_event_name": event, **told}).encode())

    @staticmethod
    def check(client: SessionContinuity, machine: str, session: str, made: int) -> None:
        (found,) = client.find_sessions(harness_session_id=f"{machine}-{session}")
        commands: list[Command] = []
        place = None
        while page := client.search_commands(instance_id=found.instance_id, before=place, limit=1_000):
            commands += page
            place = (page[-1].created_at, page[-1].id)
        commands.sort(key=lambda command: command.id)
        calls = [command.tool_call_id for command in commands]
        assert calls == [f"t{number}" for number in range((made + 1) // 2)]
        outcomes = [command.outcome for command in commands]
        assert outcomes == ["success"] * (made // 2) + [None] * (made % 2)


@dataclass
class Capturing:
    """Sessions that spool a record every few milliseconds, as their hooks would."""

    folder: Path
    kind: type[Notes | Hooks]
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
            self.kind.put(spool, machine, session, self.made[machine, session])
            self.made[machine, session] += 1


def run(folder: Path, kind: type[Notes | Hooks], kills: int, outages: int, seed: int) -> str:
    """Kill `kills` times, stop the database `outages` times, and compare."""
    dice, began = random.Random(seed), time.monotonic()

    def fault(world: World) -> None:
        absent_at = set(dice.sample(range(kills), outages))
        for turn in range(kills):
            if turn in absent_at:
                world.server.stop()
            time.sleep(dice.uniform(0, 0.4))
            world.kill_near() if dice.random() < 0.5 else world.kill_far()
            if turn in absent_at:
                world.server.ensure_running()

    made, backlog = under(folder, kind, fault)
    return (
        f"{kind.__name__}: {kills} kills, {outages} outages of the database: {made:,} records of"
        f" {len(SESSIONS)} sessions, {backlog:,} of which waited in the end;"
        f" 0 lost, 0 doubled, all in order; {time.monotonic() - began:.0f} s"
    )


@dataclass
class World:
    """The database, the resident server beside it, and the forwarder of another machine."""

    residents: Residents
    server: EmbeddedServer
    kind: type[Notes | Hooks]
    near: Running = field(init=False)
    far: Running = field(init=False)

    def __post_init__(self) -> None:
        self._token = self.residents.token()
        self.near = self._serve()
        self.far = self._forward()

    def kill_near(self) -> None:
        self.near = self._killed_and_back(self.near, self._serve)

    def kill_far(self) -> None:
        self.far = self._killed_and_back(self.far, self._forward)

    def _serve(self) -> Running:
        return self.residents.serve(self.server.conninfo(), role=self.kind.role)

    def _forward(self) -> Running:
        return self.residents.forward(self.near.url, self._token)

    def _killed_and_back(self, running: Running, back: Callable[[], Running]) -> Running:
        running.process.send_signal(signal.SIGKILL)
        running.process.communicate()
        self.residents.started.remove(running.process)
        return back()


def under(folder: Path, kind: type[Notes | Hooks], fault: Callable[[World], None]) -> tuple[int, int]:
    """Capture under a fault, wait until all is stored, and compare. How many records were made, and how many of
    them waited when the fault was over."""
    residents = Residents(folder)
    with own_home() as database_home:
        server = EmbeddedServer(database_home)
        server.ensure_running()
        with SessionContinuity(home=database_home) as client:
            client.find_sessions(limit=1)
        capturing = Capturing(folder, kind)
        try:
            world = World(residents, server, kind)
            with capturing.going_on():
                fault(world)
            far, near = world.far, world.near
            backlog = waiting(far, near)
            while left := waiting(far, near):
                assert wait_until(lambda: waiting(far, near) < left, 30), (left, far.state(), near.state())
            assert (far.end(), near.end()) == (0, 0)
            with SessionContinuity(dsn=server.conninfo()) as client:
                for (machine, session), made in capturing.made.items():
                    kind.check(client, machine, session, made)
            for each in (near, far):
                assert each.spool.quarantined() == []
                assert each.spool.status().lost == 0
        finally:
            for process in residents.started:
                process.kill()
                process.communicate()
    return capturing.made.total(), backlog


def waiting(far: Running, near: Running) -> int:
    """Records that are not stored yet; what is forwarded at this moment counts twice."""
    return len(far.spool.names()) + len(near.spool.names())


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", [Notes, Hooks])
def test_kills_lose_and_double_nothing(tmp_path: Path, kind: type[Notes | Hooks]) -> None:
    print(f"\nseed {SEED}: {run(tmp_path, kind, 6, 1, SEED)}")


@pytest.mark.faults
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("kind", [Notes, Hooks])
def test_two_hundred_kills_lose_and_double_nothing(tmp_path: Path, kind: type[Notes | Hooks]) -> None:
    kills = int(os.environ.get("CONTINUITY_KILLS", 200))
    print(f"\nseed {SEED}: {run(tmp_path, kind, kills, 5, SEED)}")


@pytest.mark.faults
@pytest.mark.timeout(3_600)
def test_ten_minutes_without_the_database_lose_and_double_nothing(tmp_path: Path) -> None:
    seconds = int(os.environ.get("CONTINUITY_ABSENT_SECONDS", 600))

    def absence(world: World) -> None:
        world.server.stop()
        for _ in range(2):
            time.sleep(seconds / 2)
            world.kill_near()
        world.server.ensure_running()

    made, backlog = under(tmp_path, Hooks, absence)
    print(f"\n{seconds} s without the database: {made:,} records, {backlog:,} waited; 0 lost, 0 doubled, in order")
