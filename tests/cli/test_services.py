"""continuity services, sessions sweep and heartbeat run: what they say and how they end."""

from __future__ import annotations

import os
from typing import Any

import psycopg
import pytest
from tests.cli.conftest import Continuity
from tests.services.fleet import many, silence, statuses

Connection = psycopg.Connection[Any]
SERVICES = [
    "alert_delivery", "alerts", "archive", "automatic_checkpoints", "heartbeat", "machine_alerts", "search",
    "stale_sweep",
]  # fmt: skip


def test_the_list_names_every_service_before_it_ever_ran(continuity: Continuity) -> None:
    found = continuity("services", "list", "--json").document
    assert [each["name"] for each in found] == SERVICES
    assert {each["last_pass"] for each in found} == {None}
    assert continuity("services", "list").out.count("never") == len(SERVICES)


def test_the_list_tells_what_a_pass_did(continuity: Continuity, connection: Connection) -> None:
    many(connection, 3, silent=2)
    ran = continuity("services", "run", "stale_sweep", "--json").document
    assert (ran["more"], ran["pass"]["done"], ran["pass"]["report"]) == (False, 4, {"marked": 2, "checkpoints": 2})
    last = next(
        each for each in continuity("services", "list", "--json").document if each["name"] == "stale_sweep"
    )
    assert last["last_pass"] == ran["pass"]
    assert last["holder"] is None, "one pass by hand takes no lease"
    assert "marked 2, checkpoints 2" in continuity("services", "list").out


def test_what_a_service_logs_stands_beside_its_answer(continuity: Continuity, connection: Connection) -> None:
    many(connection, 1)
    connection.execute("UPDATE supervisor_sessions SET status = 'stale'")
    ran = continuity("services", "run", "alerts", "--json")
    assert ran.document["pass"]["report"] == {"raised": 1}
    assert '"event": "alert_raised"' in ran.err


def test_the_sweep_shows_its_plan_and_marks(continuity: Continuity, connection: Connection) -> None:
    ids = many(connection, 5, silent=2)
    planned = continuity("sessions", "sweep", "--dry-run", "--json").document["would_mark"]
    assert {each["instance_id"] for each in planned} == set(ids[:2])
    assert ids[0] in continuity("sessions", "sweep", "--dry-run").out
    assert statuses(connection) == {"active": 5}
    swept = continuity("sessions", "sweep", "--json").document
    assert (swept["marked"], swept["held"], swept["checkpoints"]) == (2, 0, 2)
    assert statuses(connection) == {"active": 3, "stale": 2}


def test_the_sweep_holds_a_fleet_back_and_lets_it_go_when_told(
    continuity: Continuity, connection: Connection
) -> None:
    many(connection, 450, silent=450)
    held = continuity("sessions", "sweep")
    assert "held back 450" in held.err
    assert statuses(connection) == {"active": 450}
    assert continuity("services", "run", "stale_sweep", "--json").document["pass"]["report"]["held"] == 450
    swept = continuity("sessions", "sweep", "--all", "--json").document
    assert (swept["marked"], swept["held"], swept["checkpoints"]) == (450, 0, 450)
    assert statuses(connection) == {"stale": 450}


def test_the_setting_says_when_a_session_is_stale(
    continuity: Continuity, connection: Connection, tmp_path: Any
) -> None:
    (session,) = many(connection, 1)
    silence(connection, session, "6 minutes")
    home = tmp_path / "another"
    home.mkdir()
    (home / "settings.toml").write_text("stale_after_minutes = 5\n")
    assert continuity("sessions", "sweep", "--json").document["marked"] == 0
    assert continuity("sessions", "sweep", "--home", str(home), "--json").document["marked"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("services", "run", "nothing"), 2, "known are alert_delivery, alerts, archive"),
        (("heartbeat", "run", "--pid", str(os.getpid()), "--every", "0s"), 2, "--every must be 1s to 10m"),
        (("heartbeat", "run", "--pid", str(os.getpid())), 3, "name one with --session"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_do(
    continuity: Continuity, arguments: tuple[str, ...], code: int, said: str
) -> None:
    answer = continuity(*arguments)
    assert answer.code == code
    assert said in answer.err


def test_a_process_with_two_sessions_is_not_guessed(continuity: Continuity) -> None:
    for _ in range(2):
        continuity("sessions", "register", "shop", "--pid", str(os.getpid()), "--json")
    answer = continuity("heartbeat", "run", "--pid", str(os.getpid()), "--json")
    assert (answer.code, answer.document["error"], len(answer.document["matches"])) == (2, "ambiguous", 2)


def test_a_process_that_began_after_its_session_is_not_believed(
    continuity: Continuity, connection: Connection
) -> None:
    registered = continuity("sessions", "register", "shop", "--pid", str(os.getpid()), "--json").document
    connection.execute("UPDATE supervisor_sessions SET created_at = created_at - interval '1 day'")
    answer = continuity("heartbeat", "run", "--pid", str(os.getpid()), "--json")
    assert (answer.code, answer.document["error"]) == (1, "pid_reused")
    assert registered["instance_id"] in answer.document["message"]


def test_a_closed_session_ends_the_keeping_of_it(continuity: Continuity) -> None:
    session = continuity("sessions", "register", "shop", "--json").document["instance_id"]
    continuity("sessions", "close", session)
    kept = continuity("heartbeat", "run", "--pid", str(os.getpid()), "--session", session, "--json").document
    assert (kept["ended"], kept["marked_stale"]) == ("refused", False)
