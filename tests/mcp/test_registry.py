"""server.json, by which the MCP registry knows the server: in step with the package, and true."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from session_continuity.mcp_server.app import create_server
from session_continuity.settings import load_settings

ROOT = Path(__file__).parents[2]
SERVER: dict[str, Any] = json.loads((ROOT / "server.json").read_bytes())
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
(PACKAGE,) = SERVER["packages"]


def test_it_names_the_package_and_its_version() -> None:
    assert (PACKAGE["registryType"], PACKAGE["identifier"]) == ("pypi", PROJECT["name"])
    assert SERVER["version"] == PACKAGE["version"] == PROJECT["version"]


def test_it_says_what_the_server_says_of_itself(database: str) -> None:
    from session_continuity import AsyncSessionContinuity

    server = create_server(AsyncSessionContinuity(load_settings(dsn=database)))
    assert (SERVER["title"], SERVER["description"]) == (server.title, server.description)


def test_the_command_that_a_client_makes_of_it_serves(database: str, tmp_path: Path) -> None:
    """`uvx IDENTIFIER ARGUMENTS` runs the package's program of that very name."""
    (program,) = entry_points(group="console_scripts", name=PACKAGE["identifier"])
    arguments = [argument["value"] for argument in PACKAGE["packageArguments"]]
    known = {each["name"] for each in PACKAGE["environmentVariables"]}
    code = (
        f"import sys; sys.argv = {[program.name, *arguments]!r}; from {program.module} import {program.attr};"
        f" sys.exit({program.attr}())"
    )
    message = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    environment = {"CONTINUITY_DSN": database, "CONTINUITY_HOME": str(tmp_path)}
    assert environment.keys() == known
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(message).encode() + b"\n",
        capture_output=True,
        timeout=60,
        check=True,
        env=environment,
    )
    assert json.loads(done.stdout)["id"] == 1


def test_it_keeps_the_registry_s_limits() -> None:
    assert re.fullmatch(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+", SERVER["name"])
    assert 1 <= len(SERVER["description"]) <= 100
    assert re.fullmatch(
        r"https://static\.modelcontextprotocol\.io/schemas/\d{4}-\d\d-\d\d/server\.schema\.json", SERVER["$schema"]
    )
    (secret,) = [each["name"] for each in PACKAGE["environmentVariables"] if each.get("isSecret")]
    assert secret == "CONTINUITY_DSN"


def test_it_fits_the_registry_s_schema() -> None:
    """CONTINUITY_REGISTRY_SCHEMA: the file that `$schema` names, which is not ours to ship."""
    file = os.environ.get("CONTINUITY_REGISTRY_SCHEMA")
    if not file:
        pytest.skip("CONTINUITY_REGISTRY_SCHEMA does not name the registry's schema file")
    schema = json.loads(Path(file).read_bytes())
    assert schema["$id"] == SERVER["$schema"]
    jsonschema.validate(SERVER, schema)
