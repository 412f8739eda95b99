"""Secrets planted in every part of a recording and of what hooks tell: afterwards none of their bytes is in the
data folder, the write-ahead log, the drained spool, a log file, an archive, or what the system shows of the
processes. With redaction off, all of them are found: the search sees what it looks for."""

from __future__ import annotations

import base64
import gzip
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.conftest import BINARIES, WANTED, new_home

from session_continuity import InvalidInput, SessionContinuity, load_settings
from session_continuity.archive.archiving import run_archive
from session_continuity.capture.facts.facts import JSON
from session_continuity.capture.recorder.live import LiveCapture, live_store
from session_continuity.capture.recorder.transcript_import import import_transcript
from session_continuity.capture.spool.drain import drain
from session_continuity.capture.spool.spool import Spool
from session_continuity.postgres.embedded import EmbeddedServer

from .planting import Planted, Planter, needles

SHOWN = ("cmdline", "environ")
SESSION = "5e55104e-0000-4000-8000-000000000077"


@pytest.fixture(params=BINARIES)
def private_home(request: pytest.FixtureRequest) -> Iterator[tuple[Path, Path | None]]:
    """A data folder with a server of its own, and the server's binaries."""
    binaries = BINARIES[request.param]
    if request.param not in WANTED or (binaries is not None and not binaries.is_dir()):
        pytest.skip(f"{request.param} is not wanted or not installed")
    home = new_home()
    try:
        yield home, binaries
    finally:
        EmbeddedServer(home, binaries=binaries).stop()
        shutil.rmtree(home)


class _Script:
    """Writes the records of a session, and plants in each part a secret of each kind."""

    def __init__(self) -> None:
        self.planter = Planter(20)
        self.records: list[dict[str, Any]] = []
        self.planted: list[Planted] = []

    def plant(self) -> list[Planted]:
        self.planted += (made := self.planter.all())
        return made

    def record(self, kind: str, content: Any, **more: Any) -> None:
        number = len(self.records)
        message = {"role": kind, "content": content}
        self.records.append(
            {
                "type": kind,
                "uuid": f"70000000-0000-4000-8000-{number:012d}",
                "sessionId": SESSION,
                "cwd": "/srv/shop",
                "version": "2.1.330",
                "timestamp": f"2026-03-02T09:{number // 60:02}:{number % 60:02}Z",
                "message": message,
                **more,
            }
        )

    def call(self, tool: str, parameters: dict[str, Any], result: Any, *, failed: bool = False) -> None:
        call_id = f"toolu_{len(self.records):04}"
        self.record("assistant", [{"type": "tool_use", "id": call_id, "name": tool, "input": parameters}])
        part = {"type": "tool_result", "tool_use_id": call_id, "content": result, "is_error": failed}
        self.record("user", [part], **({} if failed else {"toolUseResult": {"stdout": result, "stderr": ""}}))

    def write(self, path: Path) -> list[Planted]:
        self.record("user", "Begin")
        for one in self.plant():
            self.record("user", f"Please: {one.text}")
        for one in self.plant():
            self.record("assistant", [{"type": "text", "text": f"Done with {one.text}"}])
        for one in self.plant():
            self.call("Bash", {"command": one.text, "description": "run"}, "fine")
        for one in self.plant():
            self.call("Bash", {"command": "env"}, one.text)
        for one in self.plant():
            self.call("Bash", {"command": "make"}, f"Exit code 2\n{one.text}", failed=True)
        for one in self.plant():
            self.call("Bash", {"command": f"base64 -d <<< {base64.b64encode(one.text.encode()).decode()}"}, "ok")
        for one in (planted for planted in self.plant() if planted.is_token):
            self.call("mcp__x__y", {one.secret: {"deep": 1}, "n": 2}, "ok")
        for one in (planted for planted in self.plant() if planted.is_token):
            self.call("mcp__x__y", {"first": one.secret[:11], "second": one.secret[11:]}, "ok")
        for one in self.plant():
            todos = [{"content": one.text, "status": "pending", "activeForm": "working"}]
            self.call("TodoWrite", {"todos": todos}, "ok")
        for one in self.plant():
            self.records.append({"type": f"future {one.text}"[:300], "uuid": "x", "sessionId": SESSION})
        path.write_text("\n".join(json.dumps(record) for record in self.records), "utf-8")
        return self.planted

    def hooks(self) -> list[tuple[str, dict[str, Any]]]:
        """What Claude Code's hooks would tell of a session: event and payload."""
        told: list[tuple[str, dict[str, Any]]] = [("SessionStart", {"source": "startup"})]
        for number, one in enumerate(self.plant()):
            call = {"tool_name": "Bash", "tool_use_id": f"t{number}", "tool_input": {"command": one.text}}
            told += [("PreToolUse", call), ("PostToolUse", {**call, "tool_response": {"stdout": "fine"}})]
        for number, one in enumerate(self.plant(), start=100):
            call = {"tool_name": "Bash", "tool_use_id": f"t{number}", "tool_input": {"command": "env"}}
            told += [("PreToolUse", call), ("PostToolUse", {**call, "tool_response": {"stdout": one.text}})]
        for number, one in enumerate(self.plant(), start=200):
            call = {"tool_name": "Bash", "tool_use_id": f"t{number}", "tool_input": {"command": "make"}}
            told += [("PreToolUse", call), ("PostToolUseFailure", {**call, "error": one.text})]
        told += [("UserPromptSubmit", {"prompt": one.text}) for one in self.plant()]
        told += [("Notification", {"message": one.text, "notification_type": "idle"}) for one in self.plant()]
        told += [("FutureEvent", {"news": [one.text]}) for one in self.plant()]
        told += [("PostCompact", {"trigger": "auto", "compact_summary": one.text}) for one in self.plant()]
        for one in (planted for planted in self.plant() if planted.is_token):
            told.append(
                ("UserPromptSubmit", {"prompt": "x", "tags": [one.secret[:9], one.secret[9:]], one.secret: 1})
            )
        common = {"session_id": SESSION, "cwd": "/srv/shop", "transcript_path": None}
        return [(event, {**common, "hook_event_name": event, **payload}) for event, payload in told]


