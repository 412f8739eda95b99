"""Each rule: what it finds is raised once, and resolved when it is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from tests.services.fleet import many, silence

from session_continuity import NewCommand, SessionContinuity
from session_continuity.domain.alert_rules import DATABASE_RULES, DISK_FULL, RULES, AlertSettings
from session_continuity.domain.alerts import Alert, Settled

Connection = psycopg.Connection[Any]
USUAL = AlertSettings()


@dataclass
class Scene:
    client: SessionContinuity
    connection: Connection
    session: str

    def sql(self, text: str, **parameters: Any) -> None:
        self.connection.execute(text.encode(), {"session": self.session, **parameters})


Change = Callable[[Scene], Any]


def heartbeat(scene: Scene) -> None:
    scene.client.send_heartbeat(scene.session)


def go_silent(scene: Scene) -> None:
    silence(scene.connection, scene.session, "2 hours")
    scene.client.mark_silent()


def run_slowly(scene: Scene) -> None:
    scene.client.record_command(
        scene.session,
        NewCommand(command_type="tool", action="make", outcome="success", execution_time_ms=5_001),
    )


def let_time_pass(scene: Scene) -> None:
    scene.sql("UPDATE command_log SET created_at = created_at - interval '1 day'")
    scene.sql("UPDATE event_store SET timestamp = timestamp - interval '1 day'")
    scene.sql("UPDATE service_passes SET finished_at = finished_at - interval '2 days'")


def slow_down(scene: Scene) -> None:
    scene.sql(
        """INSERT INTO command_log
        (instance_id, command_type, action, tool_name, execution_time_ms, success, outcome, created_at,
         owner_epoch, operation_id)
        SELECT %(session)s, 'tool', 'run', 'Bash', CASE WHEN n < 30 THEN 900 ELSE 200 END, true, 'success',
            now() - CASE WHEN n < 30 THEN interval '1 minute' ELSE interval '5 hours' END, 1, gen_random_uuid()
        FROM generate_series(1, 60) n"""
    )


def sample(scene: Scene, ago: str, size: int) -> None:
    scene.sql(
        """INSERT INTO storage_samples (relation, hour, sampled_at, bytes)
        SELECT 'event_store', date_trunc('hour', t.at), t.at, %(bytes)s
        FROM (SELECT now() - %(ago)s::interval AS at) t""",
        ago=ago,
        bytes=size,
    )


def grow(scene: Scene) -> None:
    sample(scene, "10 hours", 1_000)
    sample(scene, "1 minute", 3_000_000_000)


def stop_growing(scene: Scene) -> None:
    scene.sql("UPDATE storage_samples SET bytes = 3000000000")


def break_index(scene: Scene) -> None:
    scene.sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'event_store_timestamp'::regclass")


def mend_index(scene: Scene) -> None:
    scene.sql("UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'event_store_timestamp'::regclass")


def fill_context(scene: Scene) -> None:
    scene.client.send_heartbeat(scene.session, context_percent=85)
    for _ in range(50):
        scene.client.append_event(scene.session, "task_spawned")


def take_checkpoint(scene: Scene) -> None:
    scene.client.take_checkpoint(scene.session)


def write_as_the_old_copy(scene: Scene) -> None:
    scene.client.resume_session(scene.session)
    run_slowly(scene)


def fail_tests(scene: Scene) -> None:
    for _ in range(5):
        scene.client.append_event(scene.session, "test_failed", {"command": "make test"})


def pass_a_test(scene: Scene) -> None:
    scene.client.append_event(scene.session, "test_passed", {"command": "make test"})


def hold_the_sweep(scene: Scene) -> None:
    scene.client.record_pass("stale_sweep", holder="one", seconds=0, done=0, report={"held": 9})


def let_the_sweep_go(scene: Scene) -> None:
    scene.client.record_pass("stale_sweep", holder="one", seconds=0, done=0, report={})


def fail_the_archive(scene: Scene) -> None:
    scene.client.record_pass("archive", holder="one", seconds=0, done=0, report={}, error="disk_full: no room")


def archive_well(scene: Scene) -> None:
    scene.client.record_pass("archive", holder="one", seconds=0, done=1, report={})


def find_problems(scene: Scene) -> None:
    scene.client.record_pass("archive", holder="one:7:a1", seconds=0, done=0, report={"problems": 2})


def grow_old(scene: Scene) -> None:
    scene.sql("UPDATE supervisor_sessions SET created_at = now() - interval '3 days'")


CASES: dict[str, tuple[Change, Change]] = {
    "stale_session": (go_silent, heartbeat),
    "slow_command": (run_slowly, let_time_pass),
    "slower_tool": (slow_down, let_time_pass),
    "table_growth": (grow, stop_growing),
    "index_health": (break_index, mend_index),
    "unsaved_context": (fill_context, take_checkpoint),
    "second_owner": (write_as_the_old_copy, let_time_pass),
    "failing_tests": (fail_tests, pass_a_test),
    "sweep_held": (hold_the_sweep, let_the_sweep_go),
    "failing_service": (fail_the_archive, archive_well),
    "archive_problems": (find_problems, archive_well),
    "archive_overdue": (grow_old, archive_well),
}

ONLY_ONCE = {"second_owner", "archive_overdue", "table_growth"}
"""Where the scene can't be played twice."""


