"""The named statements: each parses and plans on a real server, each is used, and each name used is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest

import session_continuity
from session_continuity.postgres.statements import statement, statements

SOURCE = Path(session_continuity.__file__).parent
QUERIES = SOURCE / "postgres" / "queries"
OF_EXTENSIONS = {"get_slowest_queries"}
"""Only asked where the extension is: tests/cli/test_status.py."""

NAMES = sorted(statements())
PLACEHOLDER = re.compile(r"%\((\w+)\)[sbt]")
ADMINISTRATION = (
    "verification.sql", "provisioning.sql", "forgetting.sql", "legal_hold.sql", "archiving.sql", "row_streams.sql",
)  # fmt: skip


def names_in(file: Path) -> list[str]:
    return re.findall(r"(?m)^-- name: (\w+)$", file.read_text("utf-8"))


def prepared(name: str) -> tuple[str, int]:
    """A statement with numbered parameters, and how many it has."""
    numbers: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return f"${numbers.setdefault(match[1], len(numbers) + 1)}"

    return PLACEHOLDER.sub(number, statement(name)), len(numbers)


def plan(connection: psycopg.Connection[Any], name: str) -> str:
    text, parameters = prepared(name)
    connection.execute("SET plan_cache_mode = force_generic_plan")
    connection.execute(f"PREPARE named AS {text}".encode())
    values = f"({', '.join(['NULL'] * parameters)})" if parameters else ""
    rows = connection.execute(f"EXPLAIN EXECUTE named{values}".encode()).fetchall()
    return "\n".join(row[0] for row in rows)


@pytest.mark.parametrize("name", sorted(set(NAMES) - OF_EXTENSIONS))
def test_every_statement_parses_and_plans_with_any_parameters(
    connection: psycopg.Connection[Any], name: str
) -> None:
    assert "cost=" in plan(connection, name)


@pytest.mark.parametrize(
    "name",
    [
        n
        for f in sorted(QUERIES.glob("*.sql"))
        if f.name not in ADMINISTRATION
        for n in names_in(f)
        if n not in OF_EXTENSIONS
    ],
)
def test_the_products_role_may_run_every_statement_of_the_records(
    connection: psycopg.Connection[Any], name: str
) -> None:
    connection.execute("SET ROLE continuity_writer")
    plan(connection, name)


def test_a_statement_that_does_not_fit_the_schema_would_be_seen(connection: psycopg.Connection[Any]) -> None:
    connection.execute("ALTER TABLE event_store RENAME COLUMN event_data TO data")
    with pytest.raises(psycopg.errors.UndefinedColumn):
        plan(connection, "append_event")


def test_every_name_in_the_source_is_a_statement_and_every_statement_is_in_the_source() -> None:
    source = "\n".join(file.read_text("utf-8") for file in SOURCE.rglob("*.py"))
    asked = set(re.findall(r"\b[Ss]tatement\(\s*\"(\w+)\"", source))
    assert asked <= set(NAMES)
    assert [name for name in NAMES if f'"{name}"' not in source] == []


def test_a_statement_has_a_name_of_its_own_and_says_what_it_does() -> None:
    files = sorted(QUERIES.glob("*.sql"))
    assert sorted(name for file in files for name in names_in(file)) == NAMES
    for file in files:
        text = file.read_text("utf-8")
        undescribed = re.findall(r"(?m)^-- name: (\w+)\n(?!-- \S)", text)
        assert undescribed == [], file.name


def test_no_value_stands_between_quotes_where_a_parameter_belongs() -> None:
    for name in NAMES:
        assert not re.search(r"'%\(|{\w+}", statement(name)), name
        assert "%" not in PLACEHOLDER.sub("", statement(name)).replace("%%", ""), name
