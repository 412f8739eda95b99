"""The life line: while the server that an agent started lives, so do the agent's sessions. Real processes, really
killed: an agent of ours starts the server as a child, the way a harness does."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.capture.scripted import Script, capture
from tests.client.proxy import Proxy

from session_continuity import SessionContinuity
from session_continuity.domain.session_registry import Origin, Session
from session_continuity.processes import Process, seen_process

AGENT = """
import json, os, subprocess, sys
for line in sys.stdin:
    order = json.loads(line)
    if order["do"] == "start":
        server = subprocess.Popen(order["words"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        print(server.pid, flush=True)
    elif order["do"] == "say":
        server.stdin.write(json.dumps(order["message"]).encode() + b"\\n")
        server.stdin.flush()
        if "id" in order["message"]:
            print(server.stdout.readline().decode().strip(), flush=True)
    else:
        server.stdin.close()
        print(server.wait(60), flush=True)
"""
INITIALIZE: dict[str, Any] = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "agent", "version": "1"},
}
SECONDS = 30.0
BEATS = 0.2


def wait_until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.02)


@dataclass
class Agent:
    """An agent's process, and the server that it has started."""

    process: subprocess.Popen[str]
    words: list[str]
    server_pid: int = 0
    _asked: int = field(default=0)

    def start_server(self) -> None:
        self.server_pid = int(self._order(do="start", words=self.words))
        self._say("initialize", INITIALIZE)
        self._order(do="say", message={"jsonrpc": "2.0", "method": "notifications/initialized"}, answers=False)

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The object of a tool's answer."""
        answer = self._say("tools/call", {"name": tool, "arguments": arguments})
        assert answer["isError"] is False, answer
        return answer["structuredContent"]

    def close_input(self) -> int:
        """Close the server's input; returns its exit code."""
        return int(self._order(do="end"))

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(SECONDS)

    @property
    def mark(self) -> Process:
        found = seen_process(self.process.pid, since=datetime.now(UTC))
        assert found is not None
        return found

    def _say(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._asked += 1
        message = {"jsonrpc": "2.0", "id": self._asked, "method": method, "params": params}
        return json.loads(self._order(do="say", message=message))["result"]

    def _order(self, *, answers: bool = True, **order: Any) -> str:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline() if answers else ""


@pytest.fixture
def start_agent(tmp_path: Path) -> Iterator[Callable[..., Agent]]:
    """Starts agents, and ends those that a test has left. Whatever the server says outside the protocol fails."""
    begun: list[subprocess.Popen[str]] = []
    home = tmp_path / "home"
    home.mkdir()
    errors = tmp_path / "errors.txt"

    def start(dsn: str | None, *, shell: bool = False, beats: float = BEATS) -> Agent:
        lines = [f"heartbeat_seconds = {beats}", "deadline_seconds = 2.0"]
        (home / "settings.toml").write_text("\n".join(lines) + "\n")
        words = [sys.executable, "-m", "session_continuity", "mcp", "--home", str(home)]
        if dsn is not None:
            words += ["--dsn", dsn]
        if shell:
            words = ["sh", "-c", '"$@"; exit $?', "sh", *words]
        with errors.open("a") as told:
            process = subprocess.Popen(
                [sys.executable, "-c", AGENT],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=told,
                text=True,
                env={"HOME": str(home), "PATH": os.environ["PATH"]},
                cwd=home,
            )
        begun.append(process)
        return Agent(process, words)

    yield start
    for process in begun:
        process.kill()
        process.communicate()
    assert errors.read_text() == ""


def opened_by_hooks(client: SessionContinuity, agent: Agent, folder: Path, **script: Any) -> Session:
    """The session that the agent's SessionStart hook opens."""
    told = Script(cwd=str(folder), pid=agent.process.pid, start=datetime.now(UTC), **script)
    told.begin()
    capture(client).store(told.hooks)
    (session,) = client.find_sessions(harness_session_id=told.session_id)
    assert session.metadata["process"] == agent.mark.as_json()
    return session


@dataclass(frozen=True)
class Registry:
    """What the tests look at: whether somebody says that a session lives."""

    client: SessionContinuity
    connection: psycopg.Connection[Any]

    def silence(self, session: Session | str, status: str = "active") -> None:
        """As if nobody had said for an hour that it lives."""
        self.connection.execute(
            "UPDATE supervisor_sessions SET last_heartbeat = now() - interval '1 hour', status = %s"
            " WHERE instance_id = %s",
            [status, session if isinstance(session, str) else session.instance_id],
        )

    def is_alive(self, session: Session | str) -> bool:
        found = self.client.get_session(session if isinstance(session, str) else session.instance_id)
        return found.status == "active" and datetime.now(UTC) - found.last_heartbeat < timedelta(minutes=30)

    def is_kept_alive(self, session: Session | str) -> None:
        """It is, again and again."""
        for _ in range(2):
            self.silence(session)
            wait_until(lambda: self.is_alive(session))

    def is_left_alone(self, session: Session | str, by: Session | str) -> None:
        """It is not, while heartbeats of another session come in."""
        instance_id = session if isinstance(session, str) else session.instance_id
        before = self.client.get_session(instance_id)
        self.is_kept_alive(by)
        assert self.client.get_session(instance_id) == before


@pytest.fixture
def registry(client: SessionContinuity, connection: psycopg.Connection[Any]) -> Registry:
    return Registry(client, connection)


Start = Callable[..., Agent]


def test_the_session_that_the_hooks_opened_lives_with_the_server(
    start_agent: Start, database: str, registry: Registry, tmp_path: Path
) -> None:
    agent, other = start_agent(database), start_agent(database)
    session = opened_by_hooks(registry.client, agent, tmp_path)
    elsewhere = opened_by_hooks(registry.client, other, tmp_path / "b", session_id="another")
    agent.start_server()
    registry.is_kept_alive(session)
    registry.silence(session, "stale")
    wait_until(lambda: registry.is_alive(session))
    registry.is_left_alone(elsewhere, by=session)


def test_a_process_of_the_same_id_before_it_is_another(
    start_agent: Start, database: str, registry: Registry, tmp_path: Path
) -> None:
    agent = start_agent(database)
    session = opened_by_hooks(registry.client, agent, tmp_path)
    before = registry.client.register_session(
        "demo",
        origin=Origin(host=socket.gethostname(), pid=agent.process.pid),
        metadata={"process": {**agent.mark.as_json(), "started": "an earlier boot:1"}},
    )
    agent.start_server()
    registry.is_left_alone(before, by=session)


def test_hooks_may_come_after_the_server(
    start_agent: Start, database: str, registry: Registry, tmp_path: Path
) -> None:
    agent = start_agent(database)
    agent.start_server()
    registry.is_kept_alive(opened_by_hooks(registry.client, agent, tmp_path))


def test_a_shell_between_agent_and_server_is_seen_through(
    start_agent: Start, database: str, registry: Registry, tmp_path: Path
) -> None:
    agent = start_agent(database, shell=True)
    agent.start_server()
    registry.is_kept_alive(opened_by_hooks(registry.client, agent, tmp_path))


def test_what_is_registered_resumed_or_forked_through_it_lives_with_it(
    start_agent: Start, database: str, registry: Registry
) -> None:
    agent = start_agent(database)
    agent.start_server()
    registered = agent.call("register_session", project="demo", metadata={"team": "a"})["instance_id"]
    kept = registry.client.get_session(registered)
    assert (kept.host, kept.pid) == (socket.gethostname(), agent.process.pid)
    assert kept.metadata == {"team": "a", "process": agent.mark.as_json()}
    registry.is_kept_alive(registered)
    died = registry.client.register_session("demo").instance_id
    resumed = agent.call("resume_session", instance_id=died)["successor"]
    registry.is_kept_alive(resumed)
    forked = agent.call("fork_session", instance_id=resumed)["successor"]
    registry.is_kept_alive(forked)
    rewound = agent.call("resume_session", instance_id=forked, sequence_num=1)["successor"]
    registry.is_kept_alive(rewound)
    registry.is_left_alone(forked, by=rewound)  # it was taken over


def test_sessions_of_other_agents_are_not_kept_alive_by_the_one_that_starts_them(
    start_agent: Start, database: str, registry: Registry
) -> None:
    agent = start_agent(database)
    agent.start_server()
    supervisor = agent.call("register_session", project="demo", instance_type="MS")["instance_id"]
    child = agent.call("register_session", project="demo", parent_instance_id=supervisor)["instance_id"]
    worker = agent.call("register_session", project="demo")["instance_id"]
    died = registry.client.register_session("demo").instance_id
    resumed = agent.call("resume_session", instance_id=died)["successor"]
    for theirs in (child, worker, resumed):
        assert "process" not in registry.client.get_session(theirs).metadata
        registry.is_left_alone(theirs, by=supervisor)


def test_a_child_that_registers_itself_elsewhere_is_kept_by_its_own_server(
    start_agent: Start, database: str, registry: Registry
) -> None:
    agent, worker = start_agent(database), start_agent(database)
    agent.start_server()
    worker.start_server()
    supervisor = agent.call("register_session", project="demo", instance_type="MS")["instance_id"]
    child = worker.call("register_session", project="demo", parent_instance_id=supervisor)["instance_id"]
    registry.is_kept_alive(child)


def test_a_killed_agent_falls_silent_and_its_process_is_seen_to_be_gone(
    start_agent: Start, database: str, registry: Registry, tmp_path: Path
) -> None:
    agent, other = start_agent(database), start_agent(database)
    session = opened_by_hooks(registry.client, agent, tmp_path)
    witness = opened_by_hooks(registry.client, other, tmp_path / "b", session_id="another")
    agent.start_server()
    other.start_server()
    registry.is_kept_alive(session)
    mark = agent.mark
    agent.kill()
    wait_until(lambda: seen_process(agent.server_pid, since=datetime.now(UTC)) is None)
    registry.is_left_alone(session, by=witness)
    left = registry.client.get_session(session.instance_id)
    assert (left.status, left.metadata["process"]) == ("active", mark.as_json())


def test_a_server_that_outlives_its_agent_says_nothing_more(
    start_agent: Start, database: str, registry: Registry, tmp_path: Path
) -> None:
    """A child of the agent's may hold the server's input open."""
    agent, other = start_agent(database), start_agent(database)
    session = opened_by_hooks(registry.client, agent, tmp_path)
    witness = opened_by_hooks(registry.client, other, tmp_path / "b", session_id="another")
    fifo = tmp_path / "input"
    os.mkfifo(fifo)
    agent.words = ["sh", "-c", '"$@" < "$0"', str(fifo), *agent.words]
    agent.server_pid = int(agent._order(do="start", words=agent.words))
    with fifo.open("wb"):
        other.start_server()
        registry.is_kept_alive(session)
        agent.kill()
        registry.is_kept_alive(witness)  # a last heartbeat may have been under way
        registry.is_left_alone(session, by=witness)


def test_a_server_that_was_killed_and_started_again_goes_on(
    start_agent: Start, database: str, registry: Registry, tmp_path: Path
) -> None:
    agent = start_agent(database)
    session = opened_by_hooks(registry.client, agent, tmp_path)
    agent.start_server()
    registered = agent.call("register_session", project="demo")["instance_id"]
    os.kill(agent.server_pid, signal.SIGKILL)
    agent.start_server()
    registry.is_kept_alive(session)
    registry.is_kept_alive(registered)


def test_a_closed_input_ends_the_server_and_closes_no_session(
    start_agent: Start, database: str, registry: Registry, tmp_path: Path
) -> None:
    agent, other = start_agent(database), start_agent(database)
    session = opened_by_hooks(registry.client, agent, tmp_path)
    witness = opened_by_hooks(registry.client, other, tmp_path / "b", session_id="another")
    agent.start_server()
    other.start_server()
    registered = agent.call("register_session", project="demo")["instance_id"]
    registry.is_kept_alive(registered)
    assert agent.close_input() == 0
    registry.is_left_alone(session, by=witness)
    registry.is_left_alone(registered, by=witness)
    assert registry.client.get_session(registered).closed_at is None


def test_a_session_that_was_taken_over_or_closed_is_left_alone(
    start_agent: Start, database: str, registry: Registry, tmp_path: Path
) -> None:
    agent = start_agent(database)
    session = opened_by_hooks(registry.client, agent, tmp_path)
    agent.start_server()
    closed = agent.call("register_session", project="demo")["instance_id"]
    living = agent.call("register_session", project="demo")["instance_id"]
    registry.is_kept_alive(session)
    registry.client.resume_session(session.instance_id, origin=Origin(host="elsewhere"))
    registry.client.close_session(closed)
    registry.is_left_alone(session, by=living)
    registry.is_kept_alive(living)
    assert registry.client.get_session(closed).status == "closed"


def test_a_session_that_declared_a_shorter_interval_gets_it(
    start_agent: Start, database: str, registry: Registry
) -> None:
    agent = start_agent(database, beats=3_600)
    kept = registry.client.register_session(
        "demo",
        origin=Origin(host=socket.gethostname(), pid=agent.process.pid),
        heartbeat_interval=timedelta(seconds=1),
        metadata={"process": agent.mark.as_json()},
    )
    agent.start_server()
    registry.is_kept_alive(kept)


def test_a_database_that_was_away_is_found_again_and_calls_go_on(
    start_agent: Start, database: str, registry: Registry, tmp_path: Path
) -> None:
    agent = start_agent(None)
    session = opened_by_hooks(registry.client, agent, tmp_path)
    with Proxy(database) as proxy:
        agent.words += ["--dsn", proxy.conninfo]
        agent.start_server()
        registry.is_kept_alive(session)
        proxy.mode = "black hole"
        proxy.cut()
        registry.silence(session)
        answer = agent._say("tools/call", {"name": "get_session", "arguments": {"session": session.instance_id}})
        assert answer["isError"] is True  # within its deadline, while heartbeats wait, too
        assert not registry.is_alive(session)
        proxy.mode = "pass"
        proxy.cut()
        registry.is_kept_alive(session)
        assert agent.call("get_session", session=session.instance_id)["status"] == "active"
        assert agent.close_input() == 0


def test_an_absent_database_is_waited_for_in_silence(
    start_agent: Start, registry: Registry, tmp_path: Path
) -> None:
    agent = start_agent(f"host={tmp_path} port=1")
    agent.start_server()
    assert agent._say("tools/list", {})["tools"]
    assert agent.close_input() == 0


def test_a_heartbeat_starts_no_embedded_server(start_agent: Start, tmp_path: Path) -> None:
    agent = start_agent(None)
    agent.start_server()
    for _ in range(20):  # some beats
        agent._say("tools/list", {})
        time.sleep(BEATS / 5)
    assert agent.close_input() == 0
    assert os.listdir(tmp_path / "home") == ["settings.toml"]