def import_them(
    client: SessionContinuity, script: _Script, folder: Path, redact: Callable[[JSON], JSON] | None
) -> str:
    """Import, checkpoint, resume; returns what was told of it."""
    script.write(folder / "recording.jsonl")
    report = import_transcript(client, "claude-code", folder / "recording.jsonl", redact=redact)
    assert report.commands > 100
    client.take_checkpoint(report.instance_id)
    client.resume_session(report.instance_id)
    return json.dumps(report.as_json())


def hook_them(
    client: SessionContinuity, script: _Script, folder: Path, redact: Callable[[JSON], JSON] | None
) -> str:
    """Spool what hooks tell, also what can't be stored, and drain it; returns what was told of it."""
    spool = Spool(client.settings.home / "spool")
    for event, payload in script.hooks():
        spool.put("claude-code", event, json.dumps(payload).encode())
    store = live_store(client) if redact is None else LiveCapture(client, redact=redact).store
    told = drain(spool, store, wait=60)
    (session,) = client.find_sessions(harness_session_id=SESSION)
    assert len(client.search_commands(instance_id=session.instance_id, limit=1_000)) > 60
    client.take_checkpoint(session.instance_id)
    return repr(told) + repr(spool.quarantined())


def archive_all(client: SessionContinuity) -> None:
    """Close what was captured, and move it into an archive as if it were old."""
    for session in client.find_sessions(limit=100):
        if session.status == "active":
            client.take_checkpoint(session.instance_id)
            client.close_session(session.instance_id)
    with psycopg.connect(EmbeddedServer(client.settings.home).conninfo(), autocommit=True) as connection:
        connection.execute("UPDATE supervisor_sessions SET closed_at = now() - interval '9 days'")
    assert run_archive(client).rows > 100


def shown_of_processes(folder: Path) -> list[bytes]:
    """Command line and environment of the server's processes and of this one."""
    of_server = (folder / "postgres" / "data" / "postmaster.pid").read_text().split("\n", 1)[0]
    children = Path(f"/proc/{of_server}/task/{of_server}/children").read_text().split()
    assert children
    return [Path(f"/proc/{pid}/{name}").read_bytes() for pid in (of_server, *children, "self") for name in SHOWN]


def found_of(
    home: tuple[Path, Path | None], tmp_path: Path, capture: Any, redact: Callable[[JSON], JSON] | None
) -> tuple[set[str], int]:
    """The needles found in any file of the data folder or in what was told, and how many were planted."""
    folder, binaries = home
    script = _Script()
    settings = load_settings(
        home=folder,
        postgres_binaries=binaries,
        archive_format="json-lines",
        retention={"archive_sessions_after": "1d"},
    )
    with SessionContinuity(settings) as client:
        told = capture(client, script, tmp_path, redact)
        with pytest.raises(InvalidInput):
            client.find_sessions(project="x", limit=-1)
        shown = shown_of_processes(folder)
        archive_all(client)
    EmbeddedServer(folder, binaries=binaries).stop()
    wanted = {needle for one in script.planted for needle in needles(one)}
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any("pg_wal" in path.parts for path in files)
    assert any(path.suffix == ".log" for path in files)
    archived = [gzip.decompress(path.read_bytes()) for path in files if path.suffix == ".gz"]
    assert sum(map(len, archived)) > 10_000
    contents = [told.encode(), *shown, *archived, *(path.read_bytes() for path in files)]
    found = {needle.decode() for needle in wanted if any(needle in content for content in contents)}
    return found, len(script.planted)


@pytest.mark.parametrize("capture", [import_them, hook_them])
def test_no_byte_of_a_planted_secret_is_stored(
    private_home: tuple[Path, Path | None], tmp_path: Path, capture: Any
) -> None:
    found, planted = found_of(private_home, tmp_path, capture, None)
    assert planted > 150
    assert found == set()


@pytest.mark.parametrize("capture", [import_them, hook_them])
def test_without_redaction_the_planted_secrets_are_found(
    private_home: tuple[Path, Path | None], tmp_path: Path, capture: Any
) -> None:
    found, planted = found_of(private_home, tmp_path, capture, lambda value: value)
    assert len(found) > planted / 2
