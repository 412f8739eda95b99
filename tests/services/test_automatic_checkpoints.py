"""Automatic checkpoints where no capture takes them: each cause once, and none that nobody needs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.archive.aged import open_client
from tests.services.fleet import event_types, many

from session_continuity import NewEvent, SessionContinuity
from session_continuity.archive.archiving import run_archive
from session_continuity.domain.checkpoints import take_checkpoint
from session_continuity.domain.errors import SequenceConflict
from session_continuity.domain.work_state import canonical
from session_continuity.services.automatic_checkpoints import AutomaticCheckpoints
from session_continuity.services.service import Pass
from session_continuity.services.stale_sweep import StaleSweep

Connection = psycopg.Connection[Any]


def run(client: SessionContinuity, **options: Any) -> Pass:
    return AutomaticCheckpoints(client.settings, **options).run_once(client)


def age(connection: Connection, instance_id: str, interval: str = "11 minutes") -> None:
    """As if the session's events had happened so much earlier."""
    for table in ("event_store", "checkpoints"):
        connection.execute(
            f"UPDATE {table} SET timestamp = timestamp - %s::interval WHERE instance_id = %s".encode(),
            (interval, instance_id),
        )


@pytest.fixture
def session(client: SessionContinuity) -> str:
    return client.register_session("shop").instance_id


def test_crossing_the_context_threshold_is_one_checkpoint_each_time(
    client: SessionContinuity, session: str
) -> None:
    taken = []
    for percent in (70, 79, 80, 85, 90, 20, 60, 81, 95):
        client.append_event(session, "context_window_updated", {"percent": percent})
        taken += [percent] * run(client).done
    assert taken == [80, 81]
    assert run(client) == Pass(done=0)
    latest = client.latest_checkpoint(session)
    assert (latest.checkpoint_type, latest.context_window_percent) == ("automatic", 81)
    assert latest.metadata == {"reason": "context threshold"}


def test_a_percentage_told_by_heartbeats_counts_too(client: SessionContinuity, session: str) -> None:
    client.send_heartbeat(session, context_percent=79)
    assert run(client) == Pass(done=0)
    client.send_heartbeat(session, context_percent=82)
    assert run(client) == Pass(done=1, report={"context_threshold": 1})
    client.send_heartbeat(session, context_percent=90)
    assert run(client) == Pass(done=0)


def test_a_crossing_after_a_compaction_is_another_one(client: SessionContinuity, session: str) -> None:
    client.append_event(session, "context_window_updated", {"percent": 90})
    assert run(client).done == 1
    client.append_event(session, "context_compacted", {})
    client.append_event(session, "context_window_updated", {"context_percent": 88})
    assert run(client).done == 1


def test_a_completed_epic_is_saved(client: SessionContinuity, session: str) -> None:
    client.append_event(session, "epic_completed", {"epic_id": "1"})
    assert run(client) == Pass(done=1, report={"epic_completed": 1})
    assert run(client) == Pass(done=0)
    recovered, replayed = client.recover_state(session), client.replay_events(session)
    assert canonical(recovered.work_state) == canonical(replayed.work_state)


def test_a_session_that_cannot_be_saved_keeps_no_other_from_it(
    client: SessionContinuity, connection: Connection, database: str, tmp_path: Path
) -> None:
    """Its events are archived, and the hash of its checkpoint does not fit; both services pass it over."""
    lost, *others = (client.register_session("shop").instance_id for _ in range(3))
    client.append_events(lost, [NewEvent(event_type="test_passed")] * 9)
    client.take_checkpoint(lost)
    age(connection, lost, "40 days")
    connection.execute("UPDATE event_store SET created_at = timestamp")
    with open_client(database, tmp_path, retention={"archive_events_after": "30d"}) as archiver:
        assert run_archive(archiver).rows > 0
    connection.execute("UPDATE checkpoints SET state_hash = sha256('x')")
    for instance_id in (lost, *others):
        client.append_event(instance_id, "epic_completed", {"epic_id": "1"})
    assert run(client) == Pass(done=2, report={"epic_completed": 2, "failed": 1})
    assert run(client).report == {"failed": 1}
    connection.execute("UPDATE supervisor_sessions SET last_heartbeat = now() - interval '1 hour'")
    assert StaleSweep(client.settings).run_once(client).report == {"marked": 3, "checkpoints": 2}


def test_after_many_events_the_state_is_saved(client: SessionContinuity, session: str) -> None:
    client.append_events(session, [NewEvent(event_type="test_passed")] * 98)
    assert run(client) == Pass(done=0)
    client.append_event(session, "test_passed")
    assert run(client) == Pass(done=1, report={"many_events": 1})


