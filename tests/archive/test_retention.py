"""What the policy lets go: a row that has reached the age of its kind and is not among the last ones goes,
also from a session that is due as a whole."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.archive.aged import Connection, age, make_sessions, open_client, rows

from session_continuity import SessionContinuity
from session_continuity.archive.archiving import run_archive
from session_continuity.domain import retention as rules
from session_continuity.domain.retention import plan_retention
from session_continuity.domain.retention_policy import parse_retention
from session_continuity.postgres.statements import statement

DOCS = Path(__file__).parents[2] / "docs" / "archive.md"
DUE = {"archive_sessions_after": "30d"}


def left(connection: Connection) -> dict[str, int]:
    return {kind: len(found) for kind, found in rows(connection).items()}


def spread(connection: Connection) -> None:
    """Each command a second after the one before."""
    connection.execute("UPDATE command_log SET created_at = created_at + id * interval '1 second'")


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        ({"archive_events_after": "180d"}, {"events"}),
        ({"archive_commands_after": "180d"}, {"commands"}),
        ({"archive_checkpoints_after": "180d"}, {"checkpoints"}),
        ({"archive_events_after": "180d", "archive_commands_after": "180d"}, {"events", "commands"}),
        ({"archive_events_after": "35d", "archive_commands_after": "35d"}, set[str]()),
    ],
)
def test_a_kind_with_an_age_of_its_own_stays_in_a_session_that_is_due(
    database: str, connection: Connection, tmp_path: Path, policy: dict[str, Any], kept: set[str]
) -> None:
    with open_client(database, tmp_path, retention={**DUE, **policy}) as client:
        make_sessions(client, 2)
        age(connection)
        before = left(connection)
        run_archive(client)
        assert {kind for kind, count in left(connection).items() if count == before[kind]} == kept
        age(connection, "180 days")
        run_archive(client)
        assert all(count < before[kind] for kind, count in left(connection).items())


@pytest.mark.parametrize(
    "keep",
    [
        {"keep_events": 7, "keep_commands": 40, "keep_checkpoints": 1},
        {"keep_events": 1000, "keep_commands": 1000, "keep_checkpoints": 1000},
    ],
)
@pytest.mark.parametrize("ages", [{}, dict.fromkeys(("archive_events_after", "archive_commands_after"), "35d")])
def test_the_last_rows_of_a_kind_stay_however_old(
    database: str, connection: Connection, tmp_path: Path, keep: dict[str, int], ages: dict[str, str]
) -> None:
    with open_client(database, tmp_path, retention={**DUE, **ages, **keep}) as client:
        make_sessions(client, 1)
        spread(connection)
        age(connection)
        before = left(connection)
        run_archive(client)
        assert left(connection) == {kind: min(keep[f"keep_{kind}"], count) for kind, count in before.items()}


def policy_of_the_docs() -> dict[str, Any]:
    (example,) = re.findall(r"```toml\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    return tomllib.loads(example)["retention"]


def test_the_example_of_the_docs_does_what_it_says(database: str, connection: Connection, tmp_path: Path) -> None:
    retention = policy_of_the_docs()
    shop = parse_retention(retention, "docs").of("shop")
    with open_client(database, tmp_path, retention=retention) as client:
        make_sessions(client, shop.keep_sessions + 2, events=1)
        spread(connection)
        age(connection)
        before = left(connection)
        run_archive(client)
        after = left(connection)
        assert after["commands"] == before["commands"], "younger than the age of their kind"
        for kind in ("events", "checkpoints"):
            sessions = connection.execute(
                f"SELECT count(DISTINCT instance_id) FROM {'event_store' if kind == 'events' else kind}"
                f" GROUP BY instance_id HAVING count(*) < {before[kind] // (shop.keep_sessions + 2)}".encode()
            ).fetchall()
            assert len(sessions) == 2, "all but the last ones of the project"
        age(connection, "180 days")
        run_archive(client)
        assert left(connection)["commands"] == shop.keep_commands * (shop.keep_sessions + 2)


@pytest.fixture
def client(database: str, tmp_path: Path) -> Iterator[SessionContinuity]:
    with open_client(database, tmp_path, retention={**DUE, "keep_sessions": 3}) as client:
        yield client


def test_where_the_kept_sessions_begin_is_looked_up_once(
    client: SessionContinuity, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_sessions(client, 6, events=1)
    age(connection)
    asked = list[Any]()
    monkeypatch.setattr(rules, "Statement", lambda *given: asked.append(given) or Asked(*given))
    (planned,) = client.run(plan_retention(client.settings.retention))
    assert planned.sessions == 3
    parameters = next(given[1] for given in asked if given[0] == "plan_retention")
    ((explained,),) = connection.execute(
        f"EXPLAIN (ANALYZE, FORMAT JSON) {statement('plan_retention')}".encode(), parameters
    ).fetchall()
    looks = [node["Actual Loops"] for node in nodes(explained[0]["Plan"]) if node.get("Alias") == "t"]
    assert looks == [1]


Asked = rules.Statement


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def test_a_run_does_not_count_what_is_due(
    client: SessionContinuity, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_sessions(client, 4, events=1)
    age(connection)
    asked = list[str]()
    monkeypatch.setattr(rules, "Statement", lambda name, given: asked.append(name) or Asked(name, given))
    assert run_archive(client).sessions == 1
    assert set(asked) == {"list_retained_projects", "find_archivable"}


def test_a_session_whose_checkpoint_is_not_trusted_holds_up_no_other(
    database: str, connection: Connection, tmp_path: Path
) -> None:
    with open_client(database, tmp_path, retention=DUE) as client:
        first, *others = sorted(make_sessions(client))
        connection.execute("UPDATE checkpoints SET state_hash = sha256('') WHERE instance_id = %s", (first,))
        age(connection)
        events = "SELECT count(*) FROM event_store WHERE instance_id = ANY (%s)"
        (before,) = connection.execute(events, ([first],)).fetchall()
        report = run_archive(client, most_rows=10)
        assert (len(report.problems), report.sessions > 0) == (1, True)
        assert connection.execute(events, ([first],)).fetchall() == [before]
        for other in others:
            assert connection.execute(events, ([other],)).fetchall() == [(2,)]
        assert f"continuity checkpoints take {first}" in report.problems[0]
        client.take_checkpoint(first)
        age(connection)
        assert run_archive(client).problems == []
        assert connection.execute(events, ([first],)).fetchall() == [(0,)]
