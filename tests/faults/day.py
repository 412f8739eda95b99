"""A day of many agents, compressed: each works, idles, is compacted, ends and is resumed, again and again.

Every agent is told by the paths that real ones take: a process of its own whose hooks really run, the spool that
these fill, or POST /capture from another machine; and each asks the server over MCP.
"""

from __future__ import annotations

import base64
import json
import math
import random
import shlex
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from tests.capture.hooking import command
from tests.capture.scripted import Script, shell, working_day
from tests.resident.conftest import ask, post, record
from tests.resident.test_mcp_route import called, headers

from session_continuity.capture.spool.spool import Spool, SpoolRecord

AGENTS = 60
FORWARDED_EACH, HOOKED_EACH = 10, 10
"""Of so many agents one is on another machine, and one has its hooks really run at every event."""

ALL_STARTED = 30.0
"""Seconds within which all of them have begun."""

PAUSE = (0.5, 2.0)
"""Seconds between two things that an agent tells."""

LONG_IDLE, SHORT_IDLE = 75.0, 5.0
"""Seconds without a word between two turns. The long one is longer than a session may be silent: it is the life of
its process that keeps it active."""

CALLS = 10
"""Tool calls after a resume."""

KILLED = "00000000-0000-4000-8000-00000000dead"
"""The harness's session of the one agent that is killed."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where the agents work: a home with its server."""

    home: Path
    url: str
    capture_token: str
    mcp_token: str

    def mcp(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """What a tool answers."""
        body = json.dumps(called(tool, **arguments)).encode()
        status, answer = ask(self.url, "POST", "/mcp", body, headers(self.mcp_token))
        assert status == 200, answer
        assert not answer["result"]["isError"], answer
        return answer["result"]["structuredContent"]


class Road(Protocol):
    """How what an agent tells reaches the server."""

    pid: int | None

    def tell(self, told: SpoolRecord) -> None: ...

    def end(self) -> None:
        """The agent's process ends."""
        ...


class Spooled:
    """A process that lives for as long as the agent's session, and records as its hooks would put them."""

    def __init__(self, site: Site, folder: Path) -> None:
        self._site, self._folder, self._spool = site, folder, Spool(site.home / "spool")
        self.process = subprocess.Popen(
            ["/bin/sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.pid: int | None = self.process.pid

    def tell(self, told: SpoolRecord) -> None:
        self._spool.put(told.harness, told.event, told.payload, client_pid=self.pid)

    def end(self) -> None:
        self.process.communicate()

    def kill(self) -> None:
        """kill -9, in the middle of whatever it does."""
        self.process.kill()
        self.process.communicate()


class Hooked(Spooled):
    """The process runs each hook as a harness does."""

    def tell(self, told: SpoolRecord) -> None:
        payload = self._folder / "payload.json"
        payload.write_bytes(told.payload)
        words = command(self._site.home, told.event, told.harness)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{shlex.join(words)} < {shlex.quote(str(payload))} > /dev/null; echo $?\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "0\n"


class Forwarded:
    """An agent of another machine, whose forwarder posts what its hooks keep."""

    pid: int | None = None

    def __init__(self, site: Site, session: str) -> None:
        self._site, self._session, self._told = site, session, 0

    def tell(self, told: SpoolRecord) -> None:
        form = record(
            self._told,
            name=f"claude-code@{told.event}@7@{self._told}-{self._session.rjust(24, '0')}",
            event=told.event,
            captured_at=time.time_ns(),
            payload=base64.b64encode(told.payload).decode(),
        )
        self._told += 1
        status, answer = post(self._site.url, self._site.capture_token, {"records": [form]})
        assert status == 200, answer

    def end(self) -> None:
        """Nobody here sees its process."""


@dataclass
class Session(Script):
    """A scripted session that is told as it happens, with the recording that its harness writes."""

    road: Road | None = None
    dice: random.Random = field(default_factory=random.Random)
    told: Counter[str] = field(default_factory=Counter[str])
    _written: int = 0

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    def hook(self, event: str, **payload: Any) -> SpoolRecord:
        made = super().hook(event, **payload)
        self.write_on()
        assert self.road is not None
        self.road.tell(made)
        self.told[event] += 1
        time.sleep(self.dice.uniform(*PAUSE))
        return made

    def write_on(self) -> None:
        """Append to the recording what was said since."""
        assert self.transcript is not None
        with self.transcript.open("a", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(line)}\n" for _, line in self.lines[self._written :])
        self._written = len(self.lines)


class Agent(threading.Thread):
    """One agent through its day."""

    def __init__(self, number: int, site: Site, folder: Path, until: float, told: Counter[str]) -> None:
        super().__init__(name=f"agent {number}")
        self.number, self.site, self.until, self.told = number, site, until, told
        self.folder = folder / f"agent-{number}"
        self.folder.mkdir()
        self.dice = random.Random(number)
        self.sessions = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            time.sleep(self.dice.uniform(0, ALL_STARTED))
            while time.monotonic() < self.until:
                self._work()
        except BaseException as failure:
            self.failure = failure

    def _work(self) -> None:
        """A session, its end, and most times its resume in another process."""
        session_id = f"{self.number:08x}-0000-4000-8000-{self.sessions:012x}"
        session = Session(
            session_id=session_id,
            cwd=f"/srv/shop-{self.number}",
            transcript=self.folder / f"{session_id}.jsonl",
            road=self._road(session_id),
            dice=self.dice,
            told=self.told,
        )
        self.sessions += 1
        working_day(session)
        self._end(session)
        if self.sessions % 4:
            session.road = self._road(f"again-{session_id}")
            self._resume(session)
            self._end(session)

    def _road(self, session_id: str) -> Road:
        if self.number % FORWARDED_EACH == 1:
            return Forwarded(self.site, session_id)
        if self.number % HOOKED_EACH == 2:
            return Hooked(self.site, self.folder)
        return Spooled(self.site, self.folder)

    def _end(self, session: Session) -> None:
        assert session.road is not None
        session.road.end()

    def _resume(self, session: Session) -> None:
        session.begin("resume")
        session.prompt("Go on where you stopped")
        for number in range(CALLS):
            call, words = f"again_{number}", {"command": f"pytest -q tests/test_{number}.py"}
            session.calls(call, "Bash", **words)
            session.ends(call, "Bash", shell(f"{number + 1} passed in 0.1s\n" * 40), **words)
        self.site.mcp("search_records", query="limiter", limit=5)
        session.hook("Stop", stop_hook_active=False, last_assistant_message="Done.")
        waits_for_its_user = session.road is not None and session.road.pid and self.dice.random() < 0.25
        time.sleep(LONG_IDLE if waits_for_its_user else self.dice.uniform(0, SHORT_IDLE))
        self.site.mcp("list_sessions", limit=5)
        session.prompt("Thank you")
        session.hook("SessionEnd", reason="prompt_input_exit")


class Doomed(Agent):
    """An agent that is killed in the middle of a tool call, and does not come back."""

    def __init__(self, *args: Any, at: float) -> None:
        super().__init__(*args)
        self.at, self.until = at, math.inf

    def _work(self) -> None:
        if time.monotonic() < self.at:
            super()._work()
            return
        road = Spooled(self.site, self.folder)
        session = Session(
            session_id=KILLED,
            cwd=f"/srv/shop-{self.number}",
            transcript=self.folder / "killed.jsonl",
            road=road,
            told=self.told,
        )
        session.begin()
        session.prompt("Migrate the accounts")
        session.calls("toolu_last", "Bash", command="sleep 3600")
        road.kill()
        self.until = 0.0


def until_stopped(step: Callable[[int], None], every: float, stop: threading.Event) -> None:
    """Take steps at equal distances."""
    number = 0
    while not stop.wait(every):
        step(number)
        number += 1
