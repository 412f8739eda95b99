"""The stale sweep: who is silent becomes stale, once, with its event and checkpoint; who lives does not."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from tests.services.fleet import event_types, many, shift_clock, silence, statuses

from session_continuity import SessionContinuity
from session_continuity.domain.errors import InvalidInput
from session_continuity.domain.stale_sweep import mark_silent
from session_continuity.services.service import Pass
from session_continuity.services.stale_sweep import BATCH, StaleSweep

Connection = psycopg.Connection[Any]
ONCE = ["instance_registered", "instance_stale", "checkpoint_created"]


@pytest.fixture
def sweep(client: SessionContinuity) -> Callable[[], Pass]:
    service = StaleSweep(client.settings)
    return lambda: service.run_once(client)


def status_of(client: SessionContinuity, instance_id: str) -> str:
    return client.get_session(instance_id).status


def test_a_silent_session_becomes_stale_with_its_event_and_its_checkpoint(
    client: SessionContinuity, connection: Connection, sweep: Callable[[], Pass]
) -> None:
    session = client.register_session("shop").instance_id
    silence(connection, session, "29 minutes")
    assert sweep() == Pass(done=0)
    silence(connection, session, "31 minutes")
    assert sweep() == Pass(done=2, report={"marked": 1, "checkpoints": 1})
    assert status_of(client, session) == "stale"
    assert event_types(connection, session) == ONCE
    (stale,) = client.read_events(session, event_type="instance_stale")
    assert stale.event_data["reason"] == "silent"
    assert stale.event_data["calls_in_flight"] == 0
    checkpoint = client.latest_checkpoint(session)
    assert (checkpoint.checkpoint_type, checkpoint.metadata) == ("automatic", {"reason": "stale: silent"})
    assert sweep() == Pass(done=0)


def test_a_session_is_silent_by_the_interval_that_it_declared(
    client: SessionContinuity, connection: Connection, sweep: Callable[[], Pass]
) -> None:
    often, seldom, quick = (
        client.register_session("shop", heartbeat_interval=timedelta(seconds=seconds)).instance_id
        for seconds in (60, 3_600, 1)
    )
    for session, still, over in (
        (often, "170 s", "190 s"),
        (seldom, "170 minutes", "190 minutes"),
        (quick, "50 s", "70 s"),
    ):
        silence(connection, session, still)
        assert sweep().done == 0
        silence(connection, session, over)
        assert sweep().report == {"marked": 1, "checkpoints": 1}
        assert status_of(client, session) == "stale"


def test_a_heartbeat_brings_a_stale_session_back_and_it_may_become_stale_again(
    client: SessionContinuity, connection: Connection, sweep: Callable[[], Pass]
) -> None:
    session = client.register_session("shop").instance_id
    for _ in range(3):
        silence(connection, session, "31 minutes")
        sweep()
        assert client.send_heartbeats([session]) == [session]
        assert status_of(client, session) == "active"
        sweep()
    assert event_types(connection, session) == [ONCE[0], *(3 * ONCE[1:])]


def test_closed_fenced_and_forgotten_sessions_are_left_alone(
    client: SessionContinuity, connection: Connection, sweep: Callable[[], Pass]
) -> None:
    closed, resumed = client.register_session("shop").instance_id, client.register_session("shop").instance_id
    client.close_session(closed)
    client.resume_session(resumed)
    connection.execute("ALTER TABLE supervisor_sessions DISABLE TRIGGER USER")
    connection.execute(
        "UPDATE supervisor_sessions SET last_heartbeat = now() - interval '2 h' WHERE status = 'closed'"
    )
    connection.execute("UPDATE supervisor_sessions SET status = 'active' WHERE instance_id = %s", (resumed,))
    connection.execute("ALTER TABLE supervisor_sessions ENABLE TRIGGER USER")
    assert sweep() == Pass(done=0)
    assert client.find_silent() == []


def test_a_session_that_is_written_to_at_this_moment_is_passed_over(
    client: SessionContinuity, connection: Connection, database: str, sweep: Callable[[], Pass]
) -> None:
    session = client.register_session("shop").instance_id
    silence(connection, session, "31 minutes")
    with psycopg.connect(database) as writing:
        writing.execute("UPDATE supervisor_sessions SET last_heartbeat = now() WHERE instance_id = %s", (session,))
        assert sweep() == Pass(done=0)
    assert sweep() == Pass(done=0)
    assert status_of(client, session) == "active"


def test_the_dry_run_lists_whom_the_sweep_would_mark(client: SessionContinuity, connection: Connection) -> None:
    silent = set(many(connection, 9, silent=4)[:4])
    assert {session.instance_id for session in client.find_silent()} == silent
    assert statuses(connection) == {"active": 9}
    marked = client.mark_silent()
    assert {stale.instance_id for stale in marked} == silent


def test_many_silent_sessions_are_marked_batch_by_batch(
    client: SessionContinuity, connection: Connection, sweep: Callable[[], Pass]
) -> None:
    many(connection, BATCH * 3, silent=BATCH + 5)
    first, second = sweep(), sweep()
    assert (first.report["marked"], first.more) == (BATCH, True)
    assert (second.report["marked"], second.more) == (5, False)
    assert statuses(connection) == {"active": 2 * BATCH - 5, "stale": BATCH + 5}


def test_a_checkpoint_that_a_killed_sweeper_owes_is_taken_by_the_next(
    client: SessionContinuity, connection: Connection, sweep: Callable[[], Pass]
) -> None:
    session = client.register_session("shop").instance_id
    silence(connection, session, "31 minutes")
    assert [stale.instance_id for stale in client.mark_silent()] == [session]  # and killed here
    client.send_heartbeat(session)
    client.append_event(session, "test_passed")
    assert sweep() == Pass(done=1, report={"checkpoints": 1})
    assert sweep() == Pass(done=0)


def test_any_number_of_sweepers_makes_each_transition_once(database: str, connection: Connection) -> None:
    ids = many(connection, 400, silent=150)
    connection.execute(
        "UPDATE supervisor_sessions SET heartbeat_interval_seconds = 60 WHERE instance_id <= %s", (ids[50],)
    )

    def run(_: int) -> None:
        with SessionContinuity(dsn=database) as own:
            service = StaleSweep(own.settings)
            while service.run_once(own).done:
                pass

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(run, range(8)))
    assert statuses(connection) == {"active": 250, "stale": 150}
    assert all(event_types(connection, instance_id) == ONCE for instance_id in ids[:150])
    assert connection.execute("SELECT count(*) FROM checkpoints").fetchall() == [(150,)]


@pytest.mark.parametrize("jump", ["1 hour", "30 days"])
def test_a_clock_that_jumps_on_makes_no_living_session_stale(
    client: SessionContinuity, connection: Connection, jump: str
) -> None:
    now = [0.0]
    service = StaleSweep(client.settings, clock=lambda: now[0])
    ids = many(connection, 100)
    shift_clock(connection, jump)
    held = service.run_once(client)
    assert (held.done, held.report["held"]) == (0, 100)
    client.send_heartbeats(ids[:70])  # the others have not come yet, and are less than half
    now[0] += 30
    assert service.run_once(client).report == {"held": 30, "held_for_seconds": 30}
    client.send_heartbeats(ids[70:95])
    now[0] += 600
    assert service.run_once(client).report == {"marked": 5, "checkpoints": 5}
    assert statuses(connection) == {"active": 95, "stale": 5}


@pytest.mark.parametrize("jump", ["1 hour", "30 days"])
def test_a_clock_that_is_set_back_lets_no_dead_session_seem_alive(
    client: SessionContinuity, connection: Connection, sweep: Callable[[], Pass], jump: str
) -> None:
    dead, living = client.register_session("shop").instance_id, client.register_session("shop").instance_id
    client.append_event(dead, "test_passed")
    shift_clock(connection, f"-{jump}")
    assert sweep() == Pass(done=0, report={"brought_back_from_future": 2})
    client.send_heartbeat(living)
    shift_clock(connection, "31 minutes")
    client.send_heartbeat(living)
    sweep()
    assert (status_of(client, dead), status_of(client, living)) == ("stale", "active")
    assert event_types(connection, dead) == ["instance_registered", "test_passed", *ONCE[1:]]


def test_without_the_hold_a_jump_marks_all_who_live(client: SessionContinuity, connection: Connection) -> None:
    """The control of the hold."""
    many(connection, 100)
    shift_clock(connection, "1 hour")
    assert StaleSweep(client.settings, release=True).run_once(client).report["marked"] == 100


def test_a_hold_does_not_last_for_ever_and_begins_anew_only_when_nobody_is_silent(
    client: SessionContinuity, connection: Connection
) -> None:
    now = [0.0]
    service = StaleSweep(client.settings, clock=lambda: now[0])
    many(connection, BATCH + 50, silent=BATCH + 50)
    assert service.run_once(client).report["held"] == BATCH + 50
    now[0] = 600
    assert service.run_once(client).report["marked"] == BATCH
    assert service.run_once(client).report["marked"] == 50
    many(connection, 20, silent=20, prefix="later")
    assert service.run_once(client).report["marked"] == 20, "the hold was over, and nobody came back since"
    service.run_once(client)
    many(connection, 20, silent=20, prefix="again")
    assert service.run_once(client).report["held"] == 20


def test_few_sessions_are_never_held_back(
    client: SessionContinuity, connection: Connection, sweep: Callable[[], Pass]
) -> None:
    many(connection, 9, silent=9)
    assert sweep().report["marked"] == 9


def test_a_hold_of_nothing_holds_nobody(client: SessionContinuity, connection: Connection, database: str) -> None:
    many(connection, 30, silent=30)
    with SessionContinuity(dsn=database, stale_hold_minutes=0) as hasty:
        assert StaleSweep(hasty.settings).run_once(hasty).report["marked"] == 30


def test_the_count_of_the_others_ends_where_it_tells_no_more(
    client: SessionContinuity, connection: Connection
) -> None:
    many(connection, 60, silent=7)
    count = client.count_silent()
    assert (count.silent, count.others) == (7, 7)
    client.mark_silent()
    assert client.count_silent().silent == 0


def test_a_limit_that_makes_no_sense_is_refused() -> None:
    for bad in (timedelta(seconds=59), timedelta(days=4_000)):
        with pytest.raises(InvalidInput):
            mark_silent(stale_after=bad)


def test_a_call_in_flight_is_told_with_the_transition(
    client: SessionContinuity, connection: Connection, sweep: Callable[[], Pass]
) -> None:
    from session_continuity import NewCommand

    session = client.register_session("shop").instance_id
    client.record_command(session, NewCommand(command_type="tool", action="make"))
    silence(connection, session, "31 minutes")
    sweep()
    (stale,) = client.read_events(session, event_type="instance_stale")
    assert stale.event_data["calls_in_flight"] == 1
