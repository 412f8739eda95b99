"""Real clients in a network namespace of their own, against a scripted model: `make test-clients`.

CONTINUITY_CLIENTS names the folder into which they are installed. What drives them (the scripted model, the empty
environment) lies beside the repository in `shared/clients`, and is no part of it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from session_continuity import SessionContinuity
from session_continuity.domain.command_log import Command
from session_continuity.domain.session_registry import Session

SCRIPTS = Path(__file__).parents[3] / "shared" / "clients"
INSTALLED = Path(os.environ.get("CONTINUITY_CLIENTS") or Path.home() / ".cache" / "session-continuity" / "clients")
PROGRAMS = {
    "claude-code": "claude/node_modules/@anthropic-ai/claude-code-linux-*/claude",
    "codex": "codex/node_modules/@openai/codex-linux-*/vendor/*/bin/codex",
    "gemini-cli": "gemini/node_modules/.bin/gemini",
    "opencode": "opencode/node_modules/opencode-linux-*/bin/opencode",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here needs the clients, and time."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.clients)
            item.add_marker(pytest.mark.timeout(600))


@dataclass(frozen=True)
class Recorded:
    """What is in the database after a script, and what the script tells."""

    client: SessionContinuity
    report: dict[str, Any]

    def sessions(self) -> list[Session]:
        """All of them, in the order in which they began."""
        return sorted(self.client.find_sessions(limit=1_000), key=lambda session: session.created_at)

    def line(self) -> list[Session]:
        """The instances of the one thread, by epoch, without subagents."""
        main = [session for session in self.sessions() if session.relation != "spawned"]
        assert len({session.thread_id for session in main}) == 1, main
        return sorted(main, key=lambda session: session.owner_epoch)

    def subagents(self) -> list[Session]:
        return [session for session in self.sessions() if session.relation == "spawned"]

    def commands(self, session: Session) -> list[Command]:
        """As they began."""
        found = self.client.search_commands(instance_id=session.instance_id, limit=1_000)
        return sorted(found, key=lambda command: (command.started_at or command.created_at, command.id))

    def events(self, session: Session, event_type: str) -> list[dict[str, Any]]:
        found = self.client.read_events(session.instance_id, event_type=event_type, limit=1_000)
        return [event.event_data for event in found]

    def event_types(self, session: Session) -> list[str]:
        """What happened, without the signs of life, in order."""
        found = self.client.read_events(session.instance_id, limit=1_000)
        return [event.event_type for event in found if event.event_type != "instance_heartbeat"]


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make plugins` builds."""
    folder = tmp_path_factory.mktemp("packages") / "built"
    build = Path(__file__).parents[2] / "plugins" / "build.py"
    subprocess.run([sys.executable, str(build), str(folder)], check=True, timeout=60)
    return folder


@pytest.fixture(params=["init", "package"])
def installed_by(request: pytest.FixtureRequest, packages: Path) -> Callable[[str], list[str]]:
    """The script's options for a harness: set up by `continuity init`, or by its package."""
    by_package = request.param == "package"
    return lambda harness: ["--package", str(packages / harness)] if by_package else []


@pytest.fixture
def run_script(database: str, tmp_path: Path) -> Iterator[Callable[..., Recorded]]:
    """Runs a client's script against the fresh database."""
    if not SCRIPTS.is_dir():
        pytest.skip(f"what drives the clients is not beside the repository: {SCRIPTS}")
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed, and clients run in a network namespace only")
    (tmp_path / "work").mkdir()
    client = SessionContinuity(dsn=database)

    def run(harness: str, *options: str) -> Recorded:
        program = next(iter(sorted(INSTALLED.glob(PROGRAMS[harness]))), None)
        if program is None:
            pytest.skip(f"{harness} is not installed in {INSTALLED}; `make test-clients` installs it")
        report = tmp_path / "report.json"
        done = subprocess.run(
            [
                sys.executable,
                str(Path(__file__).with_name("scripted.py")),
                *("--scripts", str(SCRIPTS), "--client", harness, "--program", str(program)),
                *("--dsn", database, "--report", str(report)),
                *options,
            ],
            env={"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path / "work")},
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return Recorded(client, json.loads(report.read_text()))

    yield run
    client.close()
