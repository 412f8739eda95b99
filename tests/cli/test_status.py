"""continuity status: what it tells of the database."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from tests.cli.conftest import Continuity

from session_continuity import SessionContinuity


def test_the_slowest_queries_are_told_without_their_values_where_the_server_counts_them(
    client: SessionContinuity, connection: psycopg.Connection[Any], continuity: Continuity
) -> None:
    assert client.get_storage().slowest_queries is None
    assert "its extension pg_stat_statements does" in continuity("status").err
    known = "SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_stat_statements'"
    if connection.execute(known).fetchall() == [(0,)]:
        pytest.skip("this PostgreSQL comes without pg_stat_statements")
    connection.execute("CREATE EXTENSION pg_stat_statements")
    connection.execute("SELECT pg_sleep(0.2), 'a secret'")
    found = client.get_storage().slowest_queries
    assert found is not None
    (slept,) = (one for one in found if "pg_sleep" in one.query)
    assert slept.query == "SELECT pg_sleep($1), $2"
    assert (slept.calls, slept.mean_ms >= 200, slept.longest_ms >= slept.mean_ms) == (1, True, True)
    assert "SELECT pg_sleep($1), $2" in continuity("status").out
