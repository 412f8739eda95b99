"""The runner: passes repeated, kept and ended; failures told and outlived."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from tests.services.test_leases import eventually

from session_continuity import SessionContinuity
from session_continuity.domain.errors import Conflict, DeadlineExceeded, Unavailable
from session_continuity.services import runner
from session_continuity.services.runner import Runner, run_pass
from session_continuity.services.service import Pass, PassEnded

Connection = psycopg.Connection[Any]


@dataclass
class Counting:
    """A service that does what it is told and counts how often."""

    name: str = "counting"
    interval_seconds: float = 0.05
    fleet_wide: bool = True
    work: Callable[[SessionContinuity], Pass] = lambda client: Pass(done=1, report={"seen": 3})
    passes: int = 0
    threads: set[int] = field(default_factory=set)

    def run_once(self, client: SessionContinuity) -> Pass:
        self.passes += 1
        self.threads.add(threading.get_ident())
        return self.work(client)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "FIRST_PAUSE", 0.05)


def test_a_pass_is_kept_with_what_it_did(client: SessionContinuity) -> None:
    done, kept = run_pass(client, Counting(), holder="one")
    assert done == Pass(done=1, report={"seen": 3})
    (state,) = client.list_services()
    assert state.last_pass == kept
    assert (kept.service, kept.holder, kept.done, kept.report, kept.error) == (
        "counting",
        "one",
        1,
        {"seen": 3},
        None,
    )
    assert kept.started_at <= kept.finished_at


def test_the_last_pass_is_none_of_a_clock_that_was_set_back(
    client: SessionContinuity, connection: Connection
) -> None:
    run_pass(client, Counting(), holder="before")
    connection.execute("UPDATE service_passes SET finished_at = now() + interval '1 month'")
    run_pass(client, Counting(), holder="after")
    last = client.list_services()[0].last_pass
    assert last is not None
    assert last.holder == "after"


def test_a_pass_that_fails_is_kept_with_its_error_and_without_foreign_words(client: SessionContinuity) -> None:
    def fail(_: SessionContinuity) -> Pass:
        raise ValueError("a secret")

    def conflict(_: SessionContinuity) -> Pass:
        raise Conflict("it moved on")

    def take_too_long(_: SessionContinuity) -> Pass:
        raise DeadlineExceeded("not within 30 s")

    for work, error, kept in (
        (fail, ValueError, "ValueError"),
        (conflict, Conflict, "conflict: it moved on"),
        (take_too_long, DeadlineExceeded, "deadline_exceeded: not within 30 s"),
    ):
        with pytest.raises(error):
            run_pass(client, Counting(work=work), holder="one")
        last = client.list_services()[0].last_pass
        assert last is not None
        assert (last.error, last.done) == (kept, 0)


def test_passes_that_did_nothing_make_room_for_the_next(client: SessionContinuity, connection: Connection) -> None:
    idle = Counting(work=lambda client: Pass(done=0))
    for service in (Counting(), idle, idle, Counting(), idle, idle):
        run_pass(client, service, holder="one")
    run_pass(client, idle, holder="two")
    kept = connection.execute("SELECT holder, done FROM service_passes ORDER BY finished_at, done DESC").fetchall()
    assert kept == [("one", 1), ("one", 1), ("one", 0), ("two", 0)]


def test_no_more_than_a_thousand_passes_of_a_service_are_kept(
    client: SessionContinuity, connection: Connection
) -> None:
    connection.execute(
        "INSERT INTO service_passes SELECT gen_random_uuid(), 'counting', 'one', now(),"
        " now() - n * interval '1 s', 1 FROM generate_series(1, 1500) n"
    )
    run_pass(client, Counting(), holder="one")
    run_pass(client, Counting(), holder="one")
    assert connection.execute("SELECT count(*) FROM service_passes").fetchall() == [(1_001,)]


def test_a_lost_reply_does_not_double_a_pass(client: SessionContinuity, connection: Connection) -> None:
    for _ in range(2):
        client.record_pass("counting", holder="one", seconds=1, done=1, report={}, operation="the same")
    assert connection.execute("SELECT count(*) FROM service_passes").fetchall() == [(1,)]


def test_an_idle_runner_keeps_few_of_its_passes(client: SessionContinuity, connection: Connection) -> None:
    idle = Counting(work=lambda client: Pass(done=0), fleet_wide=False, interval_seconds=0.01)
    connection.execute("CREATE TABLE kept (at timestamptz DEFAULT now())")
    connection.execute(
        "CREATE FUNCTION count_kept() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN INSERT INTO kept DEFAULT VALUES; RETURN NEW; END'"
    )
    connection.execute(
        "CREATE TRIGGER count_kept AFTER INSERT ON service_passes FOR EACH ROW EXECUTE FUNCTION count_kept()"
    )
    running = Runner(client, [idle])
    running.start()
    eventually(lambda: idle.passes >= 20)
    assert running.stop(5)
    assert connection.execute("SELECT count(*) FROM kept").fetchall() == [(1,)]


def test_of_several_runners_one_does_the_fleets_work_and_each_its_own(database: str) -> None:
    clients = [SessionContinuity(dsn=database) for _ in range(3)]
    fleet = [Counting() for _ in clients]
    own = [Counting(name="own", fleet_wide=False) for _ in clients]
    runners = [
        Runner(client, [each, local], lease_seconds=1.5)
        for client, each, local in zip(clients, fleet, own, strict=True)
    ]
    for each in runners:
        each.start()
    eventually(lambda: all(each.passes >= 3 for each in own) and sum(each.passes for each in fleet) >= 3)
    (leading,) = [number for number, each in enumerate(fleet) if each.passes]
    assert runners[leading].stop(5)
    others = [number for number in range(3) if number != leading]
    eventually(lambda: any(fleet[number].passes for number in others))
    done = fleet[leading].passes
    assert sum(fleet[number].passes > 0 for number in others) == 1
    assert fleet[leading].passes == done
    for number in others:
        assert runners[number].stop(5)
    for client in clients:
        client.close()


def test_a_failing_service_is_tried_again_and_keeps_nobody_else_up(client: SessionContinuity) -> None:
    def fail(_: SessionContinuity) -> Pass:
        raise Unavailable("away") if failing.passes % 2 else ValueError("broken")

    failing, well = Counting(name="failing", work=fail), Counting()
    running = Runner(client, [failing, well])
    running.start()
    eventually(lambda: failing.passes >= 3 and well.passes >= 3)
    assert running.stop(5)


def test_more_to_do_is_done_at_once(client: SessionContinuity) -> None:
    busy = Counting(interval_seconds=3_600, fleet_wide=False)
    busy.work = lambda client: Pass(done=1, more=busy.passes < 20)
    running = Runner(client, [busy])
    running.start()
    eventually(lambda: busy.passes == 20)
    assert running.stop(5)


def test_a_runner_that_is_stopped_ends_a_long_pass_at_its_next_operation(client: SessionContinuity) -> None:
    session = client.register_session("shop").instance_id
    ended: list[bool] = []

    def long(bound: SessionContinuity) -> Pass:
        try:
            while True:
                bound.send_heartbeat(session)
        except PassEnded:
            ended.append(True)
            raise

    service = Counting(work=long, fleet_wide=False)
    running = Runner(client, [service])
    running.start()
    eventually(lambda: service.passes == 1)
    started = time.monotonic()
    assert running.stop(5)
    assert time.monotonic() - started < 5
    assert ended == [True]


def test_a_pass_ends_when_its_lease_is_lost_in_the_middle(
    client: SessionContinuity, connection: Connection
) -> None:
    session = client.register_session("shop").instance_id
    ended: list[bool] = []

    def long(bound: SessionContinuity) -> Pass:
        try:
            while True:
                bound.send_heartbeat(session)
        except PassEnded:
            ended.append(True)
            raise

    running = Runner(client, [Counting(work=long)], lease_seconds=0.6)
    running.start()
    eventually(lambda: bool(client.list_services()) and client.list_services()[0].holder == running.holder)
    connection.execute("UPDATE service_leases SET holder = 'other', expires_at = now() + '5 minutes'")
    eventually(lambda: bool(ended))
    assert running.stop(5)