def test_an_idle_session_with_unsaved_events_is_saved(
    client: SessionContinuity, connection: Connection, session: str
) -> None:
    client.append_event(session, "test_passed")
    assert run(client) == Pass(done=0)
    age(connection, session)
    assert run(client) == Pass(done=1, report={"idle": 1})
    age(connection, session)
    assert run(client) == Pass(done=0)
    assert event_types(connection, session)[1:] == ["test_passed", "checkpoint_created"]


def test_a_session_that_did_nothing_and_one_that_ended_are_left_alone(
    client: SessionContinuity, connection: Connection, session: str
) -> None:
    closed, resumed = client.register_session("shop").instance_id, client.register_session("shop").instance_id
    for each in (closed, resumed):
        client.append_event(each, "epic_completed", {"epic_id": "1"})
    client.close_session(closed)
    client.resume_session(resumed)
    for each in (session, closed, resumed):
        age(connection, each)
    assert run(client) == Pass(done=0)


def test_what_capture_would_save_itself_it_is_given_time_for(
    client: SessionContinuity, connection: Connection
) -> None:
    captured = client.register_session("shop", metadata={"captured": {"began": "x"}}).instance_id
    client.append_event(captured, "context_window_updated", {"percent": 90})
    client.append_event(captured, "epic_completed", {"epic_id": "1"})
    assert run(client) == Pass(done=0)
    age(connection, captured, "2 minutes")
    assert run(client) == Pass(done=1, report={"epic_completed": 1})
    assert run(client) == Pass(done=0)


def test_strange_percentages_are_no_crossing_and_break_nothing(client: SessionContinuity, session: str) -> None:
    for strange in ("90", None, [90], {"percent": 90}, True, -5, 1e300 * -1):
        client.append_event(session, "context_window_updated", {"percent": strange})
    assert run(client) == Pass(done=0)
    client.append_event(session, "context_window_updated", {"percent": 1e300})
    assert run(client).done == 1
    assert client.latest_checkpoint(session).context_window_percent == 100


def test_every_page_is_looked_at(client: SessionContinuity, connection: Connection) -> None:
    ids = many(connection, 25)
    connection.execute("UPDATE supervisor_sessions SET host = 'host-' || right(instance_id, 1)")
    for instance_id in ids:
        client.append_event(instance_id, "epic_completed", {"epic_id": "1"})
    service = AutomaticCheckpoints(client.settings, page=10)
    assert [(done.done, done.more) for done in (service.run_once(client) for _ in range(4))] == [
        (10, True), (10, True), (5, False), (0, True),
    ]  # fmt: skip


def test_any_number_of_processes_takes_each_checkpoint_once(database: str, connection: Connection) -> None:
    with SessionContinuity(dsn=database) as client:
        ids = many(connection, 60)
        for instance_id in ids:
            client.append_event(instance_id, "epic_completed", {"epic_id": "1"})

    def one(_: int) -> None:
        with SessionContinuity(dsn=database) as own:
            service = AutomaticCheckpoints(own.settings)
            while service.run_once(own).done:
                pass

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(one, range(8)))
    assert connection.execute("SELECT count(*) FROM checkpoints").fetchall() == [(60,)]
    for instance_id in ids:
        assert event_types(connection, instance_id)[1:] == ["epic_completed", "checkpoint_created"]


def test_a_checkpoint_is_not_taken_of_a_session_that_moved_on(client: SessionContinuity, session: str) -> None:
    client.append_event(session, "epic_completed", {"epic_id": "1"})
    (due,) = client.find_checkpoints_due().due
    client.take_checkpoint(session)  # by capture, at this moment
    with pytest.raises(SequenceConflict):
        client.take_due_checkpoint(due)
    assert run(client) == Pass(done=0)


def test_a_retry_answers_the_same_although_the_session_moved_on(client: SessionContinuity, session: str) -> None:
    client.append_event(session, "epic_completed", {"epic_id": "1"})
    (due,) = client.find_checkpoints_due().due
    first = client.take_due_checkpoint(due)
    client.append_event(session, "test_passed")
    assert client.take_due_checkpoint(due) == first


def test_without_a_name_and_a_condition_two_processes_would_take_two(
    client: SessionContinuity, session: str
) -> None:
    """The control: what both saw is due to both."""
    client.append_event(session, "epic_completed", {"epic_id": "1"})
    seen = [client.find_checkpoints_due().due[0] for _ in range(2)]
    for due in seen:
        client.run(take_checkpoint(due.instance_id, checkpoint_type="automatic", reason=due.cause))
    assert len(client.list_checkpoints(session)) == 2
