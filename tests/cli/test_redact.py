"""What redaction would take out of a file, and forgetting, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

from tests.capture.planting import Planter

from .conftest import INSTANCE, Continuity

PLANTED = Planter(31).all()


def test_a_file_is_checked_without_showing_a_secret(offline: Continuity, tmp_path: Path) -> None:
    lines = [{"a": {"b": [one.text]}, one.secret: 1} for one in PLANTED if one.is_token]
    file = tmp_path / "session.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    for form in ((), ("--json",)):
        answer = offline("redact", "check", str(file), *form)
        assert answer.code == 0
        assert all(one.secret not in answer.out + answer.err for one in PLANTED)
    found = answer.document["findings"]
    assert {one["line"] for one in found} == set(range(1, len(lines) + 1))
    assert found[1]["place"] == ".a.b[0]"
    assert found[0]["place"] == f".[secret:{found[0]['type']}:{found[0]['tag']}] (key)"
    assert sum(answer.document["counts"].values()) == 2 * len(lines)


def test_text_and_standard_input_are_checked_by_line(offline: Continuity) -> None:
    secret = next(one for one in PLANTED if one.kind == ".env")
    answer = offline("redact", "check", "-", "--json", stdin=f"\n\n{secret.text}\n")
    assert [(one["line"], one["type"]) for one in answer.document["findings"]] == [(4, "token")]
    assert offline("redact", "check", "-", stdin="nothing here").err.startswith("nothing would be redacted")


def test_a_rules_file_that_is_wrong_is_told(offline: Continuity, home: Path) -> None:
    home.mkdir()
    (home / "redaction.toml").write_text("[nonsense]")
    answer = offline("redact", "check", "-", "--json", stdin="x")
    assert (answer.code, answer.document["error"]) == (2, "redaction_rules")


def test_forgetting_shows_its_plan_first(continuity: Continuity, session: str) -> None:
    assert continuity("sessions", "forget", session, "--yes", "--json").document["error"] == "session_active"
    continuity("sessions", "close", session)
    plan = continuity("sessions", "forget", session)
    assert plan.out.startswith("would erase 2 events, 0 commands")
    assert "--yes" in plan.err
    assert continuity("events", "list", session, "--json").document != []
    done = continuity("sessions", "forget", session, "--yes", "--json")
    assert (done.code, done.document["done"], done.document["instance_ids"]) == (0, True, [INSTANCE])
    assert continuity("events", "list", session, "--json").document == []
