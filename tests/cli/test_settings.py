"""Settings and where they come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from session_continuity.cli.settings import without_password

from .conftest import Continuity


def test_each_value_says_where_it_comes_from(
    offline: Continuity, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()
    (home / "settings.toml").write_text("connections = 5\n")
    shown = offline("settings", "show", "--dsn", "host=db password=s3cret", "--json").document
    assert shown["dsn"] == {"value": "host=db password=****", "source": "option"}
    assert shown["home"] == {"value": str(home), "source": "CONTINUITY_HOME"}
    assert shown["connections"] == {"value": 5, "source": str(home / "settings.toml")}
    assert shown["brief_tokens"]["source"] == "default"
    monkeypatch.setenv("CONTINUITY_DSN", "postgresql://me:s3cret@db/x")
    table = offline("settings", "show").out
    assert "postgresql://me:****@db/x" in table
    assert "s3cret" not in table


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("postgresql://me:pw@host/db", "postgresql://me:****@host/db"),
        ("postgres://me:p%40w:x@[::1]:5432/db?a=b", "postgres://me:****@[::1]:5432/db?a=b"),
        ("postgresql://me:p@w@host/db", "postgresql://me:****@host/db"),
        (
            "postgresql://host/db?user=me&password=pw&sslmode=require",
            "postgresql://host/db?user=me&password=****&sslmode=require",
        ),
        ("host=h password=pw user=me", "host=h password=**** user=me"),
        (r"host=h password = 'p w\' x' user=me", "host=h password = **** user=me"),
        ("host=h sslpassword=pw", "host=h sslpassword=****"),
        ("host=h user=me", "host=h user=me"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
    ],
)
def test_a_password_is_never_shown(dsn: str, shown: str) -> None:
    assert without_password(dsn) == shown