@pytest.fixture
def scene(client: SessionContinuity, connection: Connection) -> Scene:
    return Scene(client, connection, client.register_session("shop").instance_id)


def evaluate(client: SessionContinuity, rule: str, settings: AlertSettings = USUAL) -> Settled:
    return client.evaluate_rule(RULES[rule], settings, archive_is_set=True)


def test_every_rule_of_the_database_but_the_one_of_running_queries_has_a_case() -> None:
    assert {rule.name for rule in DATABASE_RULES} == CASES.keys() | {"slow_query"}


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_raises_once_what_lasts_and_resolves_it_when_it_is_over(scene: Scene, rule: str) -> None:
    begin, end = CASES[rule]
    assert evaluate(scene.client, rule) == ([], [])
    begin(scene)
    raised = evaluate(scene.client, rule)
    assert (len(raised.raised), raised.resolved) == (1, [])
    assert evaluate(scene.client, rule) == ([], [])
    (alert,) = scene.client.list_alerts(is_open=True)
    assert (alert.rule, alert.subject) == (rule, raised.raised[0])
    assert "{" not in alert.summary
    assert "unknown" not in alert.summary
    end(scene)
    assert evaluate(scene.client, rule) == ([], raised.raised)
    assert scene.client.list_alerts(is_open=True) == []
    if rule not in ONLY_ONCE:
        begin(scene)
        assert evaluate(scene.client, rule).raised == raised.raised


def test_a_query_that_runs_for_too_long_is_told_without_its_text(client: SessionContinuity, database: str) -> None:
    settings = AlertSettings(thresholds={"slow_query_seconds": 1})
    with psycopg.connect(database, autocommit=True) as slow:
        import threading

        thread = threading.Thread(target=lambda: slow.execute("SELECT 'a secret', pg_sleep(3)"))
        thread.start()
        found: list[Alert] = []
        while thread.is_alive() and not found:
            evaluate(client, "slow_query", settings)
            found = client.list_alerts(is_open=True)
        thread.join()
    assert [alert.rule for alert in found] == ["slow_query"]
    assert "secret" not in f"{found[0].details}{found[0].summary}"
    evaluate(client, "slow_query", settings)
    assert client.list_alerts(is_open=True) == []


def test_a_threshold_of_the_settings_counts(scene: Scene) -> None:
    run_slowly(scene)
    assert (
        evaluate(scene.client, "slow_command", AlertSettings(thresholds={"slow_command_seconds": 6})).raised == []
    )
    assert evaluate(scene.client, "slow_command").raised == [scene.session]


def test_more_than_a_thousand_at_once_resolve_none_that_may_still_last(
    client: SessionContinuity, connection: Connection
) -> None:
    many(connection, 1_200)
    connection.execute(
        "UPDATE supervisor_sessions SET status = 'stale', last_heartbeat = now() - interval '1 hour'"
    )
    assert len(evaluate(client, "stale_session").raised) == 1_000
    connection.execute(
        "UPDATE supervisor_sessions SET last_heartbeat = now() - interval '59 minutes'"
        " WHERE instance_id IN (SELECT instance_id FROM supervisor_sessions LIMIT 600)"
    )
    assert evaluate(client, "stale_session").resolved == []


