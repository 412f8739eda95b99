"""continuity spool: what waits, what can't be stored, and what was lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from session_continuity.capture.spool.spool import Spool
from session_continuity.domain.text import printable

from .conftest import Continuity

WAITING = "claude-code@PreToolUse@7@8-00000000-0000-4000-8000-0123456789ab"
SET_ASIDE = "codex@Stop@7@9-00000000-0000-4000-8000-ba9876543210"


@pytest.fixture
def spool(home: Path) -> Spool:
    """A spool with one record that waits and one that can't be stored."""
    spool = Spool(home / "spool")
    spool.put("claude-code", "PreToolUse", b'{"prompt": "red \\u001b[31m"}', name=WAITING)
    spool.put("codex", "Stop", b"no JSON \x1b[31m \xff", name=SET_ASIDE)
    spool.quarantine(SET_ASIDE, "payload_not_json", "it is no JSON")
    return spool


def test_the_list_shows_what_waits_and_what_is_in_quarantine(offline: Continuity, spool: Spool) -> None:
    shown = offline("spool", "list")
    assert [line.split()[:2] for line in shown.out.splitlines()[1:]] == [
        ["0123456789ab", "waiting"],
        ["ba9876543210", "quarantined"],
    ]
    assert "payload_not_json" in shown.out
    assert "1 waiting, 1 in quarantine" in shown.err
    document = offline("spool", "list", "--state", "quarantined", "--json").document
    assert (document["waiting"], document["quarantined"], document["lost"]) == (1, 1, 0)
    assert [record["name"] for record in document["records"]] == [SET_ASIDE]


def test_losses_are_told_loudly_until_they_are_acknowledged(offline: Continuity, spool: Spool) -> None:
    spool.count_loss("claude-code", "PreToolUse")
    spool.count_loss("claude-code", "PostToolUse")
    assert "2 RECORDS WERE LOST" in offline("spool", "list").err
    assert offline("spool", "list", "--acknowledge-lost", "--json").document["lost"] == 2
    assert offline("spool", "list", "--json").document["lost"] == 0
    assert "LOST" not in offline("spool", "list").err


def test_a_full_spool_is_told_loudly(offline: Continuity, home: Path) -> None:
    spool = Spool(home / "spool", capacity=1)
    spool.put("codex", "Stop", b"{}")
    spool.keep_capacity()
    assert "THE SPOOL IS FULL" in offline("spool", "list").err


def test_a_record_is_shown_by_name_or_id_and_acts_on_no_terminal(offline: Continuity, spool: Spool) -> None:
    for given in (WAITING, "0123456789ab"):
        document = offline("spool", "show", given, "--json").document
        assert document["name"] == WAITING
        assert document["payload"] == {"prompt": "red \x1b[31m"}
    for given in (WAITING, SET_ASIDE):
        for arguments in (["spool", "show", given], ["spool", "show", given, "--json"]):
            answer = offline(*arguments)
            assert answer.code == 0
            assert [line for line in answer.out.splitlines() if printable(line) != line] == []


def test_an_id_that_two_records_have_is_not_guessed(offline: Continuity, spool: Spool) -> None:
    spool.put("codex", "Stop", b"{}", name=SET_ASIDE.replace("@9-", "@10-"))
    answer = offline("spool", "show", "ba9876543210", "--json")
    assert (answer.code, answer.document["error"], len(answer.document["matches"])) == (2, "ambiguous", 2)


def test_retry_lets_a_record_out_of_quarantine(offline: Continuity, spool: Spool) -> None:
    assert offline("spool", "retry", "ba9876543210", "--json").document == {"retried": [SET_ASIDE]}
    assert spool.holds(SET_ASIDE)
    assert offline("spool", "retry", SET_ASIDE, "--json").code == 3
    assert offline("spool", "retry", "--all", "--json").document == {"retried": []}


def test_drop_shows_what_it_would_delete_and_wants_yes(offline: Continuity, spool: Spool) -> None:
    refused = offline("spool", "drop", "--all", "--json")
    assert (refused.code, refused.document["error"], refused.document["plan"]) == (2, "not_confirmed", [SET_ASIDE])
    assert spool.is_quarantined(SET_ASIDE)
    assert offline("spool", "drop", "--all", "--yes", "--json").document == {"dropped": [SET_ASIDE]}
    assert spool.quarantined() == []


def test_what_waits_can_be_neither_dropped_nor_retried(offline: Continuity, spool: Spool) -> None:
    for command in ("drop", "retry"):
        assert offline("spool", command, WAITING, "--json").document["error"] == "record_not_found"
    assert spool.holds(WAITING)


def test_a_spool_that_others_can_enter_is_refused(offline: Continuity, spool: Spool) -> None:
    spool.folder.chmod(0o755)
    answer = offline("spool", "list", "--json")
    assert (answer.code, answer.document["error"]) == (1, "spool_not_private")
