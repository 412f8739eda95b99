"""The two transports: a process that lives and ends with its agent, and HTTP that admits whom it should."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client import Client

from .conftest import LEGACY, MODERN, Agent, command

pytestmark = pytest.mark.anyio

HEAVY = ("mcp", "mcp_types", "pydantic", "starlette", "session_continuity.mcp_server")
INITIALIZE: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


def serve(database: str, home: Path, lines: str | bytes) -> subprocess.CompletedProcess[bytes]:
    """`continuity mcp` with this on its input, which then closes."""
    return subprocess.run(
        [sys.executable, "-m", "session_continuity", "mcp", "--dsn", database],
        input=lines.encode() if isinstance(lines, str) else lines,
        capture_output=True,
        timeout=60,
        check=False,
        env={"CONTINUITY_HOME": str(home), "HOME": str(home), "PATH": "/usr/bin:/bin"},
    )


def test_the_process_answers_on_its_output_alone_and_ends_when_its_input_does(
    database: str, tmp_path: Path
) -> None:
    call = {
        "jsonrpc": "2.0",
        "id": 2,
        "method": "tools/call",
        "params": {"name": "register_session", "arguments": {"project": "demo"}},
    }
    initialized = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    started = command(database, tmp_path)
    with subprocess.Popen(
        [started.command, *started.args],
        env=started.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        for message in (INITIALIZE, initialized, call):
            process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()
        answers = [json.loads(process.stdout.readline()) for _ in range(2)]
        assert [answer["id"] for answer in answers] == [1, 2]
        assert answers[1]["result"]["isError"] is False
        process.stdin.close()
        assert process.wait(30) == 0
        assert process.stdout.read() == b""
        assert process.stderr.read() == b""


def test_garbage_on_the_input_ends_nothing(database: str, tmp_path: Path) -> None:
    garbage = b"not json\n\xff\xfe\n{}\n[]\n" + b"[" * 100_000 + b"\n" + b'{"jsonrpc":"2.0","id":9,"method":7}\n'
    done = serve(database, tmp_path, garbage + json.dumps(INITIALIZE).encode() + b"\n")
    assert done.returncode == 0
    assert any(json.loads(line).get("id") == 1 for line in done.stdout.splitlines())
    assert b"Traceback" not in done.stdout


def test_the_process_ends_at_once_when_nothing_is_asked(database: str, tmp_path: Path) -> None:
    assert serve(database, tmp_path, b"").returncode == 0


@pytest.mark.parametrize(
    "given", [["--help"], ["mcp", "--help"], ["--json", "sessions", "list"], ["settings", "show"]]
)
def test_no_other_command_loads_the_sdk(database: str, tmp_path: Path, given: list[str]) -> None:
    assert loaded_by(given, database, tmp_path) == []


def test_the_command_that_needs_the_sdk_loads_it(database: str, tmp_path: Path) -> None:
    assert loaded_by(["mcp"], database, tmp_path) == list(HEAVY)  # the control of the test above


def loaded_by(given: list[str], database: str, home: Path) -> list[str]:
    code = (
        "import json, sys\n"
        f"sys.argv = ['continuity', *{given!r}]\n"
        "from session_continuity.__main__ import main\n"
        "assert main() == 0\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"CONTINUITY_DSN": database, "CONTINUITY_HOME": str(home), "PATH": "/usr/bin:/bin"},
    )
    return json.loads(done.stderr.splitlines()[-1])


async def test_http_keeps_no_session_and_answers_json(address: str) -> None:
    async with httpx2.AsyncClient(base_url=address) as http:
        answer = await http.post("/mcp", json=INITIALIZE, headers=HEADERS)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("application/json")
        assert "mcp-session-id" not in answer.headers
        listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
        versioned = {**HEADERS, "MCP-Protocol-Version": "2025-11-25"}
        listed = await http.post("/mcp", json=listing, headers=versioned)
        assert listed.status_code == 200
        assert listed.json()["result"]["tools"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example:80"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Content-Type": "text/plain"}, 400),
    ],
)
async def test_a_page_of_another_site_is_refused(address: str, headers: dict[str, str], status: int) -> None:
    async with httpx2.AsyncClient(base_url=address) as http:
        answer = await http.post("/mcp", json=INITIALIZE, headers={**HEADERS, **headers})
        assert answer.status_code == status
        assert "session-continuity" not in answer.text


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "OPTIONS"])
async def test_only_post_is_answered_and_no_stream_is_held_open(address: str, method: str) -> None:
    async with httpx2.AsyncClient(base_url=address, timeout=10) as http:
        answer = await http.request(method, "/mcp", headers={"Accept": "text/event-stream"})
        assert answer.status_code == 405


async def test_both_eras_work_beside_each_other_on_one_server(address: str) -> None:
    async with (
        Client(address + "/mcp", mode=LEGACY) as old,
        Client(address + "/mcp", mode=MODERN) as new,
    ):
        session = await Agent(old).call("register_session", project="demo")
        found = await Agent(new).call("get_session", session="demo")
        assert found["instance_id"] == session["instance_id"]
        assert (old.protocol_version, new.protocol_version) == ("2025-11-25", MODERN)


async def test_only_a_server_beside_its_agents_looks_at_their_folders(
    agent: Agent, database: str, tmp_path: Path
) -> None:
    """Over HTTP the folder of a caller lies on another machine: what stands at that path here is not its own."""
    folder = tmp_path / "work"
    folder.mkdir()
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    (folder / "private.txt").write_text("mine")
    far = await agent.call("register_session", project="far", cwd=str(folder))
    preview = await agent.call("resume_session", instance_id=far["instance_id"], dry_run=True, cwd=str(folder))
    assert preview["drift"] == []
    async with Client(command(database, tmp_path), mode=MODERN) as connected:
        near = await Agent(connected).call("register_session", project="near", cwd=str(folder))
        preview = await Agent(connected).call("resume_session", instance_id=near["instance_id"], dry_run=True)
        assert [one["expected"] for one in preview["drift"]] == ["private.txt"]