def test_beyond_a_thousand_what_is_over_is_resolved_and_makes_room(
    client: SessionContinuity, connection: Connection
) -> None:
    many(connection, 1_500)
    connection.execute(
        "UPDATE supervisor_sessions SET status = 'stale', last_heartbeat = now() - interval '1 hour'"
    )
    raised = evaluate(client, "stale_session").raised
    assert len(raised) == 1_000
    connection.execute(
        "UPDATE supervisor_sessions SET status = 'closed' WHERE instance_id = ANY(%s)", (raised[:400],)
    )
    settled = evaluate(client, "stale_session")
    assert (settled.raised, sorted(settled.resolved)) == ([], sorted(raised[:400]))
    assert len(evaluate(client, "stale_session").raised) == 400
    assert evaluate(client, "stale_session") == ([], [])


def end_pass(scene: Scene, service: str, host: str, error: str | None = None) -> None:
    scene.client.record_pass(service, holder=f"{host}:7:a1b2c3", seconds=0, done=1, report={}, error=error)


def test_a_service_that_fails_on_one_host_of_two_is_told_of_that_host_until_it_works_there(scene: Scene) -> None:
    scene.client.hold_leases(["archive"], holder="one:7:a1b2c3")
    end_pass(scene, "heartbeat", "one", "deadline_exceeded: too slow")
    for _ in range(2):
        end_pass(scene, "heartbeat", "two")
        end_pass(scene, "archive", "two")
        evaluate(scene.client, "failing_service")
    (alert,) = scene.client.list_alerts()
    assert (alert.subject, alert.resolved_at) == ("heartbeat on one", None)
    assert alert.summary == "the service heartbeat failed on one: deadline_exceeded: too slow"
    end_pass(scene, "heartbeat", "one")
    assert evaluate(scene.client, "failing_service") == ([], ["heartbeat on one"])


def test_of_a_service_for_the_whole_fleet_the_last_pass_anywhere_counts(scene: Scene) -> None:
    scene.client.hold_leases(["archive"], holder="one:7:a1b2c3")
    end_pass(scene, "archive", "one", "disk_full: no room")
    assert evaluate(scene.client, "failing_service") == (["archive"], [])
    assert scene.client.list_alerts()[0].summary == "the service archive failed on one: disk_full: no room"
    end_pass(scene, "archive", "two")
    assert evaluate(scene.client, "failing_service") == ([], ["archive"])


def test_a_host_that_is_gone_does_not_fail_for_ever(scene: Scene) -> None:
    end_pass(scene, "heartbeat", "one", "deadline_exceeded: too slow")
    assert evaluate(scene.client, "failing_service").raised == ["heartbeat on one"]
    let_time_pass(scene)
    assert evaluate(scene.client, "failing_service").resolved == ["heartbeat on one"]


@pytest.mark.parametrize("rule", ["sweep_held", "failing_service", "archive_problems", "archive_overdue"])
def test_passes_of_before_the_clock_was_set_back_count_no_more(scene: Scene, rule: str) -> None:
    begin, end = CASES[rule]
    ahead = "UPDATE service_passes SET finished_at = now() + interval '1 hour', holder = 'one:1:gone'"
    end(scene)
    scene.sql(ahead)
    begin(scene)
    assert len(evaluate(scene.client, rule).raised) == 1
    scene.sql(ahead)
    end(scene)
    assert len(evaluate(scene.client, rule).resolved) == 1


def test_a_table_that_grew_in_a_quarter_of_an_hour_does_not_grow_so_all_day(scene: Scene) -> None:
    """Though the clock has struck the hour between its two samples."""
    sample(scene, "14 minutes", 0)
    scene.sql("UPDATE storage_samples SET hour = hour - interval '1 hour'")
    sample(scene, "1 minute", 200_000_000)
    assert evaluate(scene.client, "table_growth") == ([], [])
    assert growth(scene) is None


