"""The protocol's official conformance suite, over the server that the product makes.

Twice: with the fixtures that the suite asks for, on the SDK's full transport, every scored scenario of both
revisions; and as it is served, stateless and with JSON answers, the scenarios that need no fixture.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from session_continuity import AsyncSessionContinuity
from session_continuity.mcp_server import create_server

from .conformance_fixtures import add_fixtures
from .conftest import SECURITY, listening
from .npm import bring

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings(
        "ignore::mcp.shared.exceptions.MCPDeprecationWarning"
    ),  # old parts are asked for, too
]

SUITE = "@modelcontextprotocol/conformance@0.2.0-alpha.12"

WITHOUT_FIXTURES = {
    "2025-11-25": [
        "server-initialize", "ping", "tools-list", "resources-list", "prompts-list", "dns-rebinding-protection",
        "server-sse-multiple-streams",
    ],
    "2026-07-28": [
        "tools-list", "resources-list", "prompts-list", "dns-rebinding-protection", "caching",
        "sep-2164-resource-not-found", "http-header-validation", "server-sse-multiple-streams",
        "input-required-result-unsupported-methods",
    ],
}  # fmt: skip


@pytest.fixture(scope="session")
def suite() -> list[str]:
    """The command of the suite."""
    return bring(SUITE, "dist/index.js")


def run(suite: list[str], url: str, folder: Path, *options: str) -> tuple[int, str]:
    done = subprocess.run(
        [*suite, "server", "--url", url, *options],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "NO_COLOR": "1"},
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def fixtures_address(database: str) -> Iterator[str]:
    client = AsyncSessionContinuity(dsn=database)
    server = create_server(client, extend=add_fixtures)
    with listening(server.streamable_http_app(transport_security=SECURITY)) as url:
        yield url + "/mcp"


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
def test_every_scored_scenario_passes(
    suite: list[str], fixtures_address: str, tmp_path: Path, revision: str
) -> None:
    code, said = run(suite, fixtures_address, tmp_path, "--requirements", revision)
    print(said[-3_000:])
    assert code == 0, said[-6_000:]


@pytest.mark.parametrize(
    ("revision", "scenario"), [(revision, name) for revision, names in WITHOUT_FIXTURES.items() for name in names]
)
def test_the_server_as_it_is_served_passes(
    suite: list[str], address: str, tmp_path: Path, revision: str, scenario: str
) -> None:
    code, said = run(suite, address + "/mcp", tmp_path, "--scenario", scenario, "--spec-version", revision)
    assert code == 0, said[-3_000:]


def test_a_scenario_that_fails_would_be_seen(suite: list[str], address: str, tmp_path: Path) -> None:
    """The control: without its fixture a scenario fails."""
    code, said = run(
        suite, address + "/mcp", tmp_path, "--scenario", "tools-call-image", "--spec-version", "2026-07-28"
    )
    assert code != 0, said
