"""The channels: what a webhook hears, and what becomes of a message that does not arrive."""

from __future__ import annotations

import hashlib
import hmac
import json
import shutil
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
import structlog
from tests.alerts.conftest import Hook, Trickle

from session_continuity import SessionContinuity, Unavailable
from session_continuity.deployment import Deployment
from session_continuity.domain.alert_rules import DISK_FULL, AlertSettings, parse_alerts
from session_continuity.domain.errors import InvalidInput
from session_continuity.services import alert_delivery, channels
from session_continuity.services.alert_delivery import AlertDelivery
from session_continuity.services.alerts import Alerts
from session_continuity.services.channels import Message, Notify, Webhook
from session_continuity.services.machine_alerts import MachineAlerts
from session_continuity.services.service import BoundClient, PassEnded
from session_continuity.settings import Settings, load_settings

Connection = psycopg.Connection[Any]
SECRET = "a shared secret"
LOW = {"folder": "/srv", "free_mb": 10, "free_percent": 1}


def settings_with(home: Path, hook: Hook, **alerts: Any) -> Settings:
    return load_settings(home=home, alerts=AlertSettings(webhook=hook.url, webhook_secret=SECRET, **alerts))


def again(connection: Connection) -> None:
    """As if the pause after a failed attempt were over."""
    connection.execute("UPDATE alert_deliveries SET next_attempt_at = now() - interval '1 second'")


def document(hook: Hook, place: int = -1) -> Mapping[str, Any]:
    return json.loads(hook.heard[place][1])