def test_the_growth_is_told_by_the_real_times_of_the_samples_and_in_units_that_people_read(scene: Scene) -> None:
    sample(scene, "8 hours 30 minutes", 0)
    sample(scene, "30 minutes", 1_000_000_000)
    assert evaluate(scene.client, "table_growth").raised == ["event_store"]
    assert scene.client.list_alerts()[0].summary == "event_store grows by 3.0 GB a day and has 1.0 GB"
    size = scene.connection.execute("SELECT pg_total_relation_size('event_store')").fetchall()[0][0]
    assert growth(scene) == pytest.approx(size * 24 / 8.5, rel=0.01)


def growth(scene: Scene) -> float | None:
    (figures,) = [each for each in scene.client.get_storage().tables if each.table == "event_store"]
    return figures.bytes_per_day


def test_a_sample_keeps_its_own_time_and_an_hour_has_one(scene: Scene) -> None:
    for _ in range(2):
        scene.client.sample_storage()
    (kept,) = scene.connection.execute(
        "SELECT count(*), max(now() - sampled_at) < interval '1 minute' FROM storage_samples"
        " WHERE relation = 'event_store'"
    ).fetchall()
    assert kept[1]
    assert kept[0] in (1, 2), "two when the hour struck between"


def test_a_machine_tells_of_itself_and_of_no_other(client: SessionContinuity) -> None:
    low = {"folder": "/srv", "free_mb": 10, "free_percent": 1}
    assert client.settle_machine_alert(DISK_FULL, "one", low).raised == ["one"]
    assert client.settle_machine_alert(DISK_FULL, "two", None) == ([], [])
    assert client.settle_machine_alert(DISK_FULL, "one", low) == ([], [])
    assert [alert.summary for alert in client.list_alerts()] == ["on one the disk of /srv has 10 MB free, 1 %"]
    assert client.settle_machine_alert(DISK_FULL, "one", None).resolved == ["one"]


def test_what_a_machine_told_is_over_when_it_is_gone_for_a_day(scene: Scene) -> None:
    scene.client.settle_machine_alert(DISK_FULL, "one", {"folder": "/srv", "free_mb": 10, "free_percent": 1})
    scene.sql("UPDATE alerts SET raised_at = now() - interval '30 hours'")
    end_pass(scene, "machine_alerts", "one")
    assert scene.client.settle_machine_alert(DISK_FULL, "two", None) == ([], []), (
        "it is there and says nothing new"
    )
    scene.sql("UPDATE service_passes SET finished_at = now() - interval '23 hours'")
    assert scene.client.settle_machine_alert(DISK_FULL, "two", None) == ([], [])
    scene.sql("UPDATE service_passes SET finished_at = now() - interval '25 hours'")
    assert scene.client.settle_machine_alert(DISK_FULL, "two", None) == ([], ["one"])


def test_the_first_person_who_acknowledges_counts(scene: Scene) -> None:
    go_silent(scene)
    evaluate(scene.client, "stale_session")
    (alert,) = scene.client.list_alerts(is_open=True)
    assert scene.client.acknowledge_alert(alert.alert_id, person="Ada").acknowledged_by == "Ada"
    again = scene.client.acknowledge_alert(alert.alert_id, person="Bob")
    assert (again.acknowledged_by, again.resolved_at) == ("Ada", None)


def test_captured_text_in_an_alert_hides_nothing(client: SessionContinuity) -> None:
    client.record_pass(
        "archive", holder="x", seconds=0, done=0, report={}, error="\x1b[31mred\n\u202eevil " + "y" * 999
    )
    evaluate(client, "failing_service")
    (alert,) = client.list_alerts()
    assert "\x1b" not in alert.summary
    assert "\u202e" not in alert.summary
    assert "\n" not in alert.summary
    assert len(alert.summary) < 300


def test_the_archive_is_not_overdue_while_it_has_only_just_begun_to_be_served(scene: Scene) -> None:
    grow_old(scene)
    scene.client.hold_leases(["archive"], holder="one", seconds=60)
    assert evaluate(scene.client, "archive_overdue") == ([], [])
    scene.sql("UPDATE service_leases SET acquired_at = now() - interval '11 minutes'")
    assert evaluate(scene.client, "archive_overdue") == (["archive"], [])
