"""GET /metrics, /readyz and /healthz of a real server, and the files for Prometheus and Grafana."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from tests.resident.conftest import Residents, Running, residents, wait_until
from tests.services.fleet import many

from session_continuity import NewCommand, NewEvent, SessionContinuity
from session_continuity.web.metrics import exposition
from session_continuity.web.tokens import TokenFile

__all__ = ["residents"]
DEPLOY = Path(__file__).parents[2] / "deploy"
PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not there: apt-get install prometheus, or name it in PROMTOOL"
)
OF_PROMETHEUS = {"up", "process_resident_memory_bytes"}


def nothing_waits() -> tuple[int, None]:
    return 0, None


def families(text: str) -> dict[str, Any]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(text: str, name: str, **labels: str) -> float:
    found = [one for one in families(text)[name].samples if labels.items() <= one.labels.items()]
    assert len(found) == 1
    return found[0].value


@pytest.fixture
def scraped(client: SessionContinuity, connection: psycopg.Connection[Any]) -> str:
    many(connection, 3, prefix="shop")
    session = client.register_session("bank").instance_id
    for outcome, took in (("failure", 10), ("success", 5_001)):
        client.record_command(
            session,
            NewCommand(command_type="tool", action="x", outcome=outcome, execution_time_ms=took),  # pyright: ignore
        )
    note = NewEvent(event_type="note_recorded", event_data={"text": "x"})
    client.append_events(session, [note, note])
    client.take_checkpoint(session)
    client.append_events(session, [note])
    connection.execute(
        "UPDATE event_store SET timestamp = date_trunc('minute', now())"
        " - CASE event_type WHEN 'note_recorded' THEN interval '30 seconds' ELSE interval '2 minutes' END"
    )
    connection.execute(
        "UPDATE supervisor_sessions SET last_heartbeat = now() - interval '20 minutes' WHERE instance_id = %s",
        (session,),
    )
    connection.execute("INSERT INTO alerts (rule, subject, severity) VALUES ('slow', 'make', 'warning')")
    client.record_pass("alerts", holder="one", seconds=2, done=0, report={}, error="no")
    return exposition(client, nothing_waits).decode()


def test_the_figures_are_those_of_the_records(scraped: str) -> None:
    assert value(scraped, "continuity_up") == 1
    assert value(scraped, "continuity_sessions", status="active") == 4
    assert value(scraped, "continuity_project_active_sessions", project="shop") == 3
    assert 1_200 <= value(scraped, "continuity_oldest_active_heartbeat_seconds") < 1_300
    assert value(scraped, "continuity_unsaved_events") == 4  # a first event of three, and a note
    assert value(scraped, "continuity_events_last_minute") == 3
    assert value(scraped, "continuity_alerts", rule="slow") == 1
    assert value(scraped, "continuity_commands_failed_last_hour") == 1
    assert value(scraped, "continuity_commands_slow_last_hour") == 1
    assert value(scraped, "continuity_service_last_pass_failed", service="alerts") == 1
    assert value(scraped, "continuity_table_bytes", table="event_store") > 0
    assert value(scraped, "continuity_connections_limit") > 0


def test_every_name_keeps_the_conventions(scraped: str) -> None:
    for name, family in families(scraped).items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert family.documentation
        assert not name.endswith(("_ms", "_minutes", "_kb", "_mb", "_percent"))


@needs_promtool
def test_promtool_finds_nothing_to_mend_in_the_figures(scraped: str) -> None:
    assert PROMTOOL
    checked = subprocess.run([PROMTOOL, "check", "metrics"], input=scraped, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@needs_promtool
def test_promtool_takes_the_rules() -> None:
    assert PROMTOOL
    checked = subprocess.run(
        [PROMTOOL, "check", "rules", DEPLOY / "prometheus-rules.yml"], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr


def test_the_files_for_prometheus_and_grafana_ask_for_what_is_there(scraped: str) -> None:
    there = {sample.name for family in families(scraped).values() for sample in family.samples}
    there |= {name for name, family in families(scraped).items() if not family.samples}
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    rules = yaml.safe_load((DEPLOY / "prometheus-rules.yml").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    for expression in asked:
        names = set(re.findall(r"\b(?:continuity|process)_[a-z_]+|\bup\b", expression))
        assert names
        assert names <= there | OF_PROMETHEUS, names - there


def test_without_a_database_the_scrape_says_so() -> None:
    with SessionContinuity(dsn="host=127.0.0.1 port=9", deadline_seconds=0.5) as nowhere:
        text = exposition(nowhere, nothing_waits).decode()
    assert value(text, "continuity_up") == 0
    assert "continuity_sessions" not in families(text)
    assert value(text, "continuity_spool_records") == 0


def ask(running: Running, path: str, token: str | None = None) -> tuple[int, str]:
    address = urlsplit(running.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=20)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_metrics_need_a_token_of_all_projects(residents: Residents, database: str) -> None:
    running = residents.serve(database)
    tokens = TokenFile(running.home)
    assert ask(running, "/metrics")[0] == 401
    assert ask(running, "/metrics", tokens.create(["capture"])[0])[0] == 403
    assert ask(running, "/metrics", tokens.create(["read"], projects=["shop"])[0])[0] == 403
    status, text = ask(running, "/metrics", tokens.create(["read"])[0])
    assert status == 200
    assert value(text, "continuity_up") == 1


def test_a_server_without_its_database_lives_but_is_not_ready(
    residents: Residents, database: str, server: Any
) -> None:
    running = residents.serve(database)
    assert ask(running, "/readyz") == (200, '{"status":"ready"}')
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    with psycopg.connect(server.conninfo(), autocommit=True) as admin:
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        try:
            wait_until(lambda: ask(running, "/readyz")[0] == 503, 30)
            assert json.loads(ask(running, "/readyz")[1])["status"] == "not_ready"
            assert ask(running, "/healthz")[0] == 200
        finally:
            admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'.encode())
    wait_until(lambda: ask(running, "/readyz")[0] == 200, 60)
