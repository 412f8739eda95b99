"""The files in deploy/: what they start really starts."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from psycopg.conninfo import make_conninfo
from tests.conftest import RunningServer, claimed, new_home
from tests.resident.conftest import environment, wait_until

from session_continuity import SessionContinuity
from session_continuity.postgres.embedded import EmbeddedServer
from session_continuity.web.tokens import CAPTURE, TokenFile


@pytest.fixture
def empty_server() -> Iterator[RunningServer]:
    """A server that was made a moment ago."""
    home = new_home()
    embedded = EmbeddedServer(home)
    with claimed(home):
        try:
            embedded.ensure_running()
            yield RunningServer(home, embedded)
        finally:
            embedded.stop()
            shutil.rmtree(home)


DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "session-continuity.service"


def instruction(name: str) -> str:
    """What the container file says under that name, its lines joined."""
    text = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ")
    found = re.findall(rf"^{name} (.*)$", text, re.MULTILINE)
    assert len(found) == 1, name
    return found[0]


def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def test_the_unit_is_sound(tmp_path: Path) -> None:
    verifier = shutil.which("systemd-analyze")
    if verifier is None:
        pytest.skip("systemd-analyze is not installed")
    command = shutil.which("true")
    assert command is not None
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("%h/.local/bin/continuity", command))
    done = subprocess.run(
        [verifier, "verify", "--user", str(unit)],
        env=environment(XDG_RUNTIME_DIR=str(tmp_path)),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_what_the_container_runs_serves_and_is_found_well(tmp_path: Path, database: str) -> None:
    command: list[str] = json.loads(instruction("ENTRYPOINT")) + json.loads(instruction("CMD"))
    check: list[str] = json.loads(instruction("HEALTHCHECK").partition("CMD")[2])
    assert command[0] == "continuity"
    port = command[command.index("--port") + 1]
    free = "0"  # the port of the container may be taken here
    home = tmp_path / "home"
    TokenFile(home).create([CAPTURE])
    words = [sys.executable, "-m", "session_continuity", *command[1:], "--allow-host", "sessions.example"]
    words[words.index("--port") + 1] = free
    process = subprocess.Popen(
        words,
        env=environment(CONTINUITY_HOME=str(home), CONTINUITY_DSN=database),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until((home / "serve.json").exists)
        url: str = json.loads((home / "serve.json").read_text())["url"]
        assert f"127.0.0.1:{port}" in check[-1]
        here = [word.replace(port, url.rpartition(":")[2]) for word in check]
        wait_until(lambda: subprocess.run([sys.executable, *here[1:]], capture_output=True).returncode == 0)
    finally:
        process.terminate()
        assert process.wait(10) == 0


def test_the_compose_file_asks_for_every_secret_and_publishes_to_this_machine_alone() -> None:
    services = compose()["services"]
    assert set(services) == {"postgres", "deploy", "resident"}
    assert services["resident"]["ports"] == ["127.0.0.1:27182:27182"]
    for service in services.values():
        for name, value in service.get("environment", {}).items():
            if "PASSWORD" in name:
                assert re.fullmatch(r"\$\{[A-Z_]+:\?\}", value), name


def test_the_compose_file_s_set_up_makes_the_database_that_the_resident_server_uses(
    empty_server: RunningServer, tmp_path: Path
) -> None:
    services = compose()["services"]
    admin, dsn = "postgresql://postgres@postgres/postgres", services["resident"]["environment"]["CONTINUITY_DSN"]
    (line,) = services["deploy"]["command"]
    assert admin in line
    assert dsn == "postgresql://supervisor@postgres/supervisor_meta"
    here = line.replace("$$", "$").replace(admin, shlex.quote(empty_server.conninfo()))
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "continuity"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m session_continuity "$@"\n')
    program.chmod(0o755)
    given = environment(
        SUPERVISOR_PASSWORD="a b$c", PATH=f"{folder}:/usr/bin:/bin", CONTINUITY_HOME=str(tmp_path / "home")
    )
    done = subprocess.run(["sh", "-c", here], env=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    empty_server.require_password("supervisor")
    login = make_conninfo(
        empty_server.conninfo("supervisor_meta"), user="supervisor", password="a b$c", requirepeer=None
    )
    with SessionContinuity(dsn=login) as client:
        assert client.register_session("shop").project == "shop"
