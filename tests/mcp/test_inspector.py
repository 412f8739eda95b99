"""The protocol's official inspector, by its command line: over standard input and output and over HTTP, as the
resident server offers it, in both eras."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from session_continuity import SessionContinuity
from session_continuity.mcp_server.app import TOOLS

from .npm import bring
from .served import serving

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(900)]

INSPECTOR = "@modelcontextprotocol/inspector@2.12.0"
REFUSED, TOOL_ERROR = 3, 5


@dataclass(frozen=True)
class Inspector:
    """What runs it on one server, in one era."""

    command: list[str]
    environment: dict[str, str]

    def __call__(self, method: str, *options: str) -> tuple[int, Any]:
        done = subprocess.run(
            [*self.command, "--method", method, *options, "--format", "json", "-q"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        answer = json.loads(done.stdout) if done.returncode in (0, TOOL_ERROR) else done.stdout + done.stderr
        return done.returncode, answer

    def call(self, tool: str, **arguments: Any) -> tuple[int, Any]:
        code, answer = self("tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(arguments))
        return code, answer["result"]


@pytest.fixture(scope="session")
def program() -> list[str]:
    return bring(INSPECTOR, "clients/launcher/build/index.js")


@pytest.fixture(params=["legacy", "modern"])
def era(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=["stdio", "http"])
def inspector(request: pytest.FixtureRequest, program: list[str], era: str, database: str, tmp_path: Path) -> Any:
    home = tmp_path / "home"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CONTINUITY_HOME": str(home)}
    common = ["--protocol-era", era]
    if request.param == "stdio":
        server = [sys.executable, "-m", "session_continuity", "mcp"]
        yield Inspector([*program, "--cli", "-e", f"CONTINUITY_DSN={database}", *server, *common], environment)
        return
    with serving(home, database) as served:
        token = ["--header", f"Authorization: Bearer {served.token()}"]
        server = [f"{served.url}/mcp", "--transport", "http", "--stored-auth-only"]
        yield Inspector([*program, "--cli", *server, *common, *token], environment)


def test_it_lists_and_calls_the_tools_and_finds_every_schema_sound(
    inspector: Inspector, client: SessionContinuity
) -> None:
    code, listed = inspector("tools/list", "--strict")
    assert code == 0, listed
    assert {tool["name"] for tool in listed["result"]["tools"]} == {tool.name for tool in TOOLS}
    code, registered = inspector.call("register_session", project="shop")
    assert code == 0, registered
    instance_id = registered["structuredContent"]["instance_id"]
    assert client.get_session(instance_id).project == "shop"
    code, refused = inspector.call("get_session", instance_id="nobody-PS-000000")
    assert (code, refused["isError"]) == (TOOL_ERROR, True)
    code, read = inspector("resources/read", "--uri", f"continuity://sessions/{instance_id}")
    assert code == 0, read
    assert instance_id in json.dumps(read)
    code, prompt = inspector("prompts/get", "--prompt-name", "standup", "--prompt-args", "project=shop")
    assert code == 0, prompt
    assert instance_id in json.dumps(prompt)


def test_without_a_token_it_is_refused(program: list[str], era: str, database: str, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    with serving(tmp_path / "home", database) as served:
        served.token()
        server = [f"{served.url}/mcp", "--transport", "http", "--stored-auth-only", "--protocol-era", era]
        code, said = Inspector([*program, "--cli", *server], environment)("tools/list")
    assert code == REFUSED, said
