"""continuity tokens: created once, listed without their text, revoked."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from .conftest import Continuity


def test_a_token_is_printed_once_and_kept_as_a_hash(offline: Continuity, home: Path) -> None:
    printed = offline("tokens", "create", "--scope", "capture")
    made = offline("tokens", "create", "--scope", "read", "--scope", "write", "--name", "build", "--json").document
    kept = (home / "tokens.json").read_text()
    text = printed.out.strip()
    assert text.startswith("continuity_")
    assert "not shown again" in printed.err
    assert made["scopes"] == ["read", "write"]
    for secret in (text, made["token"]):
        assert secret not in kept
        assert secret not in offline("tokens", "list").out
        assert secret not in offline("tokens", "list", "--json").out
    assert len(json.loads(kept)["tokens"]) == 2


def test_the_list_says_what_a_token_admits_to(offline: Continuity) -> None:
    offline("tokens", "create", "--scope", "write", "--project", "shop", "--project", "bank", "--expires", "30d")
    (listed,) = offline("tokens", "list", "--json").document
    assert (listed["scopes"], listed["projects"], listed["valid"]) == (["write"], ["bank", "shop"], True)
    assert listed["last_used_at"] is None
    left = datetime.fromisoformat(listed["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=29) < left <= timedelta(days=30)
    assert "bank, shop" in offline("tokens", "list").out


@pytest.mark.parametrize("by", ["id", "name"])
def test_a_token_is_revoked_by_its_id_or_name(offline: Continuity, by: str) -> None:
    offline("tokens", "create", "--scope", "read", "--name", "other")
    made = offline("tokens", "create", "--scope", "read", "--name", "build", "--json").document
    assert offline("tokens", "revoke", made[by], "--json").document == {"revoked": made["id"]}
    assert [each["name"] for each in offline("tokens", "list", "--json").document] == ["other"]
    again = offline("tokens", "revoke", made[by], "--json")
    assert (again.code, again.document["error"]) == (3, "not_found")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "usage"),
        (["--scope", "everything"], "usage"),
        (["--scope", "read", "--expires", "tomorrow"], "usage"),
        (["--scope", "read", "--expires", "999999999w"], "usage"),
        (["--scope", "read", "--expires", "600000w"], "token_lifetime"),
        (["--scope", "capture", "--project", "shop"], "token_scope"),
        (["--scope", "admin", "--project", "shop"], "token_scope"),
        (["--scope", "read", "--project", ""], "text_empty"),
        (["--scope", "read", "--name", "taken"], "token_name_taken"),
    ],
)
def test_what_cant_be_granted_is_refused(offline: Continuity, arguments: list[str], error: str) -> None:
    offline("tokens", "create", "--scope", "read", "--name", "taken")
    answer = offline("tokens", "create", *arguments, "--json")
    assert answer.code == 2, answer
    assert answer.document["error"] == error, answer
    assert len(offline("tokens", "list", "--json").document) == 1


def test_without_tokens_it_says_so_and_makes_nothing(offline: Continuity, home: Path) -> None:
    assert offline("tokens", "list", "--json").document == []
    assert "no tokens" in offline("tokens", "list").out + offline("tokens", "list").err
    assert not home.exists()