def test_a_webhook_hears_each_alert_once_when_it_begins_and_when_it_ends(
    client: SessionContinuity, tmp_path: Path, hook: Hook
) -> None:
    service = AlertDelivery(settings_with(tmp_path, hook))
    client.settle_machine_alert(DISK_FULL, "one", LOW)
    assert service.run_once(client).report == {"delivered": 1}
    assert service.run_once(client).report == {}
    headers, body = hook.heard[0]
    told = json.loads(body)
    assert (told["news"], told["rule"], told["subject"]) == ("raised", "disk_full", "one")
    assert told["summary"] == "on one the disk of /srv has 10 MB free, 1 %"
    assert headers["Idempotency-Key"] == told["id"]
    stamp, signature = headers["Continuity-Signature"].removeprefix("t=").split(",v1=")
    assert signature == hmac.new(SECRET.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    client.settle_machine_alert(DISK_FULL, "one", None)
    service.run_once(client)
    service.run_once(client)
    assert [json.loads(body)["news"] for _, body in hook.heard] == ["raised", "resolved"]


def test_a_message_that_does_not_arrive_is_sent_again_under_the_same_id(
    client: SessionContinuity, connection: Connection, tmp_path: Path, hook: Hook
) -> None:
    service = AlertDelivery(settings_with(tmp_path, hook))
    client.settle_machine_alert(DISK_FULL, "one", LOW)
    hook.answers = [500, 302]
    assert service.run_once(client).report == {"failed": 1}
    assert service.run_once(client).report == {}, "not before its pause is over"
    again(connection)
    assert service.run_once(client).report == {"failed": 1}, "a redirect is not followed"
    again(connection)
    assert service.run_once(client).report == {"delivered": 1}
    assert len({headers["Idempotency-Key"] for headers, _ in hook.heard}) == 1
    (kept,) = connection.execute(
        "SELECT attempts, error, delivered_at IS NOT NULL FROM alert_deliveries"
    ).fetchall()
    assert kept == (3, None, True)


def test_a_channel_that_never_answers_leaves_the_others_their_messages(
    client: SessionContinuity,
    tmp_path: Path,
    hook: Hook,
    silent_hook: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notified = hook.url.replace("http://", "json://")
    settings = load_settings(home=tmp_path, alerts=AlertSettings(webhook=silent_hook, notify=(notified,)))
    for number in range(25):
        client.settle_machine_alert(DISK_FULL, f"host-{number}", LOW)
    service = AlertDelivery(settings)
    Notify(notified).send(Message.of_machine(DISK_FULL, "test", "x", LOW, alert_id="1"))  # loads Apprise
    monkeypatch.setattr(channels, "TIMEOUT_SECONDS", 1.0)
    first, second = service.run_once(client), service.run_once(client)
    assert (first.report, first.more) == ({"delivered": 20, "failed": 1}, True)
    assert (second.report, second.more) == ({"delivered": 5, "failed": 1}, False)


def test_a_slow_channel_is_left_for_this_pass_when_its_time_is_over(
    client: SessionContinuity, tmp_path: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_delivery, "_SECONDS_AT_ONCE", 0.2)
    hook.pause = 0.2
    for host in ("one", "two"):
        client.settle_machine_alert(DISK_FULL, host, LOW)
    service = AlertDelivery(settings_with(tmp_path, hook))
    first, second = service.run_once(client), service.run_once(client)
    assert (first.report, first.more) == ({"delivered": 1}, True)
    assert second.report == {"delivered": 1}


def test_an_answer_that_never_ends_is_ended_and_the_channel_goes_on(
    trickle: Trickle, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook = Webhook(trickle.url, None)
    message = Message.of_machine(DISK_FULL, "raised", "one", LOW, alert_id="1")
    monkeypatch.setattr(channels, "TIMEOUT_SECONDS", 0.4)
    assert webhook.send(message) == "no whole answer within 0.4 s"
    assert trickle.ended.wait(10), "the connection is closed"
    monkeypatch.setattr(channels, "TIMEOUT_SECONDS", 20.0)
    assert webhook.send(message) is None, "the control: given time, it arrives"


def test_the_last_attempt_at_a_message_says_in_the_log_that_it_is_given_up(
    client: SessionContinuity, connection: Connection, tmp_path: Path, hook: Hook
) -> None:
    service = AlertDelivery(settings_with(tmp_path, hook))
    client.settle_machine_alert(DISK_FULL, "one", LOW)
    hook.answers = [500] * 3
    for attempts, told in ((None, 0), (18, 0), (19, 1), (20, 0)):
        again(connection)
        connection.execute("UPDATE alert_deliveries SET attempts = coalesce(%s, attempts)", (attempts,))
        with structlog.testing.capture_logs() as logged:
            service.run_once(client)
        given_up = [line for line in logged if line["event"] == "alert_given_up"]
        assert len(given_up) == told
    assert len(hook.heard) == 3


def test_a_webhook_that_nobody_answers_says_why(tmp_path: Path) -> None:
    message = Message.of_machine(DISK_FULL, "raised", "one", LOW, alert_id="1")
    assert "refused" in (Webhook("http://127.0.0.1:9/", None).send(message) or "").lower()


def test_apprise_reaches_what_it_knows_and_says_what_it_does_not(hook: Hook) -> None:
    message = Message.of_machine(DISK_FULL, "raised", "one", LOW, alert_id="1")
    assert Notify(hook.url.replace("http://", "json://")).send(message) is None
    assert "10 MB free" in document(hook)["message"]
    assert Notify("nonsense://x").send(message) == "Apprise does not know that URL"
    assert "could not" in (Notify("json://127.0.0.1:9/").send(message) or "")


def test_without_the_extra_a_channel_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    message = Message.of_machine(DISK_FULL, "raised", "one", LOW, alert_id="1")
    assert "session-continuity[notify]" in (Notify("json://x").send(message) or "")


def test_a_machine_whose_spool_waits_or_whose_disk_is_full_says_so(
    client: SessionContinuity, tmp_path: Path
) -> None:
    waiting: list[tuple[int, datetime | None]] = [(3, datetime.now(UTC) - timedelta(minutes=11)), (0, None)]
    service = MachineAlerts(load_settings(home=tmp_path), "one", lambda: waiting[0])
    assert service.run_once(client).done == 1
    assert service.run_once(client).done == 0
    (alert,) = client.list_alerts(is_open=True)
    assert alert.summary == "on one 3 captured records wait, the oldest for 11 minutes"
    waiting.pop(0)
    assert service.run_once(client).done == 1
    full = AlertSettings(thresholds={"disk_free_percent": 90, "disk_free_mb": 10_000_000})
    MachineAlerts(load_settings(home=tmp_path, alerts=full), "one", lambda: (0, None)).run_once(client)
    assert [alert.rule for alert in client.list_alerts(is_open=True)] == ["disk_full"]


@pytest.mark.parametrize("full", ["home", "archive", "postgres"])
def test_the_fullest_disk_of_home_archive_and_embedded_server_is_told(
    client: SessionContinuity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    settings = load_settings(home=tmp_path / "home", archive_folder=tmp_path / "archive")
    data = Deployment(settings).data_folder()
    assert data is not None
    folders = {"home": settings.home, "archive": tmp_path / "archive", "postgres": data}
    free = dict.fromkeys(folders.values(), 500000000) | {folders[full]: 10_000_000}
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(total=10**11, free=free[folder]))
    MachineAlerts(settings, "one", lambda: (0, None)).run_once(client)
    (alert,) = client.list_alerts(is_open=True)
    assert alert.details == {"folder": str(folders[full]), "free_mb": 10, "free_percent": 0.0}
    assert alert.summary == f"on one the disk of {folders[full]} has 10 MB free, 0.0 %"


def test_a_database_that_is_gone_is_told_straight_to_the_channels_once_and_its_return_too(
    client: SessionContinuity, tmp_path: Path, hook: Hook
) -> None:
    settings = settings_with(tmp_path, hook, thresholds={"database_unreachable_seconds": 0})
    service = MachineAlerts(settings, "one", lambda: (0, None))
    with SessionContinuity(dsn="host=127.0.0.1 port=9", deadline_seconds=0.5) as nowhere:
        for _ in range(3):
            with pytest.raises(Unavailable):
                service.run_once(nowhere)
    service.run_once(client)
    service.run_once(client)
    assert [json.loads(body)["news"] for _, body in hook.heard] == ["raised", "resolved"]
    assert document(hook)["rule"] == "database_unreachable"


def test_whom_an_outage_of_the_network_left_out_is_told_at_the_next_look(
    client: SessionContinuity, tmp_path: Path, hook: Hook
) -> None:
    settings = settings_with(tmp_path, hook, thresholds={"database_unreachable_seconds": 0})
    service = MachineAlerts(settings, "one", lambda: (0, None))
    hook.answers = [503, 503]
    with SessionContinuity(dsn="host=127.0.0.1 port=9", deadline_seconds=0.5) as nowhere:
        for _ in range(3):
            with pytest.raises(Unavailable):
                service.run_once(nowhere)
    service.run_once(client)
    told = [json.loads(body) for _, body in hook.heard]
    assert [one["news"] for one in told] == ["raised", "raised", "raised", "resolved"]
    assert len({one["id"].partition(":")[0] for one in told}) == 1


def test_what_was_sent_is_noted_although_the_pass_has_to_end(
    client: SessionContinuity, connection: Connection, tmp_path: Path, hook: Hook
) -> None:
    for host in ("one", "two"):
        client.settle_machine_alert(DISK_FULL, host, LOW)
    service = AlertDelivery(settings_with(tmp_path, hook))
    with pytest.raises(PassEnded):
        service.run_once(BoundClient(client, lambda: not hook.heard))
    again(connection)
    service.run_once(client)
    assert sorted(json.loads(body)["subject"] for _, body in hook.heard) == ["one", "two"]


def test_an_alert_that_is_over_at_once_is_told_all_the_same(
    client: SessionContinuity, tmp_path: Path, hook: Hook
) -> None:
    client.settle_machine_alert(DISK_FULL, "one", LOW)
    client.settle_machine_alert(DISK_FULL, "one", None)
    service = AlertDelivery(settings_with(tmp_path, hook))
    service.run_once(client)
    service.run_once(client)
    assert [json.loads(body)["news"] for _, body in hook.heard] == ["raised", "resolved"]


def test_a_pass_evaluates_every_rule_that_is_not_off_and_samples_the_tables(
    client: SessionContinuity, connection: Connection, tmp_path: Path
) -> None:
    session = client.register_session("shop").instance_id
    connection.execute("UPDATE supervisor_sessions SET status = 'stale'")
    off = Alerts(load_settings(home=tmp_path, alerts=AlertSettings(off=frozenset({"stale_session"}))))
    assert off.run_once(client).done == 0
    assert Alerts(load_settings(home=tmp_path)).run_once(client).report == {"raised": 1}
    assert [alert.subject for alert in client.list_alerts()] == [session]
    (samples,) = connection.execute(
        "SELECT count(*) FROM storage_samples WHERE relation = 'event_store'"
    ).fetchall()
    assert samples[0] == 1


@pytest.mark.parametrize(
    "table",
    [
        "text",
        {"of": []},
        {"off": ["no_rule"]},
        {"off": "stale_session"},
        {"slow_command_seconds": "5"},
        {"slow_command_seconds": 1},
        {"failing_tests": True},
        {"webhook": "ftp://x"},
        {"webhook": ""},
        {"webhook": "http://"},
        {"webhook": "https:///hook"},
        {"webhook": "https://[::1/hook"},
        {"webhook": "https://host:port/"},
        {"notify": [1]},
    ],
)
def test_a_wrong_setting_is_refused_and_names_its_place(table: Any) -> None:
    with pytest.raises(InvalidInput, match=r"alerts.*settings\.toml"):
        parse_alerts(table, "settings.toml")


def test_what_is_shown_of_the_settings_holds_no_secret() -> None:
    parsed = parse_alerts(
        {"webhook": "https://u:pw@x.example/h?key=k", "webhook_secret": "s3", "notify": ["mailto://u:pw@x"]},
        "here",
    )
    shown = f"{parsed.as_json()} {parsed!r}"
    assert "mailto" in shown
    assert "s3" not in shown
    assert "pw" not in shown
    assert "key=k" not in f"{parsed.as_json()}"
    assert "/h" not in f"{parsed.as_json()['webhook']}{parsed!r}"
