"""/mcp of a real resident process: loaded by its first request, and steady under many callers at once."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from session_continuity.web.tokens import TokenFile

from .conftest import Residents, Running, ask, wait_until

CALLERS = 32
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def running(residents: Residents, database: str) -> Iterator[Running]:
    home = residents.folder / "home"
    home.mkdir(mode=0o700)
    (home / "settings.toml").write_text("serve_requests_per_second = 1000000\n")
    running = residents.serve(database)
    yield running
    assert running.end() == 0


def headers(token: str) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {token}",
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "MCP-Protocol-Version": "2025-11-25",
    }


def called(name: str, **arguments: Any) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


def memory(running: Running) -> int:
    """Resident bytes of the process."""
    return int(Path(f"/proc/{running.process.pid}/statm").read_text().split()[1]) * PAGE_BYTES


def open_files(running: Running) -> int:
    return len(os.listdir(f"/proc/{running.process.pid}/fd"))


def has_loaded_the_sdk(running: Running) -> bool:
    return "pydantic_core" in Path(f"/proc/{running.process.pid}/maps").read_text()


def test_the_sdk_is_loaded_by_the_first_request(running: Running) -> None:
    assert ask(running.url, "GET", "/healthz")[0] == 200
    assert not has_loaded_the_sdk(running)
    token, _ = TokenFile(running.home).create(["write"])
    body = json.dumps(called("register_session", project="demo")).encode()
    status, answer = ask(running.url, "POST", "/mcp", body, headers(token))
    assert (status, answer["result"]["isError"]) == (200, False)
    assert has_loaded_the_sdk(running)
    assert ask(running.url, "GET", "/mcp", headers=headers(token))[0] == 405
    assert token not in (running.home / "logs" / "serve.log").read_text()


def test_an_issuer_of_the_settings_is_named_to_clients(residents: Residents, database: str) -> None:
    home = residents.folder / "home"
    home.mkdir(mode=0o700)
    (home / "settings.toml").write_text(
        'oauth_issuer = "https://login.example/"\noauth_audience = "https://build.example/mcp"\n'
        'oauth_jwks = "http://127.0.0.1:9/keys"\n'
    )
    running = residents.serve(database)
    status, document = ask(running.url, "GET", "/.well-known/oauth-protected-resource/mcp")
    assert (status, document["authorization_servers"]) == (200, ["https://login.example/"])
    bearer = {"Authorization": "Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.e30.eHg"}
    status, answer = ask(running.url, "POST", "/mcp", b"{}", bearer)
    assert (status, answer["error"]) == (503, "issuer_unreachable")
    assert not has_loaded_the_sdk(running)
    assert bearer["Authorization"][7:] not in (running.home / "logs" / "serve.log").read_text()
    assert running.end() == 0


@pytest.mark.parametrize("depth", [250, 200_000])
def test_json_that_is_nested_too_deeply_is_refused(running: Running, depth: int) -> None:
    token, _ = TokenFile(running.home).create(["write"])
    deep = b"[" * depth + b"]" * depth
    body = json.dumps(called("append_events", instance_id="x", events=0)).encode().replace(b"0", deep)
    status, answer = ask(running.url, "POST", "/mcp", body, headers(token))
    assert status == 400
    assert "recursion limit" in answer["error"]["message"]
    assert ask(running.url, "GET", "/healthz")[0] == 200


async def press(running: Running, token: str, seconds: float) -> Counter[str]:
    """Every caller writes and reads its own session until the time is over."""
    answers: Counter[str] = Counter()
    until = time.monotonic() + seconds

    async def caller(http: httpx2.AsyncClient, number: int) -> None:
        async def call(name: str, **arguments: Any) -> Any:
            answer = await http.post("/mcp", json=called(name, **arguments))
            good = answer.status_code == 200 and not answer.json()["result"]["isError"]
            answers["good" if good else answer.text[:300]] += 1
            return answer.json()["result"]["structuredContent"]

        instance_id = (await call("register_session", project=f"caller {number}"))["instance_id"]
        while time.monotonic() < until:
            await call("record_note", instance_id=instance_id, text="x")
            await call("get_work_state", instance_id=instance_id, fields=["notes"])
            await call("list_sessions", limit=5)

    async with httpx2.AsyncClient(base_url=running.url, headers=headers(token), timeout=60) as http:
        await asyncio.gather(*(caller(http, number) for number in range(CALLERS)))
    return answers


def stays_flat(running: Running, seconds: float) -> tuple[Counter[str], int, int]:
    token, _ = TokenFile(running.home).create(["write"])
    asyncio.run(press(running, token, 1.0))  # connections, caches and prepared statements are there from now on
    wait_until(lambda: ask(running.url, "GET", "/healthz")[0] == 200)
    files, size = open_files(running), memory(running)
    answers = asyncio.run(press(running, token, seconds))
    assert set(answers) == {"good"}, answers
    wait_until(lambda: open_files(running) <= files + 2)
    return answers, size, memory(running)


def test_many_callers_at_once_get_good_answers_and_leave_no_connection(running: Running) -> None:
    answers, _, _ = stays_flat(running, 2.0)
    assert answers["good"] > CALLERS


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_a_minute_of_many_callers_leaves_memory_flat(running: Running) -> None:
    answers, before, after = stays_flat(running, 60.0)
    print(f"\n{answers['good']:,} calls, {before >> 20} MiB before, {after >> 20} MiB after")
    assert after - before < 32 * 2**20
