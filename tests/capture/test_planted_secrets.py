"""Secrets planted in every part of a recording: afterwards none of their bytes is in the data folder, the
write-ahead log or a log file. With redaction off, all of them are found: the search sees what it looks for."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import BINARIES, WANTED, new_home

from session_continuity import InvalidInput, SessionContinuity
from session_continuity.capture.transcript_import import ImportReport, import_transcript
from session_continuity.postgres.embedded import EmbeddedServer

from .planting import Planted, Planter, needles

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


def record_and_search(
    home: tuple[Path, Path | None], tmp_path: Path, **options: Any
) -> tuple[ImportReport, dict[str, int], int]:
    """Import, checkpoint, resume, fail; then every needle that is found in any file, and how many there are."""
    folder, binaries = home
    recording = tmp_path / "recording.jsonl"
    planted = _Script().write(recording)
    with SessionContinuity(home=folder, postgres_binaries=binaries) as client:
        report = import_transcript(client, "claude-code", recording, **options)
        client.take_checkpoint(report.instance_id)
        client.resume_session(report.instance_id)
        with pytest.raises(InvalidInput):
            client.find_sessions(project="x", limit=-1)
    EmbeddedServer(folder, binaries=binaries).stop()
    wanted = {needle for one in planted for needle in needles(one)}
    found = dict.fromkeys(map(bytes.decode, wanted), 0)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any("pg_wal" in path.parts for path in files)
    assert any(path.suffix == ".log" for path in files)
    for path in files:
        content = path.read_bytes()
        for needle in wanted:
            found[needle.decode()] += needle in content
    told = json.dumps(report.as_json())
    for needle in found:
        found[needle] += needle in told
    return report, {needle: times for needle, times in found.items() if times}, len(planted)


def test_no_byte_of_a_planted_secret_is_stored(private_home: tuple[Path, Path | None], tmp_path: Path) -> None:
    report, found, planted = record_and_search(private_home, tmp_path)
    assert planted > 200
    assert report.commands > 100
    assert sum(report.redacted.values()) > planted / 2
    assert found == {}


def test_without_redaction_the_planted_secrets_are_found(
    private_home: tuple[Path, Path | None], tmp_path: Path
) -> None:
    _, found, planted = record_and_search(private_home, tmp_path, redact=lambda value: value)
    assert len(found) > planted / 2
