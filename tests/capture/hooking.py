"""Hooks run as a harness runs them, and a store that writes to a real database."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from session_continuity import NewEvent, SessionContinuity
from session_continuity.capture.hook.command import hook_command
from session_continuity.capture.spool.drain import Rejected, Store
from session_continuity.capture.spool.spool import SpoolRecord
from session_continuity.domain.identity import derived_instance_id
from session_continuity.settings import load_settings

RECORDED = Path(__file__).parents[3] / "shared" / "data" / "hooks"
HARNESSES = {"claude": "claude-code", "codex": "codex", "gemini": "gemini-cli", "opencode": "opencode"}

TURN: tuple[tuple[str, dict[str, Any]], ...] = (
    ("UserPromptSubmit", {"prompt": "Bring the tests to pass, «bitte» \u0000\u202e"}),
    ("PreToolUse", {"tool_name": "Bash", "tool_use_id": "t1", "tool_input": {"command": "make test"}}),
    ("PostToolUse", {"tool_name": "Bash", "tool_use_id": "t1", "tool_response": {"stdout": "ok\n" * 900}}),
    ("PreToolUse", {"tool_name": "Edit", "tool_use_id": "t2", "tool_input": {"file_path": "a.py"}}),
    ("PostToolUseFailure", {"tool_name": "Edit", "tool_use_id": "t2", "error": "String to replace not found"}),
    ("Notification", {"message": "waiting for you", "notification_type": "idle"}),
    ("PreToolUse", {"tool_name": "Bash", "tool_use_id": "t3", "tool_input": {"command": "sleep 9"}}),
)
"""What one turn of an agent tells, without the hooks that answer or flush."""


def command(home: Path, event: str = "PreToolUse", harness: str = "claude-code") -> list[str]:
    """The hook's command as `continuity init` writes it."""
    return hook_command(load_settings(home=home), harness, event)


def start_nothing(home: Path, dsn: str = "host=/nowhere", seconds: float = 4) -> Path:
    """Settings under which a hook that answers starts neither a resident process nor a database."""
    home.mkdir(parents=True, exist_ok=True)
    lines = f'dsn = "{dsn}"\nserve_on_demand = false\nhook_seconds = {seconds}\n'
    (home / "settings.toml").write_text(lines)
    return home


def run_hook(
    words: Sequence[str], payload: bytes, *, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """One hook call, in an environment with nothing but a path."""
    given = {"PATH": "/usr/bin:/bin"} if environment is None else environment
    return subprocess.run(words, input=payload, capture_output=True, env=given, timeout=60, check=False)


def assert_silent(done: subprocess.CompletedProcess[bytes]) -> None:
    """The agent is neither stopped nor told anything."""
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def drafts(home: Path) -> list[Path]:
    """What killed or failed hooks left behind."""
    return [path for path in (home / "spool").iterdir() if path.name.startswith(".")]


def recorded_payloads() -> list[tuple[str, str, dict[str, Any]]]:
    """Harness, event and payload of real clients, in their order; empty when they are not at hand."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    for folder, harness in HARNESSES.items():
        for path in sorted((RECORDED / folder).glob("[0-9]*.json")):
            found.append((harness, path.stem.partition("-")[2], json.loads(path.read_bytes())))
    return found


def event_store(client: SessionContinuity, *, once: bool = True) -> Store:
    """A store that keeps of each record an event with its number; with `once` off under a new id each time."""
    known: set[str] = set()

    def store(records: Sequence[SpoolRecord]) -> list[Rejected | None]:
        verdicts: list[Rejected | None] = []
        events: dict[str, list[NewEvent]] = {}
        for record in records:
            try:
                told = json.loads(record.payload)
                session, number = told["replay_session"], told["replay_number"]
            except (ValueError, KeyError):
                verdicts.append(Rejected(code="payload_not_json", reason="not a payload of this test"))
                continue
            event = NewEvent(
                event_type="note_recorded",
                event_data={"name": record.name, "number": number},
                timestamp=record.captured_at,
                operation=record.name if once else None,
            )
            events.setdefault(instance_of(session), []).append(event)
            verdicts.append(None)
        for instance_id, group in events.items():
            if instance_id not in known:
                client.register_session("spool", instance_id=instance_id, operation=f"start {instance_id}")
                known.add(instance_id)
            client.append_events(instance_id, group)
        return verdicts

    return store


def instance_of(session: str) -> str:
    """The instance that a session of these tests becomes."""
    return derived_instance_id("spool", "PS", session)


def stored_numbers(client: SessionContinuity, session: str) -> list[int]:
    """The numbers of a session's records in the order of its events."""
    numbers: list[int] = []
    after = 0
    while events := client.read_events(instance_of(session), after=after, event_type="note_recorded"):
        numbers += [event.event_data["number"] for event in events]
        after = events[-1].sequence_num
    return numbers


def numbered(session: str, number: int, payload: dict[str, Any] | None = None) -> bytes:
    """A payload that `event_store` takes."""
    return json.dumps({**(payload or {}), "replay_session": session, "replay_number": number}).encode()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own with little room; skips where this user can't mount one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a tmpfs can't be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def needs_strace(function: Callable[..., Any]) -> Callable[..., Any]:
    """Skips where strace is missing or may not trace."""
    reason = "strace is not installed"
    usable = shutil.which("strace") is not None
    if usable:
        tried = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False)
        usable, reason = tried.returncode == 0, "strace may not trace processes here"
    return pytest.mark.skipif(not usable, reason=reason)(function)
